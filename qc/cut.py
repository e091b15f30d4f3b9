"""A cut in the middle: the picture is suddenly another one.

Per pair the product of three things, each 0..1, which only a cut has all at once:
* 1 - the intersection of the two RGB histograms (8 x 8 x 8 bins): other colours. Flicker has this
  too, when brightness crosses a bin's edge;
* min(1, lost / .3), `lost` being the share of pixels that flow cannot follow. A collapse into
  noise has this too;
* min(1, (1 - rho) / .3), rho being the correlation of the two lumas at 32 x 20: another layout.
The clip's value is the maximum. Source: the project's defect bench (histogram alone AUC 1.00).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from qc.flow import Pair
from qc.frame import Frame

VERSION = "1"
_BINS = 8
_LOST = 0.3
_OTHER = 0.3
_SAMPLES = 512
_LAYOUT = (32, 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One frame's colours and layout."""

    histogram: npt.NDArray[np.float32]
    """(8, 8, 8) RGB, sums to 1."""
    layout: npt.NDArray[np.float32]
    """(20, 32) luma, mean 0 and length 1; all 0 for a frame of one tone."""


def check(look: Look) -> bool:
    """Whether the histogram is one: it sums to 1."""
    return bool(abs(float(look.histogram.sum()) - 1) < 1e-3)


def look(frame: Frame) -> Look:
    """Colours (on at most about 512 x 512 of the pixels) and layout of the frame."""
    stride = max(1, max(frame.rgb.shape[:2]) // _SAMPLES)
    pixels = np.ascontiguousarray(frame.rgb[::stride, ::stride])
    counts = cv2.calcHist([pixels], [0, 1, 2], None, [_BINS] * 3, [0, 256] * 3)
    coarse = np.asarray(cv2.resize(frame.plane, _LAYOUT, interpolation=cv2.INTER_AREA))
    centred = coarse - coarse.mean()
    length = float(np.linalg.norm(centred))
    return Look(
        histogram=np.asarray(counts / (pixels.shape[0] * pixels.shape[1]), np.float32),
        layout=np.asarray(centred / length if length > 1 else 0 * centred, np.float32),
    )


def compute(before: Look, after: Look, pair: Pair | None) -> float:
    """How much the pair looks like a cut, 0..1; without `pair` flow has no say."""
    change = 1 - float(np.minimum(before.histogram, after.histogram).sum())
    other = min(1.0, max(0.0, 1 - float((before.layout * after.layout).sum())) / _OTHER)
    lost = 1.0 if pair is None else min(1.0, pair.lost / _LOST)
    return max(0.0, change * other * lost)


def reduce(values: Sequence[float]) -> dict[str, float]:
    """`cut` of a clip."""
    return {"cut": max(values)} if values else {}
