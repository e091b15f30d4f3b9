"""Softening: the clip ends blurrier than it began.

-ln(sharpness of the last 4 frames / sharpness of the first 8). Sharpness is the energy of the
Laplacian around each tracked point, so that a pan into a plain wall is no softening; over the
spread of luma from point to point, so that a fade is none; all frames are first brought to the
scale of the smallest (the scene's zoom, by the points' spread), so that a zoom is none either.

Where under a quarter of the points are left (the few at the edge of a fast pan may have slid onto
plainer ground), the leg of the clip that they were followed for ends, and another one begins with
new points: the value is that of the softest leg. A leg has 12 frames or more; absent without one.
Range about -1..; 0 for no change, .35 for a third of the detail gone.
Source: the project's defect bench (variance of the Laplacian over the whole frame, AUC 1.00).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from qc.flow import Pair, sample
from qc.frame import Frame, Image
from qc.tracking import Points, Tracker, scale

VERSION = "3"
FIRST, LAST = 8, 4
"""Frames at the beginning and at the end."""
_WINDOW = 15
_NOISE = 0.5
"""Laplacian energy of a picture without any detail: what rounding to 8 bits leaves."""
_FLAT = 10.0
"""Levels squared: less spread than this is no contrast to measure by."""
_NO_ZOOM = 0.02
_LEAST = 0.25
"""Share of the points that must last to the end of a leg."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    luma: Image
    points: Points
    alive: npt.NDArray[np.bool_]


class Sharpness:
    """Follows the legs of a clip one by one, and keeps the softest one's value."""

    def __init__(self) -> None:
        self._leg: _Leg | None = None
        self._worst: float | None = None

    def add(self, frame: Frame, pair: Pair | None) -> None:
        """Take the next frame, and the pair that leads to it (None where nothing moved)."""
        if self._leg is None or not self._leg.add(frame, pair):
            self._worst = self._softest()
            self._leg = _Leg(frame)

    def reduce(self) -> dict[str, float]:
        """`blur` of the clip; nothing for one without a leg of 12 frames."""
        worst = self._softest()
        return {} if worst is None else {"blur": worst}

    def _softest(self) -> float | None:
        value = None if self._leg is None else self._leg.value()
        found = [known for known in (self._worst, value) if known is not None]
        return max(found, default=None)


class _Leg:
    """The first 8 and the last 4 frames (luma only) for which a quarter of the points lasts."""

    def __init__(self, frame: Frame) -> None:
        self._tracker = Tracker(frame)
        self._first: list[_Kept] = []
        self._last: deque[_Kept] = deque(maxlen=LAST)
        self._keep(frame)

    def add(self, frame: Frame, pair: Pair | None) -> bool:
        """Whether the frame still belongs to the leg; it is kept then."""
        if pair is not None:
            self._tracker.step(pair)
        lasts = float(self._tracker.alive.mean()) >= _LEAST
        if lasts:
            self._keep(frame)
        return lasts

    def _keep(self, frame: Frame) -> None:
        kept = _Kept(
            luma=frame.luma,
            points=self._tracker.now,
            alive=self._tracker.alive.copy(),
        )
        if len(self._first) < FIRST:
            self._first.append(kept)
        else:
            self._last.append(kept)

    def value(self) -> float | None:
        """How much softer its end is; None under 12 frames."""
        if not check(self._first, self._last):
            return None
        common = self._last[-1].alive
        kept = [*self._first, *self._last]
        scales = [scale(self._tracker.start, each.points, each.alive) for each in kept]
        sharp = [
            compute(each, min(scales) / own, common) for each, own in zip(kept, scales, strict=True)
        ]
        return float(-np.log(np.mean(sharp[FIRST:]) / np.mean(sharp[:FIRST])))


def check(first: list[_Kept], last: deque[_Kept]) -> bool:
    """Whether both ends are complete."""
    return len(first) == FIRST and len(last) == LAST


def compute(kept: _Kept, factor: float, alive: npt.NDArray[np.bool_]) -> float:
    """Laplacian energy over contrast at the points that are `alive`, at `factor` (0..1) times the
    frame's size."""
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
