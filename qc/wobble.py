"""Background wobble: the ground sways like jelly under a camera that does not.

Per pair the flow on a 12 x 20 grid, in pixels at a width of 256, less its best affine motion (least
squares, rounds in which cells off by more than three medians are left out): what the camera's move
does not explain, e_t. Steady parallax has a steady e_t, so the second difference in time is taken;
flow errs cell by cell and jelly does not, so it is smoothed over the grid (sigma .8 cells):

    wobble = mean over t of median over the grid of |smooth(e_{t-1} - 2 e_t + e_{t+1})|
             / (mean |f| + 4)

f being the flow of the three pairs. The median leaves objects with a motion of their own out, as
long as they cover less than half. Left out are cells in which flow has nothing to hold on to both
ways (gradient of the weaker direction, less what noise adds to it, under .7 levels a pixel; noise
is told from the residual where it is least), and pairs between which the camera jerks by more than
1.5 pixels and three times the sway: flow errs there, and nobody sees jelly. Absent where less than
a quarter of the grid is left, or less than a quarter of the clip's triples of pairs: a few cells in
the dark, or the one triple of a shaken clip that happens not to jerk, tell of flow's errors. Range
0..; nearly all clean clips stay under .065. Source of the idea, here with other
constants: the project's reference on judging clips. Figures of this implementation:
benchmarks/qc_bench.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from qc.flow import Pair
from qc.frame import Plane, cell_means, masked
from qc.median import median

VERSION = "4"
ROWS, COLUMNS = 12, 20
_WIDTH = 256
_ROUNDS = 5
_OUTLIER = 3.0
_CALM = 4.0
_TEXTURE = 0.7
_QUIET = 0.25
"""Quantile of the cells' residuals that is taken for noise."""
_SMOOTH = 0.8
_KNOWN = 0.2
_JERK, _JERKS = 1.5, 3.0
_LEAST_SEEN = 0.3
_LEAST_CELLS = 60
"""A quarter of the grid."""
_LEAST_TRIPLES = 0.25
"""Of all of the clip's."""

Grid = npt.NDArray[np.float32]
"""(12, 20, 2): x and y, pixels at a width of 256; NaN where too little is seen or held on to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """What a pair has beside its camera's motion."""

    rest: Grid
    length: float
    """Mean |f|."""
    pan: npt.NDArray[np.float32]
    """(2,) median f."""


def grid(pair: Pair) -> Grid:
    """Mean flow of each cell over what is seen of it, where it has texture."""
    share = _cells(pair.seen.astype(np.float32))
    flow = _cells(masked(pair.flow, pair.seen))
    flow *= np.float32(_WIDTH / pair.flow.shape[1])
    left = _cells(np.abs(pair.residual)) / np.maximum(share, _KNOWN)
    held = texture(pair, noise=float(np.quantile(left, _QUIET))) >= _TEXTURE
    known = (share >= _LEAST_SEEN) & held
    mean = flow / np.maximum(share, np.float32(_LEAST_SEEN))[..., None]
    return np.where(known[..., None], mean, np.float32(np.nan))


def texture(pair: Pair, *, noise: float) -> Plane:
    """(12, 20): the gradient of each cell in its weaker direction, levels a pixel, less `noise`."""
    luma = pair.before.track
    across = cv2.Sobel(luma, cv2.CV_32F, 1, 0, scale=1 / 8)
    down = cv2.Sobel(luma, cv2.CV_32F, 0, 1, scale=1 / 8)
    xx, yy, xy = (_cells(product) for product in (across * across, down * down, across * down))
    least = (xx + yy) / 2 - np.sqrt(((xx - yy) / 2) ** 2 + xy * xy)
    return np.sqrt(np.maximum(least - noise**2, 0))


def check(cells: Grid) -> bool:
    """Whether enough cells are seen for an affine motion to mean anything."""
    return int(np.isfinite(cells[..., 0]).sum()) >= _LEAST_CELLS


def compute(cells: Grid) -> Grid:
    """The flow of the cells less its robust affine part: (12, 20, 2), NaN where unknown."""
    known = np.isfinite(cells[..., 0])
    steps, basis = cells[known].astype(np.float64), _AFFINE[known]
    rest, used = steps, np.ones(len(steps), bool)
    for _ in range(_ROUNDS):
        if used.sum() < _LEAST_CELLS:
            break
        rest = steps - basis @ np.linalg.lstsq(basis[used], steps[used], rcond=None)[0]
        length = np.hypot(rest[:, 0], rest[:, 1])
        before, used = used, length <= _OUTLIER * float(median(length)) + 1e-6
        if np.array_equal(used, before):  # all further rounds would find the same
            break
    left = np.full_like(cells, np.nan)
    left[known] = rest
    return left


def _affine() -> npt.NDArray[np.float64]:
    """(12, 20, 3): one, row and column of each cell."""
    rows, columns = np.mgrid[-1 : 1 : ROWS * 1j, -1 : 1 : COLUMNS * 1j]
    return np.stack([np.ones_like(rows), rows, columns], axis=2)


_AFFINE = _affine()


def rest_of(pair: Pair) -> Rest | None:
    """What the pair has beside its camera's motion; None where too little of it can be followed."""
    cells = grid(pair)
    if not check(cells):
        return None
    steps = cells[np.isfinite(cells[..., 0])]
    length = float(np.hypot(steps[:, 0], steps[:, 1]).mean())
    return Rest(rest=compute(cells), length=length, pan=median(steps.T))


class Wobble:
    """Carries what the last three pairs had beside the camera's motion."""

    def __init__(self) -> None:
        self._rests: deque[Rest] = deque(maxlen=3)
        self._values: list[float] = []
        self._pairs = 0

    def add(self, rest: Rest | None) -> None:
        """Take the next pair's, as `rest_of` gives it."""
        self._pairs += 1
        if rest is None:
            self._rests.clear()
            return
        self._rests.append(rest)
        value = _sway(self._rests)
        if value is not None:
            self._values.append(value)

    def reduce(self) -> dict[str, float]:
        """`wobble` of the clip; nothing where too few triples of pairs could be followed."""
        if not self._values or len(self._values) < _LEAST_TRIPLES * (self._pairs - 2):
            return {}
        return {"wobble": float(np.mean(self._values))}


def _sway(rests: deque[Rest]) -> float | None:
    """The value of three pairs; None where they cannot be held against each other."""
    if len(rests) < 3:
        return None
    first, second, third = rests
    bend = first.rest - 2 * second.rest + third.rest
    known = np.isfinite(bend[..., 0]).astype(np.float32)
    total = cv2.GaussianBlur(np.nan_to_num(bend), (0, 0), _SMOOTH, borderType=cv2.BORDER_CONSTANT)
    share = cv2.GaussianBlur(known, (0, 0), _SMOOTH, borderType=cv2.BORDER_CONSTANT)
    used = (known > 0) & (share > _KNOWN)
    if used.sum() < _LEAST_CELLS:
        return None
    mean = total[used] / share[used][:, None]
    sway = float(median(np.hypot(mean[:, 0], mean[:, 1])))
    jerk = float(np.linalg.norm(first.pan - 2 * second.pan + third.pan))
    if jerk > max(_JERK, _JERKS * sway):
        return None
    return sway / ((first.length + second.length + third.length) / 3 + _CALM)


def _cells(plane: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Mean of each cell: (12, 20) or (12, 20, C)."""
    return cell_means(plane, rows=ROWS, columns=COLUMNS)
