"""Background wobble: the ground sways like jelly under a camera that does not.

Per pair the flow on a 12 x 20 grid, less its best affine motion (least squares, three rounds in
which points off by more than three medians are left out): what the camera's move does not explain,
e_t. Steady parallax has a steady e_t, so the second difference in time is taken:

    wobble = mean over t of (median over the grid of |e_{t-1} - 2 e_t + e_{t+1}|) / (mean |f| + 2)

in pixels of the tracking size, f being the flow of the three pairs. The median leaves objects with
a motion of their own out, as long as they cover less than half. Cells in which flow has nothing to
hold on to both ways (least eigenvalue of the structure tensor, as a gradient, under 3 levels a
pixel) are left out: on plain ground flow sways by itself. Range 0..; clean clips stay under .08.
Source of the formula, here with other constants and the texture test: the project's reference on
judging clips (AUC .97). Figures of this implementation: benchmarks/qc_bench.
"""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np
import numpy.typing as npt

from qc.flow import Pair
from qc.frame import Plane

VERSION = "1"
ROWS, COLUMNS = 12, 20
_ROUNDS = 3
_OUTLIER = 3.0
_CALM = 2.0
_TEXTURE = 3.0
_LEAST_SEEN = 0.3
_LEAST_POINTS = 24

Grid = npt.NDArray[np.float32]
"""(12, 20, 2): x and y, pixels of the tracking size; NaN where too little is seen or held on to."""


def grid(pair: Pair) -> Grid:
    """Mean flow of each cell over what is seen of it, where it has texture."""
    seen = pair.seen.astype(np.float32)
    share = cv2.resize(seen, (COLUMNS, ROWS), interpolation=cv2.INTER_AREA)[..., None]
    total = cv2.resize(pair.flow * seen[..., None], (COLUMNS, ROWS), interpolation=cv2.INTER_AREA)
    known = (share >= _LEAST_SEEN) & (texture(pair)[..., None] >= _TEXTURE)
    return np.where(known, total / np.maximum(share, _LEAST_SEEN), np.float32(np.nan))


def texture(pair: Pair) -> Plane:
    """(12, 20): the gradient of each cell in its weaker direction, levels a pixel."""
    luma = pair.before.track
    across = cv2.Sobel(luma, cv2.CV_32F, 1, 0, scale=1 / 8)
    down = cv2.Sobel(luma, cv2.CV_32F, 0, 1, scale=1 / 8)
    products = np.dstack([across * across, down * down, across * down])
    xx, yy, xy = np.moveaxis(
        cv2.resize(products, (COLUMNS, ROWS), interpolation=cv2.INTER_AREA), 2, 0
    )
    least = (xx + yy) / 2 - np.sqrt(((xx - yy) / 2) ** 2 + xy * xy)
    return np.sqrt(np.maximum(least, 0))


def check(cells: Grid) -> bool:
    """Whether enough cells are seen for an affine motion to mean anything."""
    return int(np.isfinite(cells[..., 0]).sum()) >= _LEAST_POINTS


def compute(cells: Grid) -> Grid:
    """The flow of the cells less its robust affine part: (12, 20, 2), NaN where unknown."""
    rows, columns = np.mgrid[-1 : 1 : ROWS * 1j, -1 : 1 : COLUMNS * 1j]
    basis = np.stack([np.ones_like(rows), rows, columns], axis=2).reshape(-1, 3)
    flat = cells.reshape(-1, 2).astype(np.float64)
    used = np.isfinite(flat[:, 0])
    rest = flat
    for _ in range(_ROUNDS):
        if used.sum() < _LEAST_POINTS:
            break
        rest = flat - basis @ np.linalg.lstsq(basis[used], flat[used], rcond=None)[0]
        length = np.hypot(rest[:, 0], rest[:, 1])
        used = length <= _OUTLIER * float(np.nanmedian(length)) + 1e-6
    return rest.reshape(cells.shape).astype(np.float32)


class Wobble:
    """Carries what the last three pairs had beside the camera's motion."""

    def __init__(self) -> None:
        self._rests: deque[tuple[Grid, float]] = deque(maxlen=3)
        self._values: list[float] = []

    def add(self, pair: Pair) -> None:
        """Take the next pair."""
        cells = grid(pair)
        if not check(cells):
            self._rests.clear()
            return
        length = float(np.nanmean(np.hypot(cells[..., 0], cells[..., 1])))
        self._rests.append((compute(cells), length))
        if len(self._rests) == 3:
            (a, la), (b, lb), (c, lc) = self._rests
            sway = np.hypot(*np.moveaxis(a - 2 * b + c, 2, 0))
            if np.isfinite(sway).sum() >= _LEAST_POINTS:
                self._values.append(float(np.nanmedian(sway)) / ((la + lb + lc) / 3 + _CALM))

    def reduce(self) -> dict[str, float]:
        """`wobble` of the clip; nothing where three pairs in a row were never followed."""
        return {"wobble": float(np.mean(self._values))} if self._values else {}
