"""Oversaturation: colours stronger (or weaker) than the source's, as a CFG too high makes them.

Per frame, ln((C_source + d + 2) / (C_source + 2)), C being the mean chroma sqrt(a^2 + b^2) of Lab
over the tracked points, C_source that of the same points in the source (frame 0 without one)
brought to the frame's exposure (`qc.colours`: half the light is not half the colour), and
d = C - C_source brought 2.3 nearer to 0: less is not seen (Mahy et al. 1994). Without it a black
and white picture is failed for the tint that any decoder leaves. Points whose change is off by more
than three medians are left out: they have slid from a colourful thing to a grey one or back. The
clip's value is the 90th percentile of its absolute value over frames. Range 0..; .2 is 22 % more
colour or 18 % less, beyond what is not seen. Figures: benchmarks/qc_bench.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qc.colours import Colours

VERSION = "4"
_GREY = 2.0
"""Chroma that keeps the logarithm of grey pictures tame."""
_UNSEEN = 2.3
"""Just noticeable difference of Lab colours."""
_OUTLIER = 3.0
_CALM = 1.0


def check(then: Colours, now: Colours) -> None:
    """Raise ValueError unless both are (n, 3), n above 0."""
    if then.shape != now.shape or then.ndim != 2 or not len(then):
        raise ValueError(f"colours of {then.shape} and {now.shape}: want the same (n, 3)")


def compute(then: Colours, now: Colours) -> float:
    """Signed log ratio of chroma of points (n, 3) in Lab."""
    check(then, now)
    each = _chroma(then)
    grown = _chroma(now) - each
    off = np.abs(grown - np.median(grown))
    used = off <= _OUTLIER * float(np.median(off)) + _CALM
    before, change = float(each[used].mean()), float(grown[used].mean())
    seen = float(np.sign(change)) * max(abs(change) - _UNSEEN, 0.0)
    return float(np.log((before + seen + _GREY) / (before + _GREY)))


def reduce(values: Sequence[float]) -> dict[str, float]:
    """`saturation_shift` of a clip (absolute)."""
    return {"saturation_shift": float(np.percentile(np.abs(values), 90))} if values else {}


def _chroma(lab: Colours) -> Colours:
    return np.hypot(lab[:, 1], lab[:, 2])
