"""Boiling: texture that crawls although its surface does not move.

Per pair, mean |r| / (mean |grad| + 1): what is left after motion compensation, against how much
texture there is (Sobel / 8, so that a ramp of one level a pixel has gradient 1). The clip's value
is the mean over pairs. Range 0..; a clean encoded clip is near .17, grain on flat ground higher.
Source: the project's defect bench (AUC .96).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from qc.flow import Pair

VERSION = "1"


def check(pair: Pair) -> bool:
    """Whether anything in the pair can be compared."""
    return bool(pair.visible.any())


def compute(pair: Pair) -> tuple[float, float]:
    """(mean |r| in luma levels, boiling ratio) of one pair, over what is visible in both."""
    if not check(pair):
        return 0.0, 0.0
    seen = float(pair.visible.mean())
    left = cv2.norm(pair.residual, cv2.NORM_L1) / pair.residual.size / seen
    return left, left / (texture(pair) + 1.0)


def texture(pair: Pair) -> float:
    """Mean gradient of the first frame, luma levels a pixel."""
    luma = pair.before.luma
    across = cv2.Sobel(luma, cv2.CV_32F, 1, 0, scale=1 / 8)
    down = cv2.Sobel(luma, cv2.CV_32F, 0, 1, scale=1 / 8)
    return float(cv2.mean(cv2.magnitude(across, down))[0])


def reduce(values: Sequence[tuple[float, float]]) -> dict[str, float]:
    """`boiling` of a clip."""
    return {"boiling": float(np.mean([ratio for _, ratio in values]))} if values else {}
