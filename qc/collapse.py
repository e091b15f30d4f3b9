"""Collapse: the picture falls apart in the last frames.

Largest compensated difference (mean |r'| of `qc.boiling` before smoothing, luma levels) of the
last four pairs, over the median of the earlier ones + .3. Range 0..; near 1 for a clip that ends
as it began.
Source: the project's defect bench (AUC 1.00).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

VERSION = "1"
LAST = 4
"""Pairs that count as the end."""
_CALM = 0.3


def check(residuals: Sequence[float]) -> bool:
    """Whether there are as many earlier pairs as last ones."""
    return len(residuals) >= 2 * LAST


def compute(earlier: Sequence[float], last: Sequence[float]) -> float:
    """How much more is left of the last pairs than of the earlier ones; neither is empty."""
    return float(max(last)) / (float(np.median(earlier)) + _CALM)


def reduce(residuals: Sequence[float]) -> dict[str, float]:
    """`collapse` of a clip from its pairs' mean |r'|, as `boiling.residual` gives it."""
    if not check(residuals):
        return {}
    return {"collapse": compute(residuals[:-LAST], residuals[-LAST:])}
