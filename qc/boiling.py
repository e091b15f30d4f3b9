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

from qc.flow import Pair
from qc.frame import Plane

VERSION = "2"
_SIGMA = 1.0
_FLAT = 0.25
"""Share of the picture that shows the noise floor."""


def check(pair: Pair) -> bool:
    """Whether anything in the pair can be compared."""
    return bool(pair.visible.any())


def compute(pair: Pair) -> tuple[float, float]:
    """(mean |r'| before smoothing, in luma levels; boiling ratio) of one pair."""
    if not check(pair):
        return 0.0, 0.0
    left = residual(pair)
    smooth = np.abs(cv2.GaussianBlur(left, (0, 0), _SIGMA))[pair.visible]
    slope = gradient(pair)
    seen = slope[pair.visible]
    flat = smooth[seen <= np.quantile(seen, _FLAT)]
    crawls = max(0.0, float(smooth.mean()) ** 2 - float(flat.mean()) ** 2) ** 0.5
    rest = float(np.abs(left[pair.visible]).mean())
    return rest, crawls / (float(slope.mean()) + 1.0)


def residual(pair: Pair) -> Plane:
    """r' (H, W), luma levels; 0 where not visible."""
    luma, rest = pair.before.plane[pair.visible], pair.residual[pair.visible]
    centred = luma - luma.mean()
    spread = float(centred @ centred)
    slope = float(centred @ rest) / spread if spread > 0 else 0.0
    left = np.zeros_like(pair.residual)
    left[pair.visible] = rest - np.float32(slope) * centred - rest.mean()
    return left


def gradient(pair: Pair) -> Plane:
    """Gradient (H, W) of the smoothed first frame, luma levels a pixel."""
    luma = cv2.GaussianBlur(pair.before.luma, (0, 0), _SIGMA)
    across = cv2.Sobel(luma, cv2.CV_32F, 1, 0, scale=1 / 8)
    down = cv2.Sobel(luma, cv2.CV_32F, 0, 1, scale=1 / 8)
    return np.asarray(cv2.magnitude(across, down), np.float32)


def reduce(values: Sequence[tuple[float, float]]) -> dict[str, float]:
    """`boiling` of a clip."""
    return {"boiling": float(np.mean([ratio for _, ratio in values]))} if values else {}
