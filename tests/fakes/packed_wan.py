"""Tiny Wan transformers in files of their own: under their makers' names, and packed as GGUF."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import gguf
import torch
from diffusers import WanTransformer3DModel
from safetensors.torch import load_file
from torch import Tensor

from manifests.wan_names import original_name

WEIGHTS = "diffusion_pytorch_model.safetensors"
PARTS = ("transformer", "transformer_2")
WIDE = {"num_attention_heads": 2, "attention_head_dim": 16, "ffn_dim": 64, "num_layers": 3}
"""32 wide, the least that GGUF packs."""


def original(folder: Path, part: str = "transformer", prefix: str = "") -> dict[str, Tensor]:
    """The weights of a model's transformer under their makers' names."""
    weights = load_file(folder / part / WEIGHTS)
    return {prefix + original_name(name): weight for name, weight in weights.items()}


def bare(folder: Path, to: Path) -> Path:
    """A copy of a model whose transformers have settings alone."""
    shutil.copytree(folder, to)
    for part in PARTS:
        (to / part / WEIGHTS).unlink(missing_ok=True)
    return to


def widen(folder: Path, to: Path) -> Path:
    """A copy of a model with a transformer that can be packed, its weights exact in float16."""
    shutil.copytree(folder, to)
    torch.manual_seed(5)
    config = WanTransformer3DModel.load_config(to / "transformer")
    net: Any = WanTransformer3DModel.from_config({**config, **WIDE})
    for weight in net.parameters():
        weight.data = weight.data.half().float()
    net.save_pretrained(to / "transformer")
    return to


def pack(folder: Path, file: Path, kind: gguf.GGMLQuantizationType) -> Path:
    """The transformer of `folder` as GGUF in the makers' names, matrices packed."""
    writer = gguf.GGUFWriter(file, "wan")
    for name, weight in original(folder).items():
        values = weight.float().numpy()
        if values.ndim == 2 and values.shape[1] % 32 == 0:
            writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
