"""Likeness: a part of the picture turns into something else while the rest holds.

A grid of 90 x 160 points on frame 0 is carried along by the flow. At every eighth frame and the
last one, the frame is brought back onto the source by it (at a width of 256), small errors of the
flow (up to 3 pixels) are taken out by one more flow to the source, and per place

    change = 1 - (cov + e) / sqrt((var_source + e) (var_now + e)),    e = 6 + 6 n^2

over a Gaussian window of 9 pixels, both smoothed with sigma 2.2, n the noise as the residual has
it: structure, neither light nor grain nor fine detail. Places without texture count less. Left out
are points that were hidden, or near which the grid was bent by more than .27 beside its usual bend:
there flow slid from one thing to another. Averaged over a Gaussian of a twentieth of the width
(a face, not a pixel), the frame's value is the 95th percentile of the places less their median
(codec and focus change all; a face that becomes another one changes a few). The clip's is the mean
of its two worst frames. Range 0..2; figures: benchmarks/qc_bench. A thing that is turned into
another so violently that flow cannot follow is not measured any more: earlier frames then speak.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from qc.flow import Pair, inside, sample
from qc.frame import Frame, Image, Plane
from qc.tracking import Points

VERSION = "2"
EVERY = 8
"""Frames from one that is looked at to the next."""
_DENSE = (90, 160)
"""Rows and columns of the points."""
_WIDTH = 256
_SHIFT = 3.0
_FINE, _WINDOW = 2.2, 9.0
_FLOOR, _NOISE = 6.0, 6.0
_FLAT = 25.0
"""Variance from which on a place counts fully."""
_BENT = 0.27
_PART = 0.05
"""Of the width: what a part is."""
_WORST = 95
_LEAST_SHARE = 0.35
"""Of a part that must be followed."""
_cv: Any = cv2


class Likeness:
    """Holds the source and where its points are now; looks at every eighth frame."""

    def __init__(self, first: Frame) -> None:
        """`first`: the source as a frame (frame 0 itself where there is none)."""
        height, width = first.track.shape
        self._scale = min(1.0, _WIDTH / width)
        size = (max(1, round(width * self._scale)), max(1, round(height * self._scale)))
        self._size = size
        self._source = self._small(first)
        self._pixels = np.dstack(np.meshgrid(*map(np.arange, size))).astype(np.float32)
        rows, columns = _DENSE
        x = (np.arange(columns, dtype=np.float32) + 0.5) * width / columns - 0.5
        y = (np.arange(rows, dtype=np.float32) + 0.5) * height / rows - 0.5
        self._now = np.dstack(np.meshgrid(x, y)).astype(np.float32)
        self._apart = (width / columns, height / rows)
        self._alive = np.ones(_DENSE, bool)
        self._flow = _cv.DISOpticalFlow_create(_cv.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._last: Pair | None = None
        self._count = 0
        self._values: list[float] = []

    def add(self, pair: Pair) -> None:
        """Take the next pair."""
        seen = sample(pair.seen.view(np.uint8), self._now, nearest=True) > 0
        self._now = self._now + sample(pair.flow, self._now)
        self._alive &= seen & inside(self._now, pair.seen.shape)
        self._last = pair
        self._count += 1
        if self._count % EVERY == 0:
            self._look(pair)

    def reduce(self) -> dict[str, float]:
        """`identity_drift`; nothing for eight frames and less, or where tracking was lost."""
        if self._last is None or self._count < EVERY:
            return {}
        if self._count % EVERY:
            self._look(self._last)
        worst = sorted(self._values)[-2:]
        return {"identity_drift": float(np.mean(worst))} if worst else {}

    def _look(self, pair: Pair) -> None:
        """Take the value of the pair's second frame, where enough of it is followed."""
        self._alive &= ~bent(self._now, self._alive, self._apart)
        at = (self._now + np.float32(0.5)) * np.float32(self._scale) - np.float32(0.5)
        back = sample(self._small(pair.after), np.asarray(cv2.resize(at, self._size), np.float32))
        back = np.rint(back).astype(np.uint8)
        rest = np.asarray(self._flow.calc(self._source, back, None), np.float32)
        length = cv2.magnitude(*cv2.split(rest))
        rest *= np.minimum(1, _SHIFT / np.maximum(length, 1e-3))[..., None]
        back = sample(back, self._pixels + rest)
        alive = cv2.resize(self._alive.view(np.uint8), self._size, interpolation=cv2.INTER_NEAREST)
        followed = cv2.erode(alive, np.ones((3, 3), np.uint8)).astype(np.float32)
        change, weight = compute(self._source, back, followed, noise=noise(pair))
        value = stands_out(change, weight)
        if value is not None:
            self._values.append(value)

    def _small(self, frame: Frame) -> Image:
        small = cv2.resize(frame.track, self._size, interpolation=cv2.INTER_AREA)
        return np.asarray(small, np.uint8)


