"""Black frames, and frames that go dark or flash and come back.

* `black`: share of frames whose brightest luma is at most 20. 0..1.
* `luma_dip`: max over frames of 1 - Y_t / min(median Y before, median Y after), the medians over
  up to 12 frames to each side. A dip has to come back: a slow pan into the dark, or a cut to a
  darker place, is none. 0..1.
* `luma_flash`: the same upwards: 1 - max(median before, median after) / Y_t.
Y_t is the frame's mean luma, 0..255. Source: the project's defect bench (AUC 1.00), there with
the median of the whole clip; one-sided medians keep a change of scene from looking like a dip.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qc.frame import Frame
from qc.median import median

VERSION = "1"
PEAK = 20.0
"""Luma: a frame with nothing brighter is black."""
_REACH = 12
_DARKEST = 1.0


def check(values: Sequence[object]) -> bool:
    """Whether there are frames at all."""
    return len(values) > 0


def compute(frame: Frame) -> tuple[float, float]:
    """(mean, peak) luma of the frame, 0..255."""
    return frame.mean, frame.peak


def reduce(values: Sequence[tuple[float, float]]) -> dict[str, float]:
    """`black`, `luma_dip` and `luma_flash` of a clip."""
    if not check(values):
        return {}
    means = np.maximum([mean for mean, _ in values], _DARKEST)
    result = {"black": float(np.mean([peak <= PEAK for _, peak in values]))}
    dips, flashes = [0.0], [0.0]
    for at in range(1, len(means) - 1):
        before = float(median(means[max(0, at - _REACH) : at]))
        after = float(median(means[at + 1 : at + 1 + _REACH]))
        dips.append(1 - means[at] / min(before, after))
        flashes.append(1 - max(before, after) / means[at])
    return {**result, "luma_dip": float(max(dips)), "luma_flash": float(max(flashes))}
