"""Likeness: a part of the picture slowly turns into something else while the rest holds.

A grid of 45 x 80 points is carried along from the source by the flow, each with the median motion
of the 5 x 5 points around it (what lies at the edge of a thing then moves with its own side). At
every fourth frame, and the last one, the frame is brought back onto the source by it (at a width
of 160), small errors (up to 2 pixels) are taken out by one more flow to the source, which is given
back to the grid as well (or it would slip away over time), and per place

    change = 1 - (cov + e) / sqrt((var_source + e) (var_now + e)),    e = 6 + 6 n^2

over a Gaussian window of 5.6 pixels, both smoothed with sigma 1.4, n the noise as the residual has
it: structure, neither light nor grain nor fine detail. Places without texture count less. Left out
are points that were hidden in four frames, near the picture's edge, or near which the grid was bent
by more than .27 beside its usual bend: there flow slid from one thing to another.

What is new at a place (the frame less what the source explains of it there) grows evenly where a
thing turns into another; where something passes in front, or flow slips, it comes and goes at once.
So from the third look on a change counts by its steadiness,

    .5 + .5 s,    s = (r - 1) / 1.5 in 0..1,

r the energy of what is new over the sum of the energies by which it changed from look to look: as
many as looks where it grew evenly, 1 where it came at once, less where it goes to and fro (the idea
of a variance ratio: Lo and MacKinlay, "Stock market prices do not follow random walks", Review of
Financial Studies, 1988).

Averaged over a Gaussian of .06 of the width (a face, not a pixel), a rim of .075 of the width left
out (what flow gets wrong lies there; in a strip a sixth of the height), the value of a look is the
95th percentile of the places less their median (codec and focus change all; a face that becomes
another one changes a few); of one source the mean of its two worst looks. Besides the source frames
8, 24, 40 and so on are followed, for 24 frames each: things that come late, and change that is
fast. `identity_drift` is the worst of all. Range 0..2; figures: docs/qc.md. What changes at once
is none of this metric's: `cut`, `collapse` and `flicker` see it. Not measured in pictures more
than ten times as wide as high: of their height too little is left at a width of 160.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from qc.flow import Pair, inside, sample
from qc.frame import SMALLEST, Frame, Image, Plane, lengths
from qc.median import median
from qc.tracking import Points

VERSION = "4"
EVERY = 4
"""Frames from one that is looked at to the next."""
_GRID = (45, 80)
"""Rows and columns of the points."""
_AROUND = 5
"""Points across whose median motion each one takes."""
_WIDTH = 160
_SHIFT = 2.0
_FINE, _WINDOW = 1.4, 5.6
_FLOOR, _NOISE = 6.0, 6.0
_FLAT = 25.0
"""Variance from which on a place counts fully."""
_BENT = 0.27
_HIDDEN = 4
"""Frames in which a point could not be seen: it is given up."""
_MARGIN = 4
"""Pixels at a width of 160 from the picture's edge, where flow is guessed."""
_SLIPS, _GROWS = 1.0, 2.5
"""Steadiness up to which a change counts least, and from which on it counts fully."""
_AT_ONCE = 0.5
"""What a change counts that came at once: flow that makes good its errors makes steps as well."""
_LEAST_LOOKS = 3
_PART = 0.06
"""Of the width: what a part is."""
_RIM = 0.075
"""Of the width: how much of the followed frame is left out at its edges."""
_WORST = 95
_LEAST_SHARE = 0.2
"""Of a part that must be followed."""
_NONE = np.float32(1e-3)
"""Share of followed places below which there is nothing to average."""
_LATER, _APART, _LASTS = 8, 16, 24
"""Frames: the first one that is followed besides the source, from one to the next, and how long."""
_cv: Any = cv2


class Likeness:
    """Follows the source, and one or two later frames, through the clip."""

    def __init__(self, first: Frame) -> None:
        """`first`: the source as a frame (frame 0 itself where there is none), if it `measures`."""
        self._scale, self._size = _looked_at(first)
        self._flow = _short_ways()
        self._source = self._from(first)
        self._later: list[_Followed] = []
        self._last: Pair | None = None
        self._count = 0
        self._worst: list[float] = []

    def add(self, pair: Pair) -> None:
        """Take the next pair."""
        self._last = pair
        self._count += 1
        for followed in (self._source, *self._later):
            followed.step(pair)
        if self._count % EVERY == 0:
            self._look(pair)
        if self._count % _APART == _LATER:
            self._later.append(self._from(pair.after))

    def reduce(self) -> dict[str, float]:
        """`identity_drift`; nothing for nine frames and less, or where tracking was lost."""
        last, self._last = self._last, None  # looked at once, however often it is asked
        if last is not None and self._count % EVERY:
            self._look(last)
        values = [*self._worst, *(_worst(one.values) for one in (self._source, *self._later))]
        found = [value for value in values if value is not None]
        return {"identity_drift": max(found)} if found else {}

    def _look(self, pair: Pair) -> None:
        """Look at the pair's second frame, and let go of what was followed for long enough."""
        small, grain = self._small(pair.after), noise(pair)
        for followed in (self._source, *self._later):
            followed.look(small, noise=grain)
        for done in [one for one in self._later if one.age >= _LASTS]:
            self._later.remove(done)
            value = _worst(done.values)
            if value is not None:
                self._worst = [max([*self._worst, value])]

    def _from(self, frame: Frame) -> _Followed:
        return _Followed(
            self._small(frame), shape=frame.track.shape, scale=self._scale, flow=self._flow
        )

    def _small(self, frame: Frame) -> Image:
        small = cv2.resize(frame.track, self._size, interpolation=cv2.INTER_AREA)
        return np.asarray(small, np.uint8)


