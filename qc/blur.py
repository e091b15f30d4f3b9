"""Softening: the clip ends blurrier than it began.

-ln(sharpness of the last 4 frames / sharpness of the first 8). Sharpness is the energy of the
Laplacian around each tracked point, so that a pan into a plain wall is no softening; over the
spread of luma from point to point, so that a fade is none; all frames are first brought to the
scale of the smallest (the scene's zoom, by the points' spread), so that a zoom is none either.
Absent where under a quarter of the points last to the end: the few that a fast pan leaves at its
edge may have slid onto plainer ground.
Range about -1..; 0 for no change, .35 for a third of the detail gone.
Source: the project's defect bench (variance of the Laplacian over the whole frame, AUC 1.00).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from qc.flow import sample
from qc.frame import Frame, Image
from qc.tracking import Points, Tracker

VERSION = "2"
FIRST, LAST = 8, 4
"""Frames at the beginning and at the end."""
_WINDOW = 15
_NOISE = 0.5
"""Laplacian energy of a picture without any detail: what rounding to 8 bits leaves."""
_FLAT = 10.0
"""Levels squared: less spread than this is no contrast to measure by."""
_NO_ZOOM = 0.02
_LEAST = 0.25
"""Share of the points that must last to the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    luma: Image
    points: Points
    alive: npt.NDArray[np.bool_]
    scale: float


class Sharpness:
    """Keeps the first 8 and the last 4 frames (luma only) until the clip ends."""

    def __init__(self) -> None:
        self._first: list[_Kept] = []
        self._last: deque[_Kept] = deque(maxlen=LAST)

    def add(self, frame: Frame, tracker: Tracker) -> None:
        """Take the next frame and where its points are."""
        kept = _Kept(
            luma=frame.luma,
            points=tracker.now,
            alive=tracker.alive.copy(),
            scale=tracker.scale,
        )
        if len(self._first) < FIRST:
            self._first.append(kept)
        else:
            self._last.append(kept)

    def reduce(self) -> dict[str, float]:
        """`blur` of the clip; nothing for a clip under 12 frames or when tracking was lost."""
        if not check(self._first, self._last):
            return {}
        common = self._last[-1].alive
        smallest = min(kept.scale for kept in (*self._first, *self._last))
        before = np.mean([compute(kept, smallest, common) for kept in self._first])
        after = np.mean([compute(kept, smallest, common) for kept in self._last])
        return {"blur": float(-np.log(after / before))}


def check(first: list[_Kept], last: deque[_Kept]) -> bool:
    """Whether both ends are complete and a quarter of the points lasted to the end."""
    return len(first) == FIRST and len(last) == LAST and float(last[-1].alive.mean()) >= _LEAST


def compute(kept: _Kept, smallest: float, alive: npt.NDArray[np.bool_]) -> float:
    """Laplacian energy over contrast at the points that are `alive`, at the scale `smallest`."""
    factor = smallest / kept.scale
    height, width = kept.luma.shape
    size = (width, height)
    luma = kept.luma
    if factor < 1 - _NO_ZOOM:
        size = (max(_WINDOW, round(width * factor)), max(_WINDOW, round(height * factor)))
        # Bicubic: averaging over pixel areas would itself cost a third of the detail.
        luma = np.asarray(cv2.resize(luma, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    detail = np.asarray(cv2.Laplacian(luma, cv2.CV_32F), np.float32)
    energy = np.asarray(cv2.boxFilter(detail**2, -1, (_WINDOW, _WINDOW)), np.float32)
    ground = np.asarray(cv2.boxFilter(luma, cv2.CV_32F, (_WINDOW, _WINDOW)), np.float32)
    at = kept.points * np.array([size[0] / width, size[1] / height], np.float32)
    contrast = float(sample(ground, at)[alive].var())
    return (float(sample(energy, at)[alive].mean()) + _NOISE) / (contrast + _FLAT)
