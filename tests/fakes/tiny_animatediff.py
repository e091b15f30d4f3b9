"""A tiny AnimateDiff with random weights, and a clip for it: the real classes, whole folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AnimateDiffPipeline,
    AutoencoderKL,
    DDIMScheduler,
    MotionAdapter,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from plain_render import load_plain
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from manifests.stage import Noise, Recipe, Sampler, Schedule, Stage, StageKind
from render.families.animatediff import AnimateDiffModel
from render.order import ModelRef

TEXT, TOKENS, FRAMES = 16, 8, 12
"""Width of the embeddings, tokens of one piece of text, frames the motion modules hold."""
PROMPT, NEGATIVE, SEED = "a fox runs", "blurry", 11
WIDTH, HEIGHT, COUNT = 48, 32, 5
WORDS = ["<start>", "<end>", "<unk>", "a", "fox", "runs", "slow", "pan", "left", "blurry"]


def build_tiny_animatediff(root: Path) -> Path:
    """Write `root/image` and `root/motion`, and `root/whole` made of both; return `root`."""
    torch.manual_seed(7)
    image = StableDiffusionPipeline(
        vae=_vae(),
        text_encoder=_text_encoder(),
        tokenizer=_tokenizer(),
        unet=_unet(),
        scheduler=_scheduler("scaled_linear"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    image.save_pretrained(root / "image")
    motion = _motion()
    motion.save_pretrained(root / "motion")
    whole = AnimateDiffPipeline(
        vae=image.vae,
        text_encoder=image.text_encoder,
        tokenizer=image.tokenizer,
        unet=image.unet,
        motion_adapter=motion,
        scheduler=_scheduler("linear"),
    )
    whole.save_pretrained(root / "whole")
    return root


def _scheduler(betas: str) -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule=betas, clip_sample=False, steps_offset=1
    )


def _tokenizer() -> PreTrainedTokenizerFast:
    words = {word: i for i, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 0), ("<end>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<start>",
        eos_token="<end>",
        pad_token="<end>",
        unk_token="<unk>",
        model_max_length=TOKENS,
    )


def _text_encoder() -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=len(WORDS),
        hidden_size=TEXT,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    return CLIPTextModel(config)


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(4, 4, 4, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=2,
    )


def _unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        block_out_channels=(8, 16),
        layers_per_block=1,
        sample_size=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=TEXT,
        attention_head_dim=2,
        norm_num_groups=2,
    )


def _motion() -> MotionAdapter:
    motion = MotionAdapter(
        block_out_channels=(8, 16),
        motion_layers_per_block=1,
        motion_norm_num_groups=2,
        motion_num_attention_heads=2,
        motion_max_seq_length=FRAMES,
    )
    # NOTE: fresh motion modules end in zeros and would let every frame stand for itself.
    for name, weight in motion.named_parameters():
        if name.endswith("proj_out.weight"):
            torch.nn.init.normal_(weight, std=0.3)
    return motion


def ref_tiny(root: Path, kind: str = "image") -> ModelRef:
    """The image model of `root` with its motion adapter, or the `whole`."""
    return ModelRef(
        name="tiny",
        family="animatediff",
        location=str(root / kind),
        motion_adapter=str(root / "motion") if kind == "image" else None,
    )


def load_tiny(ref: ModelRef, **changes: Any) -> AnimateDiffModel:
    """In float32 on the CPU; keywords change the request."""
    model = load_plain(ref, **changes)
    assert isinstance(model, AnimateDiffModel)
    return model


def recipe_tiny(**changes: Any) -> Recipe:
    """Two stages of 3 and 2 steps; keywords change it."""
    stage = Stage(
        kind=StageKind.RENOISE,
        steps=3,
        cfg=3.0,
        shift=1.0,
        sampler=Sampler.DPMPP_2M,
        schedule=Schedule.KARRAS,
        noise=Noise.EPS_LINEAR,
    )
    values: dict[str, Any] = {
        "preset": "animatediff/two-stage",
        "family": "animatediff",
        "model": "tiny",
        "model_id": "tiny",
        "prompt": PROMPT,
        "negative": NEGATIVE,
        "width": WIDTH,
        "height": HEIGHT,
        "frames": COUNT,
        "fps": 8.0,
        "seed": SEED,
        "stages": (stage, replace(stage, steps=2, cfg=2.0, denoise=0.45, seed_offset=1)),
    }
    return Recipe(**{**values, **changes})
