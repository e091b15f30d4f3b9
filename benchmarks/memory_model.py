"""Wan models of real size with random weights, on machines where little is installed.

Memory and time do not depend on the values. Built from settings: nothing is downloaded.
"""

# What is missing on a bare machine is replaced before the imports that ask for it.
# ruff: noqa: E402
from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import torch
from diffusers import AutoencoderKLWan, WanImageToVideoPipeline, WanPipeline, WanTransformer3DModel
from transformers import UMT5Config, UMT5EncoderModel

for _name in ("av", "rapidfuzz"):
    if find_spec(_name) is None:
        # Imported on the way to what is measured, and never called here.
        for _part in ("", ".error", ".logging", ".video", ".video.reformatter"):
            sys.modules[_name + _part] = MagicMock()

from render.families.wan import TEXT_TOKENS, WanModel
from render.families.wan_footprint import measure_wan
from render.footprint import Footprint, FootprintOrder
from render.meter import build
from render.order import ModelRef

UMT5_XXL = {
    "architectures": ["UMT5EncoderModel"],
    "vocab_size": 256384,
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
    "relative_attention_num_buckets": 32,
}
_WAN = {
    "patch_size": [1, 2, 2],
    "text_dim": 4096,
    "freq_dim": 256,
    "out_channels": 16,
    "cross_attn_norm": True,
    "qk_norm": "rms_norm_across_heads",
    "attention_head_dim": 128,
}
TRANSFORMERS = {
    "wan22-a14b-i2v": {
        **_WAN,
        "num_attention_heads": 40,
        "in_channels": 36,
        "ffn_dim": 13824,
        "num_layers": 40,
    },
    "wan21-1.3b-t2v": {
        **_WAN,
        "num_attention_heads": 12,
        "in_channels": 16,
        "ffn_dim": 8960,
        "num_layers": 30,
    },
}


class RandomWan(WanModel):
    """A Wan without a tokenizer: every text is the same row of ids."""

    def encode_text(self, text: str) -> torch.Tensor:
        """The encoder's real work on ids that mean nothing."""
        encoder = self._pipe.text_encoder
        self.residences[0].bring(encoder)
        ids = torch.arange(TEXT_TOKENS, device=self.device)[None] % encoder.config.vocab_size
        return encoder(ids).last_hidden_state.to(self._dtype)

    def store_in_8_bits(self) -> None:
        """Once: a backend that asks for the model again is given the same one."""
        if not self._narrow:
            super().store_in_8_bits()
        self._narrow = True

    _narrow = False


def write_folder(kind: str, root: Path) -> Path:
    """The settings of a model, as a diffusers folder without weights."""
    folder, two = root / kind, "a14b" in kind
    parts: dict[str, tuple[list[str], dict[str, Any]]] = {
        "text_encoder": (["transformers", "UMT5EncoderModel"], UMT5_XXL),
        "transformer": (["diffusers", "WanTransformer3DModel"], TRANSFORMERS[kind]),
        "vae": (["diffusers", "AutoencoderKLWan"], {}),
    }
    if two:
        parts["transformer_2"] = parts["transformer"]
    for name, (_, config) in parts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "config.json").write_text(json.dumps(config))
    index = {name: kind_ for name, (kind_, _) in parts.items()}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def random_pipe(kind: str, device: torch.device) -> Any:
    """The pipeline with random weights in host memory; drawn on the card, which is quick."""
    pipe: Any = WanImageToVideoPipeline if "i2v" in kind else WanPipeline
    half = torch.bfloat16 if device.type == "cuda" else torch.float32
    parts: dict[str, Any] = {
        "text_encoder": _filled(lambda: UMT5EncoderModel(UMT5Config(**UMT5_XXL)), half, device),
        "vae": _filled(AutoencoderKLWan, torch.float32, device),
        "transformer": _filled(lambda: _transformer(kind), half, device),
        "transformer_2": _filled(lambda: _transformer(kind), half, device)
        if "a14b" in kind
        else None,
    }
    if "a14b" in kind:
        parts["transformer_2"] = _filled(lambda: _transformer(kind), half, device)
    more = {"image_processor": None, "image_encoder": None} if "i2v" in kind else {}
    return pipe(tokenizer=None, scheduler=None, boundary_ratio=0.9, **more, **parts)


def _transformer(kind: str) -> Any:
    return WanTransformer3DModel.from_config(TRANSFORMERS[kind])


def _filled(make: Callable[[], Any], dtype: torch.dtype, device: torch.device) -> Any:
    return drawn(make, dtype, device=device, home=torch.device("cpu"))


def drawn(
    make: Callable[[], Any],
    dtype: torch.dtype,
    *,
    device: torch.device,
    home: torch.device,
    seed: int = 1,
) -> Any:
    """A module with random weights, drawn on `device` and laid down at `home`."""
    module = build(make, dtype)
    generator = torch.Generator(device).manual_seed(seed)
    shared: dict[int, torch.Tensor] = {}
    for owner in module.modules():
        for table in (owner._parameters, owner._buffers):
            for name, tensor in table.items():
                if tensor is None:
                    continue
                if id(tensor) not in shared:
                    made = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
                    if tensor.is_floating_point():
                        made.normal_(0, 0.02, generator=generator)
                    else:
                        made.zero_()
                    shared[id(tensor)] = made.to(home)
                filled = shared[id(tensor)]
                table[name] = (
                    torch.nn.Parameter(filled, False) if table is owner._parameters else filled
                )
    if isinstance(module, WanTransformer3DModel):
        module.rope = type(module.rope)(
            module.config.attention_head_dim,
            module.config.patch_size,
            module.config.rope_max_seq_len,
        ).to(home)
    return module.eval()


def footprint_of(kind: str, folder: Path, size: tuple[int, int, int]) -> Footprint:
    """The estimate, as the plan makes it."""
    return measure_wan(
        FootprintOrder(
            model=ModelRef(name=kind, family="wan", location=str(folder)),
            precision="bfloat16",
            vae_precision="float32",
            width=size[0],
            height=size[1],
            frames=size[2],
            image_to_video="i2v" in kind,
        )
    )
