"""The memory of a transformer in a GGUF file: packed while it waits, unpacked layer by layer."""

from __future__ import annotations

from collections import Counter
from math import prod
from pathlib import Path
from typing import Any

from manifests.refusal import Refusal
from manifests.wan_names import diffusers_name
from manifests.weight_file import WeightFile, read_weight_file
from render.errors import ModelUnavailable
from render.footprint import Part
from render.meter import AHEAD
from render.order import ModelRef

UNPACKED = 8
"""Bytes a value while a layer is unpacked: its bits apart, the product in float16 and the layer in
the precision that computes. Reckoned from the formulas of the k-quants, not measured."""


def packed_files(model: ModelRef) -> dict[str, WeightFile]:
    """The GGUF file of each transformer that has one, by its name in the pipeline.

    Raises ModelUnavailable where one is damaged.
    """
    named = {"transformer": model.transformer, "transformer_2": model.transformer_2}
    try:
        files = {
            part: read_weight_file(Path(file)) for part, file in named.items() if file is not None
        }
    except Refusal as refusal:
        raise ModelUnavailable(f"model {model.name}: {refusal}") from None
    return {part: file for part, file in files.items() if file.is_gguf}


def packed_part(file: WeightFile, module: Any) -> Part:
    """What its weights take, and the buffers of `module`, which is the same transformer without
    weights. Stored in 8 bits it would be no smaller, and is not."""
    wide = set(module._keep_in_fp32_modules or ())
    blocks: Counter[str] = Counter()
    outside = sum(buffer.numel() * buffer.element_size() for buffer in module.buffers())
    for name, info in file.tensors.items():
        first, number, *_ = path = (*diffusers_name(name).split("."), "")
        # What must stay in float32 is unpacked for good when it is loaded.
        size = 4 * prod(info.shape) if wide & set(path) else info.size
        if first == "blocks":
            blocks[number] += size
        else:
            outside += size
    whole = outside + blocks.total()
    swapped = outside + AHEAD * max(blocks.values(), default=0)
    return Part(whole=whole, swapped=swapped, narrow=whole, narrow_swapped=swapped, encoder=False)


def unpacking_room(file: WeightFile) -> int:
    """Bytes beside the weights while the largest layer is unpacked."""
    return UNPACKED * max(prod(info.shape) for info in file.tensors.values())
