"""Banding: smooth ramps that have turned into steps.

Per colour channel, on ground that is smooth and slopes (the picture smoothed with sigma 8 has a
gradient of .05..1.5 levels a pixel and hardly bends, and the picture leaves it by under 3.5 levels
on average, as steps of 12 still do): let q be picture less smoothed picture, and a plateau a pixel
whose 3 x 3 pixels are all equal. Then

    bands = sqrt(mean over that ground of q^2 on plateaus, 0 elsewhere)
    banding = mean over frames of (largest of the three channels' bands) - the same of the source

in levels: on plateaus q is the saw-tooth of the steps, h / sqrt(12) for steps of h levels. A fine
ramp in eight bits has h = 1, grain has no plateaus, flat ground does not slope. Channels are looked
at one by one, because each has its steps elsewhere: in luma they are half as high. Drawn pictures
have plateaus by design, hence the source's value is taken off. Every eighth frame is looked at.
Smoothing is done at a quarter of the size. Range about 0..3, near 0 where the clip is as smooth as
its source; not measured without a source, or where no ground slopes. Figures: benchmarks/qc_bench.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from qc.frame import Image

VERSION = "3"
EVERY = 8
"""Frames from one that is looked at to the next."""
_COARSE = 4
_SIGMA = 2.0
"""At the coarse size: 8 pixels."""
_SLOWEST, _FASTEST = 0.05, 1.5
_STRAIGHT = 3.0
_ROUGH = 3.5
_LEAST = 0.02
"""Share of the picture that must be smooth ground."""
_AROUND = np.ones((3, 3), np.uint8)


def check(bands: float | None) -> bool:
    """Whether there was smooth ground to look at."""
    return bands is not None


def compute(rgb: Image) -> float | None:
    """How stepped the ramps of `rgb` (H, W, 3) uint8 are, levels; None without ramps."""
    if min(rgb.shape[:2]) < 8 * _COARSE:
        return None
    found = [
        bands
        for at in range(3)
        if (bands := _bands(np.ascontiguousarray(rgb[..., at]))) is not None
    ]
    return max(found, default=None)


def _bands(channel: Image) -> float | None:
    height, width = channel.shape
    small = (width // _COARSE, height // _COARSE)
    plane = channel.astype(np.float32)
    smooth = _smoothed(cv2.resize(plane, small, interpolation=cv2.INTER_AREA))
    rest = plane - cv2.resize(smooth, (width, height), interpolation=cv2.INTER_LINEAR)
    slope = cv2.magnitude(
        cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8 / _COARSE),
        cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8 / _COARSE),
    )
    rough = _smoothed(cv2.resize(np.abs(rest), small, interpolation=cv2.INTER_AREA))
    ground = (slope > _SLOWEST) & (slope < _FASTEST) & (rough < _ROUGH)
    ground &= np.abs(_smoothed(smooth) - smooth) < _STRAIGHT
    if float(ground.mean()) < _LEAST:
        return None
    plateau = cv2.dilate(channel, _AROUND) == cv2.erode(channel, _AROUND)
    power = cv2.resize(rest * rest * plateau, small, interpolation=cv2.INTER_AREA)
    return float(power[ground].mean(dtype=np.float64)) ** 0.5


def _smoothed(plane: cv2.typing.MatLike) -> cv2.typing.MatLike:
    return cv2.GaussianBlur(plane, (0, 0), _SIGMA)


def reduce(source: float | None, bands: Sequence[float | None]) -> dict[str, float]:
    """`banding` of a clip from its source's value and those of its frames."""
    known = [value for value in bands if value is not None]
    if source is None or not known:
        return {}
    return {"banding": float(np.mean(known)) - source}
