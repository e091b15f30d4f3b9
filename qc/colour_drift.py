"""Colour drift: the scene's colours leave those of the source.

Per frame, the median over tracked points of the Lab distance (CIE 1976, D65) between the point
now and the same point in the source (in frame 0 where there is no source). The clip's value is
the 90th percentile over frames. Range 0..; 1 is just visible side by side, 4 visible, 8 wrong.
Source: the project's defect bench (AUC .95).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

VERSION = "1"


def check(alive: npt.NDArray[np.bool_]) -> bool:
    """Whether any point is still followed."""
    return bool(alive.any())


def compute(
    reference: npt.NDArray[np.float32],
    now: npt.NDArray[np.float32],
    alive: npt.NDArray[np.bool_],
) -> float:
    """Median Lab distance over the points (h, w, 3) that are `alive` (h, w)."""
    if not check(alive):
        return 0.0
    return float(np.median(np.linalg.norm(now[alive] - reference[alive], axis=1)))


def reduce(values: Sequence[float]) -> dict[str, float]:
    """`colour_drift` of a clip."""
    return {"colour_drift": float(np.percentile(values, 90))} if values else {}
