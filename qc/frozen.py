"""Frozen and duplicated frames: pairs in which nothing happens.

Difference of a pair: mean |x_{t+1} - x_t| over pixels and channels, levels.
* `frozen`: share of pairs whose difference is at most .255 (a thousandth of the range). 0..1.
* `duplicate_ratio`: the smallest difference against the median of its neighbours (5 pairs to each
  side), looked for only where those neighbours move. 0 for an exact repeat, about 1 in steady
  motion. Absent when nothing moves anywhere: then `frozen` speaks.
Source: the project's defect bench (AUC 1.00 both).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from qc.frame import Frame

VERSION = "1"
STILL = 0.255
"""Levels: a pair that differs by no more does not move."""
MOVING = 0.5
"""Levels: neighbours that differ less are too still to call a repeat between them odd."""
_REACH = 5


def check(before: Frame, after: Frame) -> None:
    """Raise ValueError when the frames differ in size."""
    if before.rgb.shape != after.rgb.shape:
        raise ValueError(f"frames of {before.rgb.shape} and {after.rgb.shape}: one size only")


def compute(before: Frame, after: Frame) -> float:
    """Mean absolute difference of the pair over pixels and channels, 0..255."""
    check(before, after)
    return cv2.norm(before.rgb, after.rgb, cv2.NORM_L1) / before.rgb.size


def reduce(values: Sequence[float]) -> dict[str, float]:
    """`frozen` and, where something moves, `duplicate_ratio`."""
    if not values:
        return {}
    series = np.asarray(values)
    result = {"frozen": float((series <= STILL).mean())}
    ratios = [
        series[at] / around
        for at in range(len(series))
        if (around := _neighbourhood(series, at)) > MOVING
    ]
    if ratios:
        result["duplicate_ratio"] = float(min(ratios))
    return result


def _neighbourhood(series: np.ndarray, at: int) -> float:
    near = np.concatenate([series[max(0, at - _REACH) : at], series[at + 1 : at + 1 + _REACH]])
    return float(np.median(near)) if len(near) else 0.0
