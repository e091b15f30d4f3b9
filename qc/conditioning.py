"""Conditioning: does frame 0 look like the source it was made from?

The source is cut and scaled exactly as the renderer does it (`manifests.still.prepare_still`),
then held against frame 0 at the clip's own size:
* `conditioning_ssim`: colour SSIM, -1..1, higher is better;
* `conditioning_psnr`: 10 log10(255^2 / mean squared error), 0..99 dB, 99 for equal pictures, higher
  is better;
* `conditioning_lpips`: LPIPS, 0.., lower is better (scale depends on the backbone); of both at
  half size from 240 px on, as neighbours are compared: at full size it would take a fifth of a
  second, as long as all else of seven frames.
Sources: `qc.ssim` and `qc.lpips` name those of the two; that frame 0 is held against the source is
what tells a clip of something else from one that is merely changed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as PILImage

from manifests.errors import BadInput
from manifests.source import open_source
from manifests.still import prepare_still
from qc.errors import SourceMissing
from qc.frame import Image, halved
from qc.ssim import WINDOW, ssim

if TYPE_CHECKING:
    from qc.lpips import LpipsBackbone

VERSION = "2"
_BEST = 99.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Alike:
    """Frame 0 beside the source."""

    ssim: float | None
    """None under 11 px."""
    psnr: float
    lpips: float | None
    """None without a backbone, and under 32 px."""


def load_source(path: Path, *, width: int, height: int) -> Image:
    """The source as frame 0 should be: (height, width, 3) uint8.

    Raises:
        SourceMissing: it is not there or cannot be read as a picture.
    """
    try:
        return prepared(open_source(path), width=width, height=height)
    except BadInput as error:
        raise SourceMissing(str(error)) from error


def prepared(picture: PILImage.Image, *, width: int, height: int) -> Image:
    """An RGB picture as frame 0 should be: (height, width, 3) uint8."""
    still = prepare_still(picture, width=width, height=height)
    return np.array(still.convert("RGB"), np.uint8)


def check(source: Image, frame: Image) -> None:
    """Raise ValueError when source and frame differ in size, or the source is not uint8."""
    if source.dtype != np.uint8:
        raise ValueError(f"source of type {source.dtype}: give uint8 0..255")
    if source.shape != frame.shape:
        raise ValueError(f"source {source.shape} and frame {frame.shape}: one size only")


def compute(source: Image, frame: Image, *, lpips: LpipsBackbone | None = None) -> Alike:
    """The prepared source against frame 0, both (H, W, 3) uint8."""
    check(source, frame)
    far = None
    if lpips is not None and lpips.measures(source):
        one, other = lpips.embed(halved(source)), lpips.embed(halved(frame))
        far = lpips.distance(one, other)
    return Alike(
        ssim=ssim(source, frame) if min(source.shape[:2]) >= WINDOW else None,
        psnr=psnr(source, frame),
        lpips=far,
    )


def reduce(alike: Alike | None) -> dict[str, float]:
    """The metrics of a clip; nothing without a source."""
    if alike is None:
        return {}
    found = {
        "conditioning_psnr": alike.psnr,
        "conditioning_ssim": alike.ssim,
        "conditioning_lpips": alike.lpips,
    }
    return {name: value for name, value in found.items() if value is not None}


def psnr(first: Image, second: Image) -> float:
    """Peak signal to noise ratio of two uint8 images, dB, at most 99."""
    error = float(np.mean((first.astype(np.float32) - second) ** 2, dtype=np.float64))
    return min(_BEST, 10 * math.log10(255**2 / error)) if error > 0 else _BEST
