"""Colour drift: the scene's colours leave those of the source.

Per frame, the median over tracked points of the Lab distance (CIE 1976, D65) between the point
now and the same point in the source (in frame 0 where there is no source), the source first
brought to the frame's exposure (`qc.colours`) and its chroma to the frame's mean chroma (within a
factor of 2): a fade is no drift, and stronger colours are saturation. The clip's value is the 90th
percentile over frames. Range 0..; 1 is just visible side by side, 4 visible, 8 wrong.
Source: the project's defect bench (AUC .95).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qc.colours import Colours

VERSION = "2"
_GREY = 2.0
"""Chroma that keeps the ratio of grey pictures tame."""
_MOST = 2.0


def check(then: Colours, now: Colours) -> None:
    """Raise ValueError unless both are (n, 3), n above 0."""
    if then.shape != now.shape or then.ndim != 2 or not len(then):
        raise ValueError(f"colours of {then.shape} and {now.shape}: want the same (n, 3)")


def compute(then: Colours, now: Colours) -> float:
    """Median Lab distance of the points (n, 3)."""
    check(then, now)
    ratio = (_chroma(now) + _GREY) / (_chroma(then) + _GREY)
    scaled = then * np.array([1, *[np.clip(ratio, 1 / _MOST, _MOST)] * 2], np.float32)
    return float(np.median(np.linalg.norm(now - scaled, axis=1)))


def reduce(values: Sequence[float]) -> dict[str, float]:
    """`colour_drift` of a clip."""
    return {"colour_drift": float(np.percentile(values, 90))} if values else {}


def _chroma(lab: Colours) -> float:
    return float(np.hypot(lab[:, 1], lab[:, 2]).mean())
