"""The five parts of the pocket Wan: their sizes, how they are made new, saved and loaded.

Everything is a stock diffusers or transformers class; only the numbers are ours.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLWan,
    UniPCMultistepScheduler,
    WanImageToVideoPipeline,
    WanTransformer3DModel,
)
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from render.pocket.prompts import dice, draw_move, say_nothing, say_prompt

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
"""Tokens 0, 1 and 2."""
Z_DIM = 32
"""Latent channels; a latent cell covers 8 x 8 pixels and 4 frames (1 at the start)."""
TEXT_DIM = 96
"""Width of the text encoder."""
VOCAB = 2048
"""Tokens in the vocabulary."""
SHIFT = 3.0
"""Flow shift that the bundled scheduler is set to."""
TEXT_LENGTH = 512
"""Tokens per prompt that the pipeline pads to, with zero vectors."""


def new_vae() -> AutoencoderKLWan:
    """A fresh autoencoder in the residual (Wan 2.2) layout: 8 x 8 x 4, 32 channels."""
    return AutoencoderKLWan(
        base_dim=32,
        decoder_base_dim=48,
        z_dim=Z_DIM,
        dim_mult=[1, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[True, True],
        is_residual=True,
        patch_size=2,
        in_channels=12,
        out_channels=12,
        scale_factor_spatial=8,
        scale_factor_temporal=4,
        latents_mean=[0.0] * Z_DIM,
        latents_std=[1.0] * Z_DIM,
    )


def new_transformer(
    *, layers: int = 12, heads: int = 6, head_dim: int = 32, ffn: int = 576, patch: int = 1
) -> WanTransformer3DModel:
    """A fresh transformer for [noisy latent, mask (4), first-frame latent] -> velocity."""
    return WanTransformer3DModel(
        patch_size=(1, patch, patch),
        num_attention_heads=heads,
        attention_head_dim=head_dim,
        in_channels=2 * Z_DIM + 4,
        out_channels=Z_DIM,
        text_dim=TEXT_DIM,
        freq_dim=128,
        ffn_dim=ffn,
        num_layers=layers,
        cross_attn_norm=True,
        rope_max_seq_len=128,
    )


def new_text_encoder() -> UMT5EncoderModel:
    """A fresh two-layer text encoder."""
    return UMT5EncoderModel(
        UMT5Config(
            vocab_size=VOCAB,
            d_model=TEXT_DIM,
            d_kv=24,
            d_ff=256,
            num_layers=2,
            num_heads=4,
            relative_attention_num_buckets=16,
            relative_attention_max_distance=32,
            dropout_rate=0.0,
            pad_token_id=0,
            eos_token_id=1,
        )
    )


def new_tokenizer() -> PreTrainedTokenizerFast:
    """A small lower-case BPE tokenizer, learned from the training prompts themselves.

    Deterministic: the same prompts.py gives the same vocabulary. Words it never saw fall apart
    into letters; signs it never saw become ``<unk>``.
    """
    rng = dice(20)
    corpus = [
        say_prompt(moves=[draw_move(rng=rng)], speed=rng.choice((-1, 0, 1)), rng=rng)
        for _ in range(30_000)
    ]
    corpus += [say_nothing(rng=rng) for _ in range(2_000)]
    tok = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tok.normalizer = normalizers.Sequence(
        [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Punctuation(), pre_tokenizers.Metaspace()]
    )
    tok.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=[PAD, END, UNKNOWN],
        initial_alphabet=list("abcdefghijklmnopqrstuvwxyz0123456789.,;:-'\"!?()/&%+"),
        show_progress=False,
    )
    tok.train_from_iterator(corpus, trainer)
    tok.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tok,
        pad_token=PAD,
        eos_token=END,
        unk_token=UNKNOWN,
        model_max_length=TEXT_LENGTH,
    )


def new_scheduler() -> UniPCMultistepScheduler:
    """The sampler that the stock pipeline call uses; the studio's own loop ignores it."""
    return UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=SHIFT
    )


def new_pipeline(**parts: Any) -> WanImageToVideoPipeline:
    """A whole pipeline; parts not given are made new, with random weights."""
    made: dict[str, Any] = {
        "tokenizer": parts.get("tokenizer") or new_tokenizer(),
        "text_encoder": parts.get("text_encoder") or new_text_encoder(),
        "transformer": parts.get("transformer") or new_transformer(),
        "vae": parts.get("vae") or new_vae(),
        "scheduler": parts.get("scheduler") or new_scheduler(),
    }
    return WanImageToVideoPipeline(image_processor=None, image_encoder=None, **made)


def save_pipeline(*, pipe: WanImageToVideoPipeline, folder: Path) -> None:
    """Writes all parts as fp16 safetensors; the folder is swapped in whole at the end.

    The pipeline's weights are cast to fp16 in place: save last, or save a copy.
    """
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    pipe.to(dtype=torch.float16)
    pipe.save_pretrained(str(fresh), safe_serialization=True)
    for config in fresh.rglob("*.json"):
        _tidy_config(config)
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def load_pipeline(*, folder: Path) -> WanImageToVideoPipeline:
    """The bundled pipeline in float32 on the CPU, from files alone."""
    return WanImageToVideoPipeline.from_pretrained(
        str(folder), torch_dtype=torch.float32, local_files_only=True
    )


def _tidy_config(config: Path) -> None:
    """Drops the machine's own paths; makes the text encoder load as float32 unless told else."""
    data = json.loads(config.read_text())
    if not isinstance(data, dict) or not {"_name_or_path", "dtype"} & data.keys():
        return
    data.pop("_name_or_path", None)
    if "dtype" in data:
        # NOTE: transformers takes the dtype from here, diffusers does not; keep the parts alike
        data["dtype"] = "float32"
    config.write_text(json.dumps(data, indent=2) + "\n")