def check(source: Image, back: Plane) -> None:
    """Raise ValueError unless both have one size."""
    if source.shape != back.shape:
        raise ValueError(f"pictures of {source.shape} and {back.shape}: one size only")


def compute(source: Image, back: Plane, followed: Plane, *, noise: float) -> tuple[Plane, Plane]:
    """(change 0..2, weight 0..1) of each place (H, W), luma against luma, levels.

    `followed` is 1 where a place was followed from `source`, else 0.
    """
    check(source, back)
    before, after = (
        cv2.GaussianBlur(np.asarray(plane, np.float32), (0, 0), _FINE) for plane in (source, back)
    )
    share = np.maximum(cv2.GaussianBlur(followed, (0, 0), _WINDOW), 1e-3)

    def mean(plane: cv2.typing.MatLike) -> Plane:
        return np.asarray(cv2.GaussianBlur(plane * followed, (0, 0), _WINDOW) / share, np.float32)

    first, second = mean(before), mean(after)
    ours = np.maximum(mean(before * before) - first * first, 0)
    theirs = np.maximum(mean(after * after) - second * second, 0)
    joint = mean(before * after) - first * second
    floor = _FLOOR + _NOISE * noise**2
    change = 1 - (joint + floor) / np.sqrt((ours + floor) * (theirs + floor))
    flat = _FLAT + 4 * _NOISE * noise**2
    weight = followed * np.minimum(1, np.maximum(ours, theirs) / flat)
    return change.astype(np.float32), weight.astype(np.float32)


def stands_out(change: Plane, weight: Plane) -> float | None:
    """The worst parts' change less the usual one; None where too little is followed."""
    sigma = _PART * change.shape[1]
    share = cv2.GaussianBlur(weight, (0, 0), sigma)
    total = cv2.GaussianBlur(change * weight, (0, 0), sigma)
    used = share > _LEAST_SHARE
    if not used.any():
        return None
    values = total[used] / share[used]
    return float(np.percentile(values, _WORST) - np.median(values))


def bent(
    now: Points, alive: npt.NDArray[np.bool_], apart: tuple[float, float]
) -> npt.NDArray[np.bool_]:
    """Where the grid is stretched or sheared unlike the rest; `apart` is its first spacing."""
    bends = np.zeros(now.shape[:2], bool)
    inner = alive[1:-1, 1:-1]
    if not inner.any():
        return bends
    across = (now[1:-1, 2:] - now[1:-1, :-2]) / np.float32(2 * apart[0])
    down = (now[2:, 1:-1] - now[:-2, 1:-1]) / np.float32(2 * apart[1])
    strain = np.concatenate([across, down], axis=2)
    off = np.abs(strain - np.median(strain[inner], axis=0)).max(axis=2)
    bends[1:-1, 1:-1] = off >= _BENT
    return bends


def noise(pair: Pair) -> float:
    """Median of the residual smoothed with sigma .7 at tracking size, levels."""
    height, width = pair.seen.shape
    small = cv2.resize(pair.residual, (width, height), interpolation=cv2.INTER_AREA)
    return float(np.median(np.abs(cv2.GaussianBlur(small, (0, 0), 0.7))))
