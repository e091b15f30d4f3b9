"""Identity drift: a part of the picture turns into something else while the rest holds.

The picture is cut into tiles of 4 x 4 tracked points (every 2 points one), 40 x 40 pixels each. A
tile of the source is held against what the flow says is the same tile now, warped back onto it:
* structure: 1 - the best normalised correlation, both smoothed with sigma 1.5 (grain and codec are
  no change), within a shift of 3 pixels (flow that is off by a little is none either);
* LPIPS of the same tiles, where there is a backbone; at the last frame only.
Tiles without texture, tiles that lost a point, and tiles that straddle things of different motion
are left out. Per looked-at frame the value is the 95th percentile of the tiles less their median
(codec and focus change all tiles; a face that becomes another one changes a few); the clip's is the
mean of the last two looked-at frames. Every eighth frame is looked at, and the last.
`identity_drift` 0..2; `identity_lpips` 0.., on the scale of its backbone: no limit of ours uses it.
Weak (AUC .8 to .95, benchmarks/qc_bench): where something passes in front, flow carries points from
one thing to the other, and a thing that changed strongly is lost to tracking, and so not measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from qc.frame import Frame, Image
from qc.tracking import COLUMNS, ROWS, Points, Tracker

if TYPE_CHECKING:
    from qc.lpips import LpipsBackbone

VERSION = "1"
EVERY = 8
"""Frames from one that is looked at to the next."""
_SPAN, _STRIDE = 4, 2
_LONG_SIDE = 416
_TILE = 40
_SHIFT = 3
_SIGMA = 1.5
_FLAT = 5.0
"""Levels: tiles with less contrast have no identity to lose."""
_BENT = 0.15
"""Share of the tile by which points may leave the tile's own affine motion."""
_WORST = 95
"""Percentile."""
_LEAST_TILES = 8
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
    """Holds the source's tiles and looks at every eighth frame."""

    def __init__(self, first: Image, tracker: Tracker, *, lpips: LpipsBackbone | None) -> None:
        """`first`: (h, w, 3) the source at analysis size (frame 0 where there is none)."""
        self._lpips = lpips
        self._start = tracker.start
        self._first = _cut(first, tracker.start)
        self._first_luma = [_luma(tile) for tile in self._first]
        self._textured = np.array([luma.std() > _FLAT for luma in self._first_luma])
        self._last: _Look | None = None
        self._count = 0
        self._looked = 0
        self._structure: list[float] = []

    def add(self, frame: Frame, tracker: Tracker) -> None:
        """Take the next frame and where its points are."""
        self._last = _Look(rgb=frame.rgb, points=tracker.now, alive=tracker.alive.copy())
        if self._count and self._count % EVERY == 0:
            self._looked = self._count
            self._structure += self._look(self._last)
        self._count += 1

    def reduce(self) -> dict[str, float]:
        """`identity_drift`, with a backbone `identity_lpips`; nothing where tracking was lost."""
        if self._last is None or self._count <= EVERY:
            return {}
        structure = list(self._structure)
        if self._looked < self._count - 1:
            structure += self._look(self._last)
        result = {"identity_drift": float(np.mean(structure[-2:]))} if structure else {}
        used = self._used(self._last)
        if self._lpips is not None and check(used):
            now = _cut(self._last.rgb, self._last.points)[used]
            result["identity_lpips"] = stands_out(self._lpips.distances(self._first[used], now))
        return result

    def _used(self, look: _Look) -> npt.NDArray[np.bool_]:
        return self._textured & whole(self._start, look.points, look.alive)

    def _look(self, look: _Look) -> list[float]:
        """The value of one frame, or nothing where too few tiles are left."""
        used = self._used(look)
        if not check(used):
            return []
        now = _cut(look.rgb, look.points)
        at = np.flatnonzero(used)
        return [stands_out([compute(self._first_luma[i], _luma(now[i])) for i in at])]


def check(used: npt.NDArray[np.bool_]) -> bool:
    """Whether enough tiles are left for one to stand out."""
    return int(used.sum()) >= _LEAST_TILES


def compute(before: Image, after: Image) -> float:
    """1 - the best normalised correlation of two luma tiles (40, 40) within 3 pixels, 0..2."""
    core = after[_SHIFT:-_SHIFT, _SHIFT:-_SHIFT]
    if core.std() < 1:
        return 1.0
    return 1.0 - float(cv2.matchTemplate(before, core, cv2.TM_CCOEFF_NORMED).max())


def stands_out(values: list[float]) -> float:
    """95th percentile less the median."""
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
