"""A Wan model of real size with random weights, as a diffusers folder: for benchmarks.

Speed and memory do not depend on the values. The text encoder is one small layer of the right
width: prompts are encoded once for a take, and its size would only be carried about.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLWan,
    FlowMatchEulerDiscreteScheduler,
    WanPipeline,
    WanTransformer3DModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

WORDS = ["<pad>", "</s>", "<unk>", "pan", "left", "right", "slow", "zoom", "shot", "blurry"]
SIZES: dict[str, dict[str, Any]] = {
    "1.3B": {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30},
    "14B": {"num_attention_heads": 40, "ffn_dim": 13824, "num_layers": 40},
    "tiny": {"num_attention_heads": 4, "attention_head_dim": 12, "ffn_dim": 32, "num_layers": 2},
}
"""Text-to-video transformers by their settings; the rest is the class's own default."""


def tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of ten words."""
    words = {word: i for i, word in enumerate(WORDS)}
    made = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def write_wan(folder: Path, size: str, *, experts: int = 1, layers: int | None = None) -> Path:
    """Write a text-to-video model of that size into `folder`, bfloat16; returns the folder.

    `layers`: so many instead of all, for what is the same in each of them.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(7)
    settings = SIZES[size] | ({} if layers is None else {"num_layers": layers})
    with torch.device(device):
        nets = [
            WanTransformer3DModel(**settings, in_channels=16, out_channels=16).to(torch.bfloat16)
            for _ in range(experts)
        ]
        text = UMT5EncoderModel(
            UMT5Config(
                vocab_size=len(WORDS), d_model=4096, d_kv=8, d_ff=32, num_layers=1, num_heads=2
            )
        ).to(torch.bfloat16)
        vae = AutoencoderKLWan() if size != "tiny" else AutoencoderKLWan(base_dim=8)
    two = experts == 2
    pipe = WanPipeline(
        tokenizer=tokenizer(),
        text_encoder=text,
        vae=vae,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
        transformer=nets[0],
        transformer_2=nets[1] if two else None,
        boundary_ratio=0.875 if two else None,
    )
    pipe.to("cpu").save_pretrained(folder)
    del pipe, nets, text, vae
    if device == "cuda":
        torch.cuda.empty_cache()
    return folder


def card_words() -> str:
    """The machine, for a result: the card, the cores, the libraries."""
    name = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no card"
    count = torch.cuda.device_count()
    return f"{count} x {name}, {os.cpu_count()} CPU cores, torch {torch.__version__}"
