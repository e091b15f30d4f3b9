"""Identity as eyes see it: LPIPS of parts of the picture against the same parts of the source.

The picture is cut into tiles of 4 x 4 tracked points (every 2 points one), 40 x 40 pixels each. A
tile of the source is held against what the flow says is the same tile in the last frame, warped
back onto it. Tiles without texture, tiles that lost a point, and tiles that straddle things of
different motion are left out. The value is the 95th percentile of the tiles less their median
(codec and focus change all; a face that becomes another one changes a few). `identity_lpips` 0..,
on the scale of its backbone: no limit of ours uses it; `qc.likeness` has the metric with a limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from qc import threads
from qc.frame import Frame, Image
from qc.tracking import COLUMNS, ROWS, Points, Tracker

if TYPE_CHECKING:
    from qc.lpips import LpipsBackbone

VERSION = "2"
_SHORTEST = 9
"""Frames."""
_SPAN, _STRIDE = 4, 2
_LONG_SIDE = 416
_TILE = 40
_SIGMA = 1.5
_FLAT = 5.0
"""Levels: tiles with less contrast have no identity to lose."""
_BENT = 0.15
"""Share of the tile by which points may leave the tile's own affine motion."""
_WORST = 95
"""Percentile."""
_LEAST_TILES = 8
_AT_ONCE = 48
"""Tiles that one thread holds against each other in one go."""
_cv: Any = cv2

Tiles = npt.NDArray[np.uint8]
"""(n, 40, 40, 3): tiles of a frame, RGB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """A frame that may be the last one."""

    rgb: Image
    points: Points
    alive: npt.NDArray[np.bool_]


class Identity:
    """Holds the source's tiles and the latest frame."""

    def __init__(self, first: Image, tracker: Tracker, *, lpips: LpipsBackbone) -> None:
        """`first`: (h, w, 3) the source at analysis size (frame 0 where there is none)."""
        self._lpips = lpips
        self._start = tracker.start
        self._first = _cut(first, tracker.start)
        self._textured = np.array([_luma(tile).std() > _FLAT for tile in self._first])
        self._last: _Look | None = None
        self._count = 0

    def add(self, frame: Frame, tracker: Tracker) -> None:
        """Take the next frame and where its points are."""
        self._last = _Look(rgb=frame.rgb, points=tracker.now, alive=tracker.alive.copy())
        self._count += 1

    def reduce(self) -> dict[str, float]:
        """`identity_lpips`; nothing under nine frames, or where tracking was lost."""
        if self._last is None or self._count < _SHORTEST:
            return {}
        used = self._textured & whole(self._start, self._last.points, self._last.alive)
        if not check(used):
            return {}
        now = _cut(self._last.rgb, self._last.points)[used]
        return {"identity_lpips": compute(self._distances(self._first[used], now))}

    def _distances(self, then: Tiles, now: Tiles) -> list[float]:
        """LPIPS of each two tiles, on the threads that measure: nothing else is left for them."""
        parts = [
            threads.submit(self._lpips.distances, True, then[some], now[some])
            for some in (slice(at, at + _AT_ONCE) for at in range(0, len(then), _AT_ONCE))
        ]
        return [value for part in parts for value in part.result()]


def check(used: npt.NDArray[np.bool_]) -> bool:
    """Whether enough tiles are left for one to stand out."""
    return int(used.sum()) >= _LEAST_TILES


def compute(values: list[float]) -> float:
    """How far the tiles that differ most stand out, from the LPIPS of each one: 95th percentile
    less the median."""
    return float(np.percentile(values, _WORST) - np.median(values))


def whole(start: Points, now: Points, alive: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which tiles kept all their points and moved as one (affine) thing."""
    before, after = _of_tiles(start), _of_tiles(now)
    off = np.linalg.norm(_NOT_AFFINE @ after, axis=2).max(axis=1)
    size = np.ptp(before, axis=1).max(axis=1)
    return _of_tiles(alive).all(axis=1) & (off <= _BENT * size)


def _not_affine() -> npt.NDArray[np.float64]:
    """What takes the affine part away from the 16 points of a tile; they begin as a grid."""
    y, x = np.mgrid[:_SPAN, :_SPAN]
    basis = np.column_stack([x.ravel(), y.ravel(), np.ones(_SPAN**2)])
    kept: npt.NDArray[np.float64] = np.eye(_SPAN**2) - basis @ np.linalg.pinv(basis)
    return kept


_NOT_AFFINE = _not_affine()


def _of_tiles(points: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The points (24, 40, ...) of each tile: (n, 16, ...)."""
    cuts = [points[row : row + _SPAN, at : at + _SPAN] for row, at in corners()]
    return np.stack(cuts).reshape(len(cuts), _SPAN**2, *points.shape[2:])


def corners() -> list[tuple[int, int]]:
    """First row and column of points of each tile."""
    rows = [*range(0, ROWS - _SPAN, _STRIDE), ROWS - _SPAN]
    columns = [*range(0, COLUMNS - _SPAN, _STRIDE), COLUMNS - _SPAN]
    return [(row, column) for row in rows for column in columns]


def _cut(rgb: Image, points: Points) -> Tiles:
    """The tiles of a frame, sampled where the points are, as they would lie in frame 0."""
    height, width = rgb.shape[:2]
    scale = min(1.0, _LONG_SIDE / max(height, width))
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        rgb = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
        points = (points + 0.5) * np.array([size[0] / width, size[1] / height], np.float32) - 0.5
    corner = _of_tiles(points).reshape(-1, _SPAN, _SPAN, 2).astype(np.float32)
    at = np.einsum("ir,nrcd,jc->nijd", _FINER, corner, _FINER, optimize=True)
    where = at.reshape(-1, _TILE, 2).astype(np.float32)
    tiles = _cv.remap(rgb, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(tiles, np.uint8).reshape(-1, _TILE, _TILE, 3)


def _finer() -> npt.NDArray[np.float32]:
    """(40, 4): what makes 40 points of 4 in between, in steps of 1/32 as OpenCV takes them."""
    steps = np.rint(np.linspace(0, _SPAN - 1, _TILE) * 32) / 32
    return np.maximum(0, 1 - np.abs(steps[:, None] - np.arange(_SPAN))).astype(np.float32)


_FINER = _finer()


def _luma(tile: Image) -> Image:
    grey = cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), _SIGMA), np.uint8)
