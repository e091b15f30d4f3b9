"""Colour drift: the scene's colours leave those of the source, all to one side.

Per frame, over the tracked points, with (a, b) of Lab (D65) now and t = (a, b) of the same point in
the source (in frame 0 where there is no source), the source first brought to the frame's exposure
(`qc.colours`: a fade is no drift):

    d = now - t,    k = slope of d over t (least squares, outliers aside, ridge 10, -.5..1.5)
    drift = the larger of |median over points of (d - k t)| and of the same median weighted by
            min(1, L/30) / (1 + (|t|/20)^2), L the lightness of the source

k is colours that grow stronger or weaker, which is saturation's; what is left is a cast that lies
over everything. The median of the vectors, not of their lengths: points that the flow let slide are
off in all directions and cancel out. Weighted a second time by how grey and how light the points
are, because there a cast is seen first: a gain of blue does nothing to a red bowl that fills most
of the picture. The second reading counts only while half of the points of frame 0 are still
followed: the grey ones among the few that a fast pan leaves may be those that slid onto something
else, and then they agree on a cast that is none. Where all is of one colour a cast and stronger
colours cannot be told apart, and it is called drift.
The clip's value is the 90th percentile over frames. Range 0.., in units of Lab;
1 is just visible side by side, 4 visible. Figures: benchmarks/qc_bench.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qc.colours import Colours, weighted_median
from qc.median import median

VERSION = "5"
_RIDGE = 10.0
"""Lab units squared: less spread of colours than this tells nothing of their strength."""
_WEAKEST, _STRONGEST = -0.5, 1.5
_OUTLIER = 3.0
_CALM = 1.0
_GREY = 20.0
"""Chroma at which a point counts half among the grey ones."""
_LIGHT = 30.0
"""Lightness from which on a point counts fully."""
_DARKEST = 0.1
_HALF = 0.5
"""Share of frame 0's points without which the grey ones do not decide alone."""


def check(then: Colours, now: Colours) -> None:
    """Raise ValueError unless both are (n, 3), n above 0."""
    if then.shape != now.shape or then.ndim != 2 or not len(then):
        raise ValueError(f"colours of {then.shape} and {now.shape}: want the same (n, 3)")


def compute(then: Colours, now: Colours, *, followed: float) -> float:
    """The cast over the points (n, 3) of Lab; they are the share `followed` (0..1) of frame 0's.

    Raises:
        ValueError: the colours are not (n, 3) both, or `followed` is no share.
    """
    check(then, now)
    if not 0 <= followed <= 1:
        raise ValueError(f"{followed} of the points followed: want 0..1")
    before, change = then[:, 1:], (now - then)[:, 1:]
    spread, moved = before - median(before.T), change - median(change.T)
    far = np.hypot(moved[:, 0], moved[:, 1])
    used = far <= _OUTLIER * float(median(far)) + _CALM
    joint = float((spread[used] * moved[used]).sum())
    slope = joint / (float((spread[used] ** 2).sum()) + _RIDGE * int(used.sum()))
    left = change - np.clip(slope, _WEAKEST, _STRONGEST) * before
    cast = float(np.hypot(*median(left.T)))
    if followed < _HALF:
        return cast
    light = np.clip(then[:, 0] / _LIGHT, _DARKEST, 1)
    weights = light / (1 + (before**2).sum(axis=1) / _GREY**2)
    grey = weighted_median(left[:, 0], weights), weighted_median(left[:, 1], weights)
    return max(cast, float(np.hypot(*grey)))


def reduce(values: Sequence[float]) -> dict[str, float]:
    """`colour_drift` of a clip."""
    return {"colour_drift": float(np.percentile(values, 90))} if values else {}
