"""Boiling: texture that crawls although its surface does not move.

Per pair, with r' the residual r of `qc.flow` less its best straight line over the luma (a change of
exposure is flicker and no boiling), both r' and the picture smoothed with sigma 1 (grain is white
and mostly goes, texture stays):

    sqrt(max(0, R^2 - F^2)) / (mean |grad| + 1)

R is mean |r'| over what is visible in both, F the same over the quarter of it with the least
gradient: noise that is as strong where there is no texture is grain, not texture that crawls.
Gradients are Sobel / 8, so that a ramp of one level a pixel has gradient 1. The clip's value is the
mean over pairs. Range 0..; clean clips, strong grain too, stay under .17. What boils evenly over
flat ground is taken for grain. Figures: benchmarks/qc_bench.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from qc.flow import Pair
from qc.frame import Image, Plane, lengths, masked

VERSION = "2"
_SIGMA = 1.0
_FLAT = 0.25
"""Share of the picture that shows the noise floor."""
_FINE = 32.0


def check(pair: Pair) -> bool:
    """Whether anything in the pair can be compared."""
    return bool(pair.visible.any())


def compute(pair: Pair) -> tuple[float, float]:
    """(mean |r'| before smoothing, in luma levels; boiling ratio) of one pair."""
    if not check(pair):
        return 0.0, 0.0
    left = residual(pair)
    seen = pair.visible.view(np.uint8)
    smooth = np.asarray(cv2.GaussianBlur(left, (0, 0), _SIGMA), np.float32)
    slope = gradient(pair)
    flat = (slope <= flattest(slope, pair.visible)).view(np.uint8) & seen
    crawls = max(0.0, _mean(smooth, seen) ** 2 - _mean(smooth, flat) ** 2) ** 0.5
    return _mean(left, seen), crawls / (cv2.mean(slope)[0] + 1.0)


def residual(pair: Pair) -> Plane:
    """r' (H, W), luma levels; 0 where not visible."""
    seen, rest, plane = pair.visible.view(np.uint8), pair.residual, pair.before.plane
    middle = _mean(plane, seen)
    luma = masked(plane - np.float32(middle), pair.visible)
    spread = float(np.vdot(luma, luma))
    slope = float(np.vdot(luma, rest)) / spread if spread > 0 else 0.0
    level = cv2.sumElems(rest)[0] / max(1, int(np.count_nonzero(seen)))
    left = cv2.addWeighted(rest, 1, plane, -slope, slope * middle - level)
    return masked(np.asarray(left, np.float32), pair.visible)


def _mean(plane: Plane, where: Image) -> float:
    """Mean of |plane| (H, W) where `where` is 1."""
    return cv2.norm(plane, cv2.NORM_L1, where) / max(1, int(np.count_nonzero(where)))


def flattest(slope: Plane, seen: npt.NDArray[np.bool_]) -> float:
    """A gradient that just the quarter of what is seen does not exceed which `np.quantile` tells.

    Counted by steps of 1/32 first, so that only those of one step are sorted: numpy, which sorts
    them all, takes longer for it than all else here.
    """
    at = _FLAT * (np.count_nonzero(seen) - 1)
    rank = int(at)
    steps = cv2.convertScaleAbs(slope, alpha=_FINE)
    counts = cv2.calcHist([steps], [0], seen.view(np.uint8), [256], [0, 256]).ravel()
    below = np.cumsum(counts, dtype=np.float64)
    step = int(np.searchsorted(below, rank, side="right"))
    near = seen & (steps == step)
    # By number: numpy picks by truth values in half as much time again.
    values = np.sort(slope.ravel()[np.flatnonzero(near)])
    first = rank - int(below[step - 1] if step else 0)
    one, next_one = values[first], values[min(first + 1, len(values) - 1)]
    share = np.float32(at - rank)
    gap = next_one - one
    return float(one + gap * share if share < 0.5 else next_one - gap * (1 - share))


def gradient(pair: Pair) -> Plane:
    """Gradient (H, W) of the smoothed first frame, luma levels a pixel."""
    luma = cv2.GaussianBlur(pair.before.luma, (0, 0), _SIGMA)
    across = cv2.Sobel(luma, cv2.CV_32F, 1, 0, scale=1 / 8)
    down = cv2.Sobel(luma, cv2.CV_32F, 0, 1, scale=1 / 8)
    return lengths(np.asarray(across, np.float32), np.asarray(down, np.float32))


def reduce(values: Sequence[tuple[float, float]]) -> dict[str, float]:
    """`boiling` of a clip."""
    return {"boiling": float(np.mean([ratio for _, ratio in values]))} if values else {}
