"""Flicker: brightness that jumps from frame to frame where nothing moved.

r_t is the next frame, brought back by flow, minus this one (luma levels); s_t = mean r_t over
what is visible in both. If every frame had its own brightness error of standard deviation e,
s_t would be a difference of two errors and its difference s_{t+1} - s_t would have variance
6 e^2, hence

    flicker = sqrt(mean((s_{t+1} - s_t)^2) / 6) / max(Y, 64)

with Y the clip's mean luma: the brightness error as a share of the picture's brightness. A steady
fade has constant s_t and does not count. The floor of 64 keeps dark clips from false alarms.
Local flicker is the same in each tile of a 6 x 10 grid (fewer where tiles would be under 32 px:
boiling averages out in a tile, flicker does not), the median over tiles: patches whose errors
cancel in the whole picture. Range 0..1; 0 on a still.
Source: the project's defect bench (AUC .99 global, 1.00 local; plain frame differences .48-.60).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from qc.flow import Pair
from qc.frame import cell_means

VERSION = "1"
FLOOR = 64.0
"""Luma: darker clips are measured as if they were this bright."""
ROWS, COLUMNS = 6, 10
_TILE = 32
_LEAST_SEEN = 0.1

Tiles = npt.NDArray[np.float32]
"""(60,) or fewer: mean residual per tile; NaN where less than a tenth of the tile is visible."""


def check(pairs: Sequence[object]) -> bool:
    """Whether there are enough pairs (two) for a difference of differences."""
    return len(pairs) >= 2


def compute(pair: Pair) -> tuple[float, Tiles]:
    """s_t of the whole picture and of each tile, luma levels (signed)."""
    height, width = pair.residual.shape
    rows, columns = max(1, min(ROWS, height // _TILE)), max(1, min(COLUMNS, width // _TILE))
    share = cell_means(pair.visible.astype(np.float32), rows=rows, columns=columns)
    total = cell_means(pair.residual, rows=rows, columns=columns)
    seen = np.count_nonzero(pair.visible) / pair.visible.size
    whole = float(pair.residual.mean(dtype=np.float64)) / seen if seen > 0 else 0.0
    tiles = np.where(share >= _LEAST_SEEN, total / np.maximum(share, _LEAST_SEEN), np.nan)
    return whole, tiles.astype(np.float32).ravel()


def reduce(values: Sequence[tuple[float, Tiles]], *, brightness: float) -> dict[str, float]:
    """`flicker` and `flicker_local` of a clip whose mean luma is `brightness` (0..255)."""
    if not check(values):
        return {}
    floor = max(brightness, FLOOR)
    result = {"flicker": _error([whole for whole, _ in values]) / floor}
    steps = np.diff(np.stack([tiles for _, tiles in values]), axis=0)
    known = np.isfinite(steps)
    counted = known.sum(axis=0)
    squares = np.where(known, steps, 0).astype(np.float64) ** 2
    tiles = counted > 0
    if tiles.any():
        errors = np.sqrt(squares.sum(axis=0)[tiles] / counted[tiles] / 6)
        result["flicker_local"] = float(np.median(errors)) / floor
    return result


def _error(series: Sequence[float]) -> float:
    return float(np.sqrt(np.mean(np.diff(series) ** 2) / 6))
