"""Boiling: texture that crawls although its surface does not move.

Per pair, mean |r'| / (mean |grad| + 1): what is left after motion and brightness compensation,
against how much texture there is (Sobel / 8, so that a ramp of one level a pixel has gradient 1).
r' is the residual r of `qc.flow` less its best straight line over the luma, r - (a x + b): a
change of exposure is flicker and no boiling. The clip's value is the mean over pairs.
Range 0..; a clean encoded clip is near .17, grain on flat ground higher.
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
    """(mean |r'| in luma levels, boiling ratio) of one pair."""
    if not check(pair):
        return 0.0, 0.0
    left = residual(pair)
    return left, left / (texture(pair) + 1.0)


def residual(pair: Pair) -> float:
    """Mean |r'| over what is visible in both, luma levels."""
    luma, rest = pair.before.plane[pair.visible], pair.residual[pair.visible]
    centred = luma - luma.mean()
    spread = float(centred @ centred)
    slope = float(centred @ rest) / spread if spread > 0 else 0.0
    return float(np.abs(rest - np.float32(slope) * centred - rest.mean()).mean())


def texture(pair: Pair) -> float:
    """Mean gradient of the first frame, luma levels a pixel."""
    luma = pair.before.luma
    across = cv2.Sobel(luma, cv2.CV_32F, 1, 0, scale=1 / 8)
    down = cv2.Sobel(luma, cv2.CV_32F, 0, 1, scale=1 / 8)
    return float(cv2.mean(cv2.magnitude(across, down))[0])


def reduce(values: Sequence[tuple[float, float]]) -> dict[str, float]:
    """`boiling` of a clip."""
    return {"boiling": float(np.mean([ratio for _, ratio in values]))} if values else {}
