"""Oversaturation: colours stronger (or weaker) than the source's, as a CFG too high makes them.

Per frame, with c the chroma sqrt(a^2 + b^2) of Lab of each tracked point now and c_s that of the
same point in the source (frame 0 without one) brought to the frame's exposure (`qc.colours`: half
the light is not half the colour):

    g = median of ln((c + 2) / (c_s + 2)) over points, weighted by c_s
    C = mean c_s, weighted by c_s,    d = (e^g - 1) (C + 2)
    s = sign(d) max(|d| - 2.3, |d| / 20),    ln((C + s + 2) / (C + 2))

Weighted, because colours are told by the points that have some; the median, because some points
slide from a colourful thing to a grey one or back. A change of chroma under 2.3 is not seen (Mahy
et al. 1994): without it a black and white picture is failed for the tint that any decoder leaves.
It counts for little, not for nothing, so that of two grey pictures the worse one is still worse.
The clip's value is the 90th percentile of its absolute value over the frames in which three tenths
of the points are followed: the last ones of a fast pan slide along its edge. Range 0..; .2 is 22 %
more colour or 18 % less, beyond what is not seen. Figures: benchmarks/qc_bench.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from qc.colours import Colours, weighted_median

VERSION = "6"
FOLLOWED = 0.3
"""Share of the points that has to be followed for a frame to count."""
_GREY = 2.0
"""Chroma that keeps the logarithm of grey pictures tame."""
_UNSEEN = 2.3
"""Just noticeable difference of Lab colours."""
_TRACE = 0.05
"""Share of a change that counts although it is not seen."""
_LIGHTEST = 0.5
"""Weight of a point without any colour."""


def check(then: Colours, now: Colours) -> None:
    """Raise ValueError unless both are (n, 3), n above 0."""
    if then.shape != now.shape or then.ndim != 2 or not len(then):
        raise ValueError(f"colours of {then.shape} and {now.shape}: want the same (n, 3)")


def compute(then: Colours, now: Colours) -> float:
    """Signed log ratio of chroma of points (n, 3) in Lab."""
    check(then, now)
    before = _chroma(then)
    weights = before + _LIGHTEST
    growth = weighted_median(np.log((_chroma(now) + _GREY) / (before + _GREY)), weights)
    level = float(np.average(before, weights=weights)) + _GREY
    change = math.expm1(growth) * level
    seen = math.copysign(max(abs(change) - _UNSEEN, abs(change) * _TRACE), change)
    return math.log((level + seen) / level)


def reduce(values: Sequence[float]) -> dict[str, float]:
    """`saturation_shift` of a clip (absolute)."""
    return {"saturation_shift": float(np.percentile(np.abs(values), 90))} if values else {}


def _chroma(lab: Colours) -> Colours:
    return np.hypot(lab[:, 1], lab[:, 2])
