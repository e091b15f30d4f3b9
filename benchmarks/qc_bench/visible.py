"""Whether a spoilt clip is spoilt: what eyes would see of it, told without any metric of `qc/`.

A grey picture cannot be oversaturated, a plain sky cannot sway and a plain thing cannot turn into
another one. Such a clip is not labelled defective. The rules are fixed by just noticeable
differences, not by any score.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from skimage.color import deltaE_ciede2000, rgb2lab

from benchmarks.qc_bench.scenes import Clip, Film

NOTICEABLE = 2.3
"""CIEDE2000: a difference that is just seen."""
_SHARE = 0.1
"""Of the picture."""
_EVERY = 8
_OBJECT = 0.03
_OF_OBJECT = 0.5
_DETAIL = 0.01
"""Of the width: what is finer is grain, not the look of a thing."""
_PLAIN = 8.0

Mask = npt.NDArray[np.bool_]
"""(H, W)."""


def always(film: Film, spoilt: Clip) -> bool:
    """For defects that show on any scene."""
    return True


def over_the_picture(film: Film, spoilt: Clip) -> bool:
    """In one of every eighth frame a tenth of the picture is off by more than 2.3 (CIEDE2000)."""
    return any(
        float((_apart(film.clip[at], spoilt[at]) > NOTICEABLE).mean()) >= _SHARE
        for at in range(0, len(spoilt), _EVERY)
    )


def in_the_object(film: Film, spoilt: Clip) -> bool:
    """The object is there from the first frame to the last, is not plain, and half of it is off by
    more than 2.3 (CIEDE2000) in the last frame, both smoothed over a hundredth of the width.

    There: its inside fills 3 % of the picture in every eighth frame. Not plain: the luma inside,
    less what is smooth over a quarter of the object, varies by 8 levels in the first frame.
    """
    last = len(spoilt) - 1
    insides = [_inside(film, at) for at in (*range(0, last, _EVERY), last)]
    if min(float(inside.mean()) for inside in insides) < _OBJECT:
        return False
    if contrast(film.clip[0], insides[0]) < _PLAIN:
        return False
    sigma = _DETAIL * spoilt.shape[2]
    then, now = (cv2.GaussianBlur(clip[last], (0, 0), sigma) for clip in (film.clip, spoilt))
    changed = _apart(np.asarray(then, np.uint8), np.asarray(now, np.uint8)) > NOTICEABLE
    return float(changed[insides[-1]].mean()) >= _OF_OBJECT


def contrast(picture: npt.NDArray[np.uint8], inside: Mask) -> float:
    """Standard deviation of luma inside, less what is smooth over a quarter of the place."""
    luma = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.float32)
    weight = inside.astype(np.float32)
    sigma = 0.25 * float(weight.sum()) ** 0.5
    share = cv2.GaussianBlur(weight, (0, 0), sigma)
    smooth = cv2.GaussianBlur(luma * weight, (0, 0), sigma) / np.maximum(share, 1e-3)
    return float((luma - smooth)[inside].std())


def _inside(film: Film, at: int) -> Mask:
    """The object less its edge."""
    whole = (film.masks[at] > 0.9).astype(np.uint8)
    return np.asarray(cv2.erode(whole, np.ones((5, 5), np.uint8), borderValue=0), bool)


def _apart(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """CIEDE2000 of each pixel (H, W)."""
    return np.asarray(deltaE_ciede2000(rgb2lab(first), rgb2lab(second)), np.float64)
