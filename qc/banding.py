"""Banding: smooth ramps that have turned into steps.

A quantiser's steps lie at the same values everywhere: wherever a ramp passes through 100, it passes
through the same tread of the same stair. What a codec leaves of a smooth ramp has its edges by
place, at the borders of blocks, at any value. So what a picture has beside its smooth self is
looked at by value and not by place. Per colour channel, with v the smoothed picture (sigma 8 with
its curvature given back, 2 B(x) - B(B(x))) and q = x - v, limited to 8 levels either way:

    c(v)     = sum of q / (n + 40) over the pixels of that value (half a level wide), n of them
    w(v)     = min(n, N / 48) / (3/4 N + M / 4 + .02 of the picture), N being all pixels looked at
    stair(h) = 2 pi |sum over v of w(v) c(v) exp(2 pi i v / h)|

which is h for a perfect saw-tooth of steps of h levels, over any 24 levels or more, and small for
anything that does not come back every h levels: w keeps a few values that fill the picture, and the
40 a few pixels, from speaking for all. Looked at is ground (M pixels) that slopes by .05..1.5
levels a pixel, hardly bends, is not clipped and leaves v by under 3.5 levels on average, as steps
of 12 still do; of it, pixels that equal both neighbours in their row or their column, as those of
grain, texture and a dithered ramp seldom do. Then

    banding = largest of 2 / sqrt(h) (mean over frames of stair(h) - the same of the source)

over the channels and h from 2.5 to 16 levels; frames in which a channel has no ramps are left out
of its mean. The root is there because chance grows with h as texture does with its size: steps of 4
levels count as they are, those of 12 a little over half. The source's own stairs (drawn pictures
have some) are taken off step by step; a source without ramps has none. Every eighth frame is looked
at, every second pixel of every second row.

Range about 0..5; for steps of 4, 7 and 12 levels, once x264 has smeared them, about 1.2, 2.4 and 3.
Not measured without a source, under 32 pixels, or where less than a fiftieth of the picture slopes.
Formula and constants are our own, chosen on the training half of benchmarks/qc_bench; figures:
docs/qc.md.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from qc.frame import Image, lengths

VERSION = "4"
EVERY = 8
"""Frames from one that is looked at to the next."""
_COARSE = 4
_SIGMA = 2.0
"""At the coarse size: 8 pixels."""
_SLOWEST, _FASTEST = 0.05, 1.5
_STRAIGHT = 3.0
_ROUGH = 3.5
_DARKEST, _BRIGHTEST = 3, 252
"""Beyond them a channel may be clipped, and q leans to one side."""
_LEAST = 0.02
"""Share of the picture that must be smooth ground."""
_EACH = 2
"""Pixels from one that is counted to the next, along rows and columns."""
_OFF = 8.0
_BINS = 2
"""For each level."""
_FEW = 40 / _EACH**2
"""Pixels of one value that hardly count."""
_SPREAD = 24 * _BINS
"""Values over which the pixels have to be spread to count in full."""
_SMALL = 0.02
_REST = 0.25
"""What ground counts that is not looked at."""
_WAVES = 1024
"""Length of the transform: waves of 512 levels over 0, 1, 2 ..."""
_FIRST, _LAST = 32, 205
"""Waves of 16 and of 2.5 levels."""
_HEIGHTS = _WAVES / _BINS / np.arange(_FIRST, _LAST + 1)

Values = cv2.typing.MatLike

Stairs = npt.NDArray[np.float32]
"""(3, 174): by channel, for each height of steps from 16 levels down to 2.5; NaN in a channel
without ramps."""


class Banding:
    """Carries the sum of the stairs of the frames that were looked at."""

    def __init__(self) -> None:
        self._sum = np.zeros((3, len(_HEIGHTS)))
        self._frames = np.zeros((3, 1), np.int64)

    def add(self, stairs: Stairs) -> None:
        """Take the next frame's, as `compute` gives it."""
        self._sum += np.nan_to_num(stairs)
        self._frames += np.isfinite(stairs[:, :1])

    def reduce(self, source: Stairs | None) -> dict[str, float]:
        """`banding` of the clip; nothing without a source, or where no frame had ramps."""
        known = self._frames[:, 0] > 0
        if source is None or not known.any():
            return {}
        beyond = self._sum[known] / self._frames[known] - np.nan_to_num(source[known])
        return {"banding": float((2 / np.sqrt(_HEIGHTS) * beyond).max())}


