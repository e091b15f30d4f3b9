"""The upscale cell: `2`, `1.5x`, `none`, `2x:model.safetensors`, `2x:lanczos`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from manifests.numbers import cell_text, float_of, number_text
from manifests.refusal import Refusal, quoted

MAX_FACTOR = 4.0
_FORM = "write 2x, 1.5x, none, or 2x:model.safetensors"
_CELL = re.compile(r"(?P<factor>[^:xX×]*?)\s*[xX×]?\s*(:(?P<model>.+))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class UpscaleRef:
    """What a cell asks for."""

    factor: float = 1.0
    """1 means: not at all."""
    model: str | None = None
    """As typed; None means the studio's upscaler, `lanczos` none of them."""

    def __str__(self) -> str:
        if self.factor == 1.0:
            return "none"
        text = f"{number_text(self.factor)}x"
        return text if self.model is None else f"{text}:{self.model}"


def read_upscale(value: object) -> UpscaleRef | None:
    """What the cell asks for; None stays None. Raises Refusal."""
    if value is None or isinstance(value, UpscaleRef):
        return value
    text = cell_text(value)
    if text.lower() in ("none", "no"):
        return UpscaleRef()
    match = _CELL.fullmatch(text)
    if match is None or not match["factor"]:
        raise Refusal(f"{quoted(text)} is no upscale", _FORM)
    factor = float_of(match["factor"], example="2x")
    model = (match["model"] or "").strip() or None
    if not 1.0 <= factor <= MAX_FACTOR:
        raise Refusal(f"{factor:g}x is not in 1x..{MAX_FACTOR:g}x", _FORM)
    if factor == 1.0 and model is not None:
        raise Refusal("1x with a model upscales nothing", _FORM)
    return UpscaleRef(factor, model)
