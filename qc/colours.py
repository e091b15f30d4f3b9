"""Colours of tracked points, and the exposure that two moments of a scene differ by.

A fade is no change of colour: before colours are compared, the earlier ones are brought to the
later exposure by one gain for all three channels. The gain is found in the coded values, where a
fade in linear light is (nearly) a gain too.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from qc.flow import sample
from qc.frame import Image
from qc.median import median
from qc.tracking import Points

VERSION = "1"
_COARSE = 4
_DARK = 0.02
_DARKEST = 0.2
_WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)

Colours = npt.NDArray[np.float32]
"""(24, 40, 3) RGB 0..1 at the tracked points."""


def at_points(rgb: Image, points: Points) -> Colours:
    """RGB 0..1 at `points` of `rgb` (H, W, 3) uint8, each the mean of 4 x 4 pixels."""
    height, width = rgb.shape[:2]
    small = (max(1, width // _COARSE), max(1, height // _COARSE))
    coarse = cv2.resize(rgb, small, interpolation=cv2.INTER_AREA)
    ratio = np.array([small[0] / width, small[1] / height], np.float32)
    where = ((points + 0.5) * ratio - 0.5).astype(np.float32)
    return sample(coarse.astype(np.float32) / np.float32(255), where)


def exposure(reference: Colours, now: Colours, alive: npt.NDArray[np.bool_]) -> float:
    """The gain from `reference` to `now`: median ratio of luma over the points that are `alive`."""
    before, after = reference[alive] @ _WEIGHTS, now[alive] @ _WEIGHTS
    return float(median((after + _DARK) / (before + _DARK))) if len(before) else 1.0


def matched(
    reference: Colours, now: Colours, alive: npt.NDArray[np.bool_]
) -> tuple[Colours, Colours] | None:
    """Lab (n, 3) of the points that are `alive`, then and now, at one exposure.

    None where the picture is so dark (under a fifth of the reference) that colours cannot be told.
    """
    gain = exposure(reference, now, alive)
    if not alive.any() or gain < _DARKEST:
        return None
    brought = np.clip(reference[alive] * np.float32(gain), 0, 1)
    return lab(brought), lab(now[alive])


def lab(rgb: Colours) -> Colours:
    """CIE Lab (D65) of colours (n, 3): L 0..100, a and b about -128..127."""
    return np.asarray(cv2.cvtColor(rgb[None], cv2.COLOR_RGB2LAB)[0], np.float32)


def weighted_median(values: Colours, weights: Colours) -> float:
    """The value (n,) at which half of the weights (n,), none negative, is passed."""
    order = np.argsort(values)
    passed = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(passed, passed[-1] / 2)])