def check(rgb: Image) -> bool:
    """Whether the picture is large enough to have ramps: 32 pixels each way."""
    return min(rgb.shape[:2]) >= 8 * _COARSE


def compute(rgb: Image) -> Stairs:
    """How far the ramps of `rgb` (H, W, 3) uint8 are stairs of each height, levels; NaN where
    nothing is known."""
    stairs = np.full((3, len(_HEIGHTS)), np.nan, np.float32)
    if check(rgb):
        for at, channel in enumerate(cv2.split(rgb)):
            stairs[at] = _stairs(np.asarray(channel, np.uint8))
    return stairs


def _stairs(channel: Image) -> Stairs | float:
    """(174,), or NaN without ramps."""
    height, width = channel.shape
    size, small = (width, height), (width // _COARSE, height // _COARSE)
    plane = channel.astype(np.float32)
    once = _smoothed(cv2.resize(plane, small, interpolation=cv2.INTER_AREA))
    twice = _smoothed(once)
    whole = cv2.resize(2 * once - twice, size, interpolation=cv2.INTER_LINEAR)
    value = np.ascontiguousarray(whole[::_EACH, ::_EACH])
    beside = plane[::_EACH, ::_EACH] - value
    ground = _ground(once, twice, beside)
    if float(ground.mean()) < _LEAST:
        return np.nan
    size = (value.shape[1], value.shape[0])
    there = cv2.resize(ground.view(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    seen = np.flatnonzero(_treads(channel)[::_EACH, ::_EACH] & there)
    bins = (value.ravel()[seen].clip(0, 255) * _BINS).astype(np.int64)
    count = np.bincount(bins, minlength=256 * _BINS)
    off = beside.ravel()[seen].clip(-_OFF, _OFF)
    total = np.bincount(bins, off, minlength=256 * _BINS)
    looked = (1 - _REST) * len(seen) + _REST * np.count_nonzero(there) + _SMALL * value.size
    weight = np.minimum(count, len(seen) / _SPREAD) / looked
    waves = np.fft.rfft(weight * total / (count + _FEW), _WAVES)[_FIRST : _LAST + 1]
    return np.asarray(2 * np.pi * np.abs(waves), np.float32)


def _ground(once: Values, twice: Values, beside: Values) -> npt.NDArray[np.bool_]:
    """Where the picture is a smooth slope, at the coarse size."""
    across = cv2.Sobel(once, cv2.CV_32F, 1, 0, scale=1 / 8 / _COARSE)
    down = cv2.Sobel(once, cv2.CV_32F, 0, 1, scale=1 / 8 / _COARSE)
    slope = lengths(np.asarray(across, np.float32), np.asarray(down, np.float32))
    small = (once.shape[1], once.shape[0])
    rough = _smoothed(cv2.resize(np.abs(beside), small, interpolation=cv2.INTER_AREA))
    sloping = (slope > _SLOWEST) & (slope < _FASTEST) & (np.abs(twice - once) < _STRAIGHT)
    return np.asarray(sloping & (rough < _ROUGH) & (once > _DARKEST) & (once < _BRIGHTEST), bool)


def _treads(channel: Image) -> npt.NDArray[np.bool_]:
    """Pixels that equal both neighbours in their row, or both in their column; at the edge the one
    there is."""
    row, column = np.ones((2, *channel.shape), bool)
    beside, below = channel[:, 1:] == channel[:, :-1], channel[1:] == channel[:-1]
    row[:, 1:] &= beside
    row[:, :-1] &= beside
    column[1:] &= below
    column[:-1] &= below
    row |= column
    return row


def _smoothed(plane: Values) -> Values:
    return cv2.GaussianBlur(plane, (0, 0), _SIGMA)
