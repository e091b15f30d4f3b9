"""Dropped frames: one step is as long as two or more of the steps around it.

With f_t the flow of pair t on a 12 x 20 grid (all of it: a long step may be hard to follow) and
p_t the median, place by place, of the two pairs before and the two after it,

    along_t = <f_t, p_t> / (<p_t, p_t> + v_t + .01),    v_t = mean |f_j - p_t|^2 over those four

(means over the grid, pixels squared at a width of 256). In even motion this is 1, and 2 where one
frame is missing; v_t is how far the steps around disagree, so that a shaking camera, whose steps
cannot foretell each other, has steps below 1. So has a hand-held one that turns back just there,
and what it jumps over is told by length alone: with l_t the median length of f_t over the grid,

    long_t = l_t / (largest l of the four pairs before and the four after it + .1) / 1.25

1.25 being as far as the steps of a shaking camera outgrow each other. Beside a repeated frame (a
step that is under .3 of p_t, or of the usual length, within two pairs) the long step is the
repeat's other half and is not counted. The clip's value is the largest of both over its pairs.
Range 0..; two pairs are wanted on each side. Figures: benchmarks/qc_bench.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from qc.flow import Pair
from qc.frame import cell_means
from qc.median import median

VERSION = "2"
REACH = 2
"""Pairs to each side."""
FAR = 4
"""Pairs to each side whose lengths are compared."""
ROWS, COLUMNS = 12, 20
_WIDTH = 256
_CALM = 0.01
_STILL = 0.1
_SHAKES = 1.25
_REPEATED = 0.3

Grid = npt.NDArray[np.float32]
"""(12, 20, 2): x and y, pixels at a width of 256."""


def grid(pair: Pair) -> Grid:
    """Mean flow of each cell."""
    cells = cell_means(pair.flow, rows=ROWS, columns=COLUMNS)
    return cells * np.float32(_WIDTH / pair.flow.shape[1])


def check(window: list[Grid]) -> bool:
    """Whether the window is whole."""
    return len(window) == 2 * REACH + 1


def compute(window: list[Grid]) -> float:
    """along_t of the pair in the middle of five grids (12, 20, 2)."""
    if not check(window):
        return 0.0
    around = np.stack(window[:REACH] + window[REACH + 1 :])
    usual = np.median(around, axis=0)
    power = float(_inner(usual, usual))
    if _inner(around, usual).min() < _REPEATED * power:
        return 0.0
    spread = float(_inner(around - usual, around - usual).mean())
    return float(_inner(window[REACH], usual)) / (power + spread + _CALM)


def longest(lengths: Sequence[float]) -> float:
    """The largest long_t of a clip's pairs, from the length of each; 0 under five pairs."""
    values = [0.0]
    for at in range(REACH, len(lengths) - REACH):
        around = [*lengths[max(0, at - FAR) : at], *lengths[at + 1 : at + FAR + 1]]
        near = lengths[at - REACH : at + REACH + 1]
        if min(near) >= _REPEATED * median(np.array(around)):
            values.append(lengths[at] / (max(around) + _STILL) / _SHAKES)
    return max(values)


class Steps:
    """Carries the flow of the last five pairs, and the length of every step."""

    def __init__(self) -> None:
        self._window: deque[Grid] = deque(maxlen=2 * REACH + 1)
        self._values: list[float] = []
        self._lengths: list[float] = []

    def add(self, pair: Pair) -> None:
        """Take the next pair."""
        cells = grid(pair)
        self._window.append(cells)
        self._lengths.append(float(median(np.hypot(cells[..., 0], cells[..., 1]).ravel())))
        if len(self._window) == 2 * REACH + 1:
            self._values.append(compute(list(self._window)))

    def reduce(self) -> dict[str, float]:
        """`dropped` of the clip; nothing for a clip under six frames."""
        if not self._values:
            return {}
        return {"dropped": max(*self._values, longest(self._lengths))}


def _inner(first: Grid, second: Grid) -> npt.NDArray[np.float64]:
    """Of two grids (..., 12, 20, 2), or several: (...)."""
    return np.asarray((first * second).sum(axis=-1).mean(axis=(-2, -1)), np.float64)
