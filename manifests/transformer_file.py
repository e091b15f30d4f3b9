"""A transformer in one file, safetensors or GGUF, over a base folder that gives all the rest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from manifests.model_folder import read_json
from manifests.refusal import Refusal
from manifests.wan_names import diffusers_name, wan_shapes
from manifests.weight_file import WeightFile, read_weight_file

FAMILIES = ("wan", "pocket")
"""Whose transformers may come from a file."""
_SCALED = (".scale_weight", ".weight_scale", ".comfy_quant", "scaled_fp8")
"""Ends of names in files whose 8-bit values mean nothing without a scale."""
_SHOWN = 3


def check_transformer_file(path: Path, *, base: Path, part: str) -> WeightFile:
    """Look at a Wan transformer in a file: whole, and weight for weight what the base's
    `<part>/config.json` describes. Reads headers alone. Raises Refusal."""
    if not path.is_file():
        raise Refusal(f"{part}: {str(path)!r} is not there", f"correct {part}: in studio.yaml")
    if not (base / part / "config.json").is_file():
        raise Refusal(
            f"the base folder {base} has no {part}/config.json",
            "name a base folder with as many experts"
            if part == "transformer_2"
            else "name a base folder in the diffusers layout",
        )
    found = read_weight_file(path)
    if any(name.endswith(_SCALED) for name in found.tensors):
        raise Refusal(
            f"{path.name!r} holds 8-bit values with scales of their own (fp8_scaled), which "
            "diffusers does not apply",
            "use the bf16 or fp16 file, or a GGUF",
        )
    wanted = wan_shapes(read_json(base / part / "config.json"))
    _compare(found, wanted)
    return found


def _compare(file: WeightFile, wanted: Mapping[str, tuple[int, ...]]) -> None:
    name = file.path.name
    shapes = {diffusers_name(weight): info.shape for weight, info in file.tensors.items()}
    both = wanted.keys() & shapes.keys()
    if not both:
        raise Refusal(
            f"{name!r} holds no Wan transformer (its weights are named {_some(file.tensors)})",
            "use a file of the transformer alone, in Wan's own or in diffusers' naming",
        )
    other = [weight for weight in wanted if weight in both and shapes[weight] != wanted[weight]]
    if other:
        weight = other[0]
        raise Refusal(
            f"{name!r} was made for another model than the base folder: {weight} is "
            f"{_size(shapes[weight])}, and the base says {_size(wanted[weight])}",
            "name the base folder of the same size and task (1.3B, 5B or 14B; t2v or i2v)",
        )
    if missing := [weight for weight in wanted if weight not in shapes]:
        raise Refusal(
            f"{name!r} lacks {len(missing)} weights ({_some(missing)})",
            "download it again, or name the base folder it belongs to",
        )
    if more := [weight for weight in shapes if weight not in wanted]:
        raise Refusal(
            f"{name!r} holds {len(more)} weights that the base model has no place for "
            f"({_some(more)})",
            "use a file of the transformer alone, or name the base folder it belongs to",
        )


def _some(names: Any) -> str:
    listed = sorted(names)
    return ", ".join(listed[:_SHOWN]) + (" ..." if len(listed) > _SHOWN else "")


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
