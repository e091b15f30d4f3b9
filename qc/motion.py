"""Motion amount: how far the picture moves from frame to frame.

Mean |f| over pixels of the forward flow, as a share of the frame's diagonal, averaged over pairs.
.001 is a slow drift, .01 a fast pan at 24 frames a second. It is no measure of quality: it keeps
a clip that hardly moves from winning on stillness. Range 0..; 0 where nothing moves. Source: our
own, over the flow of `qc.flow`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from qc.flow import Pair
from qc.frame import lengths

VERSION = "1"


def check(pair: Pair) -> bool:
    """Whether the flow is finite."""
    return bool(np.isfinite(pair.flow).all())


def compute(pair: Pair) -> float:
    """Mean length of the flow as a share of the diagonal, 0..1."""
    across, down = cv2.split(pair.flow)
    length = lengths(np.asarray(across, np.float32), np.asarray(down, np.float32))
    return float(np.mean(length, dtype=np.float64)) / math.hypot(*pair.flow.shape[:2])


def reduce(values: Sequence[float]) -> dict[str, float]:
    """`motion` of a clip."""
    return {"motion": float(np.mean(values))} if values else {}
