"""Wan models of real size that are drawn on the card, not read: a backend for worker processes.

`RUSHES_BACKEND=benchmarks.random_family:RandomBackend`, and a model's location says which:
`1.3B`, `14B`, `tiny`, `14B x2` (two experts), `1.3B quick` (a small text encoder), `14B 12layers`
(so many instead of all), `14B 8.5GiB` (on a card of that size, as torch's allocator sees it: the
weights wait in host memory, as those of files do). Every process that draws a model on a card of
one kind has the same weights. Nothing is written to a disk, so a 14B is there within seconds.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, WanPipeline, WanTransformer3DModel
from transformers import UMT5Config, UMT5EncoderModel

from benchmarks.memory_model import UMT5_XXL, RandomWan, drawn
from render.diffusers_backend import DiffusersBackend
from render.families.base import Family, LoadRequest

BOUNDARY = 0.875
_WIDE: dict[str, Any] = {"in_channels": 16, "out_channels": 16}
TRANSFORMERS: dict[str, dict[str, Any]] = {
    "1.3B": {**_WIDE, "num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30},
    "14B": {**_WIDE, "num_attention_heads": 40, "ffn_dim": 13824, "num_layers": 40},
    "tiny": {**_WIDE, "num_attention_heads": 2, "ffn_dim": 64, "num_layers": 2},
}
"""Text-to-video; the rest is the class's own default."""
_SMALL_UMT5 = {**UMT5_XXL, "vocab_size": 600, "d_ff": 64, "num_layers": 1, "num_heads": 2}


def load_random(request: LoadRequest) -> RandomWan:
    """The model that the location names, with its weights on the device that renders."""
    size, *words = Path(request.model.location).name.split()
    device, tiny, two = torch.device(request.device), size == "tiny", "x2" in words
    half = torch.bfloat16 if device.type == "cuda" else torch.float32
    gib, layers = _number(words, "GiB"), _number(words, "layers")
    _resize_card(gib, device)
    draw = partial(drawn, device=device, home=device if gib is None else torch.device("cpu"))
    settings = TRANSFORMERS[size] | ({} if layers is None else {"num_layers": int(layers)})
    umt5 = UMT5Config(**(_SMALL_UMT5 if tiny or "quick" in words else UMT5_XXL))
    vae = partial(AutoencoderKLWan, **({"base_dim": 8} if tiny else {}))
    pipe: Any = WanPipeline(
        tokenizer=None,
        scheduler=None,
        text_encoder=draw(lambda: UMT5EncoderModel(umt5), half),
        vae=draw(vae, torch.float32),
        transformer=draw(lambda: WanTransformer3DModel.from_config(settings), half),
        transformer_2=(
            draw(lambda: WanTransformer3DModel.from_config(settings), half, seed=2) if two else None
        ),
        boundary_ratio=BOUNDARY if two else None,
    )
    return RandomWan(pipe, request, boundary=BOUNDARY if two else None)


def _number(words: Sequence[str], unit: str) -> float | None:
    """Of the word that ends in `unit`; None where there is none."""
    found = (float(word.removesuffix(unit)) for word in words if word.endswith(unit))
    return next(found, None)


def _resize_card(gib: float | None, device: torch.device) -> None:
    """A card of that many GiB; None: all of it."""
    if device.type != "cuda":
        return
    gc.collect()  # the model before, which may have been larger
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(device).total_memory
    share = 1.0 if gib is None else gib * 2**30 / total
    torch.cuda.set_per_process_memory_fraction(share, device)


class RandomBackend(DiffusersBackend):
    """The backend of a night, with models that are drawn."""

    def __init__(self) -> None:
        super().__init__(families={"wan": Family(name="wan", load=load_random)})
