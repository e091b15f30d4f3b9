"""A tiny LTX-2 with random weights, and a clip for it: the real classes, whole folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLLTX2Audio,
    AutoencoderKLLTX2Video,
    FlowMatchEulerDiscreteScheduler,
    LTX2ImageToVideoPipeline,
    LTX2Pipeline,
    LTX2VideoTransformer3DModel,
)
from diffusers.pipelines.ltx2 import LTX2TextConnectors, LTX2Vocoder
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import Gemma3Config, Gemma3ForConditionalGeneration, PreTrainedTokenizerFast

from manifests.stage import Recipe, Stage, StageKind
from render.order import ModelRef

KINDS = ("ltx-2.0", "ltx-2.3")
"""2.0 projects the caption in the transformer; 2.3 in the connectors, with gated attention and
cross-attention that is told the noise level."""

CHANNELS, SOUND_CHANNELS, MEL_BINS = 4, 2, 8
TEXT, TEXT_LAYERS = 16, 2
SIZE = {"width": 96, "height": 64, "frames": 9}
PROMPT, NEGATIVE, SEED, FPS = "slow pan left", "blurry", 11, 25.0
WORDS = ["<pad>", "<eos>", "<bos>", "<unk>", "pan", "left", "right", "slow", "zoom", "blurry"]

Tiny = Callable[[str], Path]
"""The fixture `tiny_ltx2`: the folder of a kind."""


def build_tiny_ltx2(folder: Path, kind: str) -> Path:
    """Write a tiny model of `kind` to `folder`, the same weights every time."""
    torch.manual_seed(sum(kind.encode()))
    newer = kind == "ltx-2.3"
    parts: dict[str, Any] = {
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=1.0),
        "vae": _vae(),
        "audio_vae": _audio_vae(),
        "text_encoder": _text_encoder(),
        "tokenizer": _tokenizer(),
        "connectors": _connectors(newer=newer),
        "transformer": _transformer(newer=newer),
        "vocoder": _vocoder(),
    }
    # A folder names one class and serves both tasks: each kind comes under another name.
    pipeline = LTX2ImageToVideoPipeline if newer else LTX2Pipeline
    pipeline(**parts).save_pretrained(folder)
    return folder


def _tokenizer() -> PreTrainedTokenizerFast:
    words = {word: i for i, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )


def _text_encoder() -> Gemma3ForConditionalGeneration:
    shape = {"hidden_size": TEXT, "intermediate_size": 32, "num_attention_heads": 2}
    config = Gemma3Config(
        text_config={
            **shape,
            "vocab_size": len(WORDS),
            "num_hidden_layers": TEXT_LAYERS,
            "num_key_value_heads": 1,
            "head_dim": 8,
            "query_pre_attn_scalar": 8,
        },
        vision_config={**shape, "num_hidden_layers": 1, "image_size": 8, "patch_size": 4},
        mm_tokens_per_image=4,
    )
    return Gemma3ForConditionalGeneration(config)


def _connectors(*, newer: bool) -> LTX2TextConnectors:
    return LTX2TextConnectors(
        caption_channels=TEXT,
        text_proj_in_factor=TEXT_LAYERS + 1,
        video_connector_num_attention_heads=2,
        video_connector_attention_head_dim=8,
        video_connector_num_layers=1,
        video_connector_num_learnable_registers=8,
        audio_connector_num_attention_heads=2,
        audio_connector_attention_head_dim=4 if newer else 8,
        audio_connector_num_layers=1,
        audio_connector_num_learnable_registers=8,
        video_gated_attn=newer,
        audio_gated_attn=newer,
        rope_type="split",
        per_modality_projections=newer,
        video_hidden_dim=16,
        audio_hidden_dim=8,
        proj_bias=newer,
    )


def _transformer(*, newer: bool) -> LTX2VideoTransformer3DModel:
    return LTX2VideoTransformer3DModel(
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_attention_heads=2,
        attention_head_dim=8,
        cross_attention_dim=16,
        audio_in_channels=SOUND_CHANNELS * MEL_BINS // 4,
        audio_out_channels=SOUND_CHANNELS * MEL_BINS // 4,
        audio_num_attention_heads=2,
        audio_attention_head_dim=4,
        audio_cross_attention_dim=8,
        num_layers=2,
        caption_channels=TEXT,
        rope_type="split",
        gated_attn=newer,
        audio_gated_attn=newer,
        cross_attn_mod=newer,
        audio_cross_attn_mod=newer,
        use_prompt_embeddings=not newer,
        perturbed_attn=newer,
    )


def _vae() -> AutoencoderKLLTX2Video:
    vae = AutoencoderKLLTX2Video(
        latent_channels=CHANNELS,
        block_out_channels=(4, 8, 16, 32),
        decoder_block_out_channels=(8, 16, 32),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1),
        decoder_causal=False,
        spatial_compression_ratio=32,
        temporal_compression_ratio=8,
    )
    vae.latents_mean.copy_(torch.tensor([0.1, -0.2, 0.3, 0.0]))
    vae.latents_std.copy_(torch.tensor([1.5, 0.8, 1.1, 2.0]))
    return vae


def _audio_vae() -> AutoencoderKLLTX2Audio:
    return AutoencoderKLLTX2Audio(
        base_channels=4,
        ch_mult=(1, 1),
        num_res_blocks=1,
        resolution=32,
        latent_channels=SOUND_CHANNELS,
        mel_bins=MEL_BINS,
    )


def _vocoder() -> LTX2Vocoder:
    return LTX2Vocoder(
        in_channels=2 * MEL_BINS,
        hidden_channels=8,
        upsample_kernel_sizes=[4],
        upsample_factors=[2],
        resnet_kernel_sizes=[3],
        resnet_dilations=[[1, 3, 5]],
    )


def ref_tiny(folder: Path) -> ModelRef:
    """The model of a folder."""
    return ModelRef(name="tiny", family="ltx2", location=str(folder))


def recipe_tiny(**changes: Any) -> Recipe:
    """Two re-noise stages of 3 and 2 steps, 9 frames of 96 x 64; keywords change it."""
    renoise = StageKind.RENOISE
    values: dict[str, Any] = {
        "preset": "test/two-stage",
        "family": "ltx2",
        "model": "tiny",
        "model_id": "tiny",
        "prompt": PROMPT,
        "negative": NEGATIVE,
        **SIZE,
        "fps": FPS,
        "seed": SEED,
        "stages": (
            Stage(kind=renoise, steps=3, cfg=3.0, shift=5.0),
            Stage(kind=renoise, steps=2, cfg=2.0, shift=5.0, denoise=0.5, seed_offset=1),
        ),
    }
    return Recipe(**{**values, **changes})