class _Followed:
    """One frame, where its points are now, and what was new in it so far."""

    def __init__(self, start: Image, *, shape: tuple[int, ...], scale: float, flow: Any) -> None:
        """`start`: (h, w) luma at looking size, `scale` times the tracking size `shape`."""
        self.values: list[float] = []
        """One of each look from the third on, where enough is followed."""
        self.age = 0
        self._start, self._scale, self._flow = start, np.float32(scale), flow
        height, width = start.shape
        rows, columns = _GRID
        self._apart = (shape[1] / columns, shape[0] / rows)
        x = (np.arange(columns, dtype=np.float32) + 0.5) * width / columns - 0.5
        y = (np.arange(rows, dtype=np.float32) + 0.5) * height / rows - 0.5
        self._home = np.dstack(np.meshgrid(x, y)).astype(np.float32)
        self._pixels = np.dstack(np.meshgrid(np.arange(width), np.arange(height)))
        self._pixels = self._pixels.astype(np.float32)
        self._now = self._enlarged(self._home)
        self._alive = np.ones(_GRID, bool)
        self._hidden = np.zeros(_GRID, np.int32)
        self._looks = 0
        self._new: Plane | None = None
        self._grown = np.zeros(start.shape, np.float32)

    def step(self, pair: Pair) -> None:
        """Carry the points over one pair."""
        self.age += 1
        self._hidden += sample(pair.seen.view(np.uint8), self._now, nearest=True) == 0
        self._now = self._now + typical(sample(pair.flow, self._now))
        self._alive &= inside(self._now, pair.seen.shape)

    def look(self, frame: Image, *, noise: float) -> None:
        """Hold `frame` (h, w), of the size of the start, against it."""
        self._looks += 1
        followed = self._usable(frame.shape)
        at = np.asarray(cv2.resize(self._shrunk(self._now), frame.shape[::-1]), np.float32)
        back = sample(frame, at)
        rest = np.asarray(self._flow.calc(self._start, np.rint(back).astype(np.uint8), None))
        length = lengths(*_cv.split(rest))
        rest = rest * np.minimum(1, _SHIFT / np.maximum(length, 1e-3))[..., None]
        back = sample(back, self._pixels + rest)
        # What the grid had slipped by is given back to it, or it would slip on from there.
        self._now = self._enlarged(sample(at, self._home + typical(sample(rest, self._home))))
        around = Around(followed)
        change, weight, new = compute(self._start, back, around, noise=noise)
        self._grown += around.mean(new * new if self._new is None else (new - self._new) ** 2)
        self._new = new
        if self._looks >= _LEAST_LOOKS:
            even = steadiness(around.mean(new * new), self._grown)
            value = stands_out(change * even, weight)
            if value is not None:
                self.values = sorted([*self.values, value])[-2:]

    def _usable(self, shape: tuple[int, ...]) -> Plane:
        """(h, w): 1 where the start is followed, 0 elsewhere."""
        alive = self._alive & (self._hidden < _HIDDEN)
        self._alive &= ~bent(self._now, alive, self._apart)
        height, width = shape
        near = self._shrunk(self._now) - np.float32(_MARGIN)
        usable = alive & self._alive
        usable &= inside(near, (height - 2 * _MARGIN, width - 2 * _MARGIN))
        whole = cv2.resize(usable.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        return np.asarray(cv2.erode(whole, np.ones((3, 3), np.uint8)), np.float32)

    def _shrunk(self, points: Points) -> Points:
        """From pixels of the tracking size to those of the looking size."""
        return (points + np.float32(0.5)) * self._scale - np.float32(0.5)

    def _enlarged(self, points: Points) -> Points:
        return (points + np.float32(0.5)) / self._scale - np.float32(0.5)


def measures(first: Frame) -> bool:
    """Whether `first` is high enough at looking size: in less OpenCV's flow ends the process."""
    _, size = _looked_at(first)
    return min(size) >= SMALLEST


def _looked_at(first: Frame) -> tuple[float, tuple[int, int]]:
    """What the tracking size is multiplied by, and the looking size (width, height)."""
    height, width = first.track.shape
    scale = min(1.0, _WIDTH / width)
    return scale, (max(1, round(width * scale)), max(1, round(height * scale)))


def check(source: Image, back: Plane) -> None:
    """Raise ValueError unless both have one size."""
    if source.shape != back.shape:
        raise ValueError(f"pictures of {source.shape} and {back.shape}: one size only")


class Around:
    """The window around each place, of which what was followed counts."""

    def __init__(self, followed: Plane) -> None:
        """`followed` (H, W): 1 where a place was followed from the start, else 0."""
        self.followed = followed
        self._share = np.maximum(self._summed(followed), _NONE)

    def mean(self, plane: Plane) -> Plane:
        """`plane` (H, W) averaged over the window."""
        return _plane(self._summed(plane * self.followed) / self._share)

    def _summed(self, plane: Plane) -> Plane:
        return _plane(cv2.GaussianBlur(plane, (0, 0), _WINDOW))


def compute(
    source: Image, back: Plane, around: Around, *, noise: float
) -> tuple[Plane, Plane, Plane]:
    """(change 0..2, weight 0..1, what is new in levels) of each place (H, W), luma against luma.

    What is new: the smoothed frame less the straight line of the smoothed source that fits it best
    `around` the place.
    """
    check(source, back)
    before, after = (
        np.asarray(cv2.GaussianBlur(np.asarray(plane, np.float32), (0, 0), _FINE), np.float32)
        for plane in (source, back)
    )
    mean = around.mean
    first, second = mean(before), mean(after)
    ours = np.maximum(mean(before * before) - first * first, 0)
    theirs = np.maximum(mean(after * after) - second * second, 0)
    joint = mean(before * after) - first * second
    floor = np.float32(_FLOOR + _NOISE * noise**2)
    alike = (joint + floor) / np.sqrt((ours + floor) * (theirs + floor))
    flat = np.float32(_FLAT + 4 * _NOISE * noise**2)
    weight = around.followed * np.minimum(1, np.maximum(ours, theirs) / flat)
    new = after - second - (joint + floor) / (ours + floor) * (before - first)
    return _plane(1 - alike), _plane(weight), _plane(new)


def steadiness(new: Plane, grown: Plane) -> Plane:
    """.5..1 of each place: 1 where what is `new` (levels squared) grew evenly.

    `grown`: sum of the energies by which it grew from look to look, levels squared.
    """
    ratio = new / (grown + np.float32(1e-3))
    even = np.clip((ratio - _SLIPS) / (_GROWS - _SLIPS), 0, 1)
    return np.asarray(_AT_ONCE + (1 - _AT_ONCE) * even, np.float32)


def stands_out(change: Plane, weight: Plane) -> float | None:
    """The worst parts' change less the usual one; None where too little is followed."""
    height, width = change.shape
    rim = max(1, min(round(_RIM * width), height // 6))
    inner = np.zeros_like(weight)
    inner[rim:-rim, rim:-rim] = weight[rim:-rim, rim:-rim]
    share = _over_parts(inner, width)
    total = _over_parts(_plane(change * inner), width)
    used = share > _LEAST_SHARE
    if not used.any():
        return None
    values = total[used] / share[used]
    worst, usual = np.percentile(values, (_WORST, 50))
    return float(worst - usual)


def _over_parts(plane: Plane, width: int) -> Plane:
    """Averaged over what a part is; beyond the edge there is nothing."""
    return _plane(cv2.GaussianBlur(plane, (0, 0), _PART * width, borderType=cv2.BORDER_CONSTANT))


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
    off = np.zeros(inner.shape, np.float32)
    # One after the other: numpy's median over the long axis of a table takes twice as long.
    for strain in (*_cv.split(across), *_cv.split(down)):
        np.maximum(off, np.abs(strain - median(strain[inner])), out=off)
    bends[1:-1, 1:-1] = off >= _BENT
    return bends


def typical(motion: Points) -> Points:
    """The median motion of the 5 x 5 points around each one, x and y apart."""
    parts = [cv2.medianBlur(np.ascontiguousarray(motion[..., at]), _AROUND) for at in (0, 1)]
    return np.asarray(np.dstack(parts), np.float32)


def noise(pair: Pair) -> float:
    """Median of the residual smoothed with sigma .7 at tracking size, levels."""
    height, width = pair.seen.shape
    small = cv2.resize(pair.residual, (width, height), interpolation=cv2.INTER_AREA)
    # A quarter of the pixels has the same median, and sorting them is what takes the time.
    return float(np.median(np.abs(cv2.GaussianBlur(small, (0, 0), 0.7)[::2, ::2])))


def _short_ways() -> Any:
    """Flow for what is a few pixels off: patches farther apart and refined less, half the time."""
    flow = _cv.DISOpticalFlow_create(_cv.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow.setPatchStride(4)
    flow.setGradientDescentIterations(12)
    flow.setVariationalRefinementIterations(2)
    return flow


def _plane(values: npt.ArrayLike) -> Plane:
    return np.asarray(values, np.float32)


def _worst(values: list[float]) -> float | None:
    """Mean of the two worst."""
    return float(np.mean(sorted(values)[-2:])) if values else None
