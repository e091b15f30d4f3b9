"""Banding: smooth ramps that have turned into steps.

On luma, in ramps (gradient of the picture smoothed with sigma 6 in .05..1.2 levels a pixel), let
the range be the largest less the least level of the 5 x 5 pixels around one. In each tile of about
24 pixels that is mostly ramp, P is the share of ramp pixels with range 0 (plateaus) and S that with
range 2 or more (steps):

    share = mean over tiles of sqrt(P S)
    banding = mean over frames of share - share of the source

A fine ramp in eight bits has plateaus but only steps of one level, grain has steps but no plateaus.
Drawn pictures have both by design, hence the source's share is taken off. Every eighth frame is
looked at. Range -1..1, near 0 where the clip is as smooth as its source; not measured without a
source, or without ramps. Figures: benchmarks/qc_bench.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from qc.frame import Image, Plane

VERSION = "1"
EVERY = 8
"""Frames from one that is looked at to the next."""
_SIGMA = 6.0
_SLOWEST, _FASTEST = 0.05, 1.2
_AROUND = np.ones((5, 5), np.uint8)
_STEP = 2
_TILE = 24
_MOSTLY = 0.5


def check(share: float | None) -> bool:
    """Whether there were ramps to look at."""
    return share is not None


def compute(luma: Image) -> float | None:
    """How stepped the ramps of `luma` (H, W) are, 0..1; None without ramps."""
    smooth = cv2.GaussianBlur(luma.astype(np.float32), (0, 0), _SIGMA)
    slope = cv2.magnitude(
        cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8),
        cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8),
    )
    ramp = (slope > _SLOWEST) & (slope < _FASTEST)
    reach = cv2.subtract(cv2.dilate(luma, _AROUND), cv2.erode(luma, _AROUND))
    share = _by_tile(ramp)
    used = share > _MOSTLY
    if not used.any():
        return None
    plateaus = _by_tile(ramp & (reach == 0))[used] / share[used]
    steps = _by_tile(ramp & (reach >= _STEP))[used] / share[used]
    return float(np.sqrt(plateaus * steps).mean())


def _by_tile(mask: npt.NDArray[np.bool_]) -> Plane:
    height, width = mask.shape
    grid = (max(1, width // _TILE), max(1, height // _TILE))
    shares = cv2.resize(mask.astype(np.float32), grid, interpolation=cv2.INTER_AREA)
    return np.asarray(shares, np.float32)


def reduce(source: float | None, shares: Sequence[float | None]) -> dict[str, float]:
    """`banding` of a clip from its source's share and those of its frames."""
    known = [share for share in shares if share is not None]
    if source is None or not known:
        return {}
    return {"banding": float(np.mean(known)) - source}
