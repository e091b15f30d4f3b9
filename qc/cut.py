"""A cut in the middle: the picture is suddenly another one.

Frames are brought to 80 x 48, and what lies between sigma .7 and sigma 8 is kept: shapes, neither
light nor noise. Of a pair,

    u = 1 - the best correlation of the middle of one frame (60 % each way) with the other frame,

searched as far as the middle can be moved; the lesser of both directions. A camera that pans, zooms
or shakes has a place where it fits, a picture that flickers or goes dark keeps its shapes. The
clip's value is the largest u less the larger of the medians of the three before and the three after
it: a cut is one step that fits nowhere between steps that fit, dissolving into noise takes several.
Range 0..1; clean clips stay under .15, violent shakes too, cuts are above .4. Histograms are not
looked at: two places of one scene have the same. Figures: benchmarks/qc_bench.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from qc.frame import Frame, Plane, cell_means
from qc.median import median

VERSION = "2"
_WIDTH, _HEIGHT = 80, 48
_FINE, _BROAD = 0.7, 8.0
_MARGIN = 0.2
_FLAT = 0.3
"""Levels: with less contrast there are no shapes to compare."""
_REACH = 3


Look = Plane
"""(48, 80) float32: the shapes of a frame, levels around 0."""


def check(look: Look) -> bool:
    """Whether there are shapes in it."""
    _, spread = cv2.meanStdDev(look)
    return float(spread[0, 0]) >= _FLAT


def look(frame: Frame) -> Look:
    """The shapes of a frame."""
    plane = np.rint(cell_means(frame.plane, rows=_HEIGHT, columns=_WIDTH))
    fine, broad = (cv2.GaussianBlur(plane, (0, 0), sigma) for sigma in (_FINE, _BROAD))
    return np.asarray(fine - broad, np.float32)


def compute(before: Look, after: Look) -> float:
    """u of two looks, 0..1; 0 where one of them has no shapes."""
    if not (check(before) and check(after)):
        return 0.0
    return max(0.0, 1 - max(_fit(before, after), _fit(after, before)))


def _fit(whole: Look, other: Look) -> float:
    """The best correlation of the middle of `other` anywhere in `whole`."""
    x, y = round(_WIDTH * _MARGIN), round(_HEIGHT * _MARGIN)
    middle = np.ascontiguousarray(other[y:-y, x:-x])
    if not check(middle):
        return 1.0
    return float(cv2.matchTemplate(whole, middle, cv2.TM_CCOEFF_NORMED).max())


def reduce(values: Sequence[float]) -> dict[str, float]:
    """`cut` of a clip."""
    if not values:
        return {}
    return {"cut": max(_stands_out(values, at) for at in range(len(values)))}


def _stands_out(values: Sequence[float], at: int) -> float:
    sides = (values[max(0, at - _REACH) : at], values[at + 1 : at + 1 + _REACH])
    usual = max((float(median(np.array(side))) for side in sides if side), default=0.0)
    return max(0.0, values[at] - usual)
