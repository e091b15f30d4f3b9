"""Optical flow between two frames, both ways, and the second frame brought back onto the first.

Flow: DIS, medium preset (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV
2016), as OpenCV has it. Occlusion: forward and backward flow must agree, |f + b|^2 <=
0.01 (|f|^2 + |b|^2) + 0.5 with f, b in pixels (Lai et al., "Learning Blind Video Temporal
Consistency", ECCV 2018). Plain frame differences measure motion; what is left after
compensation is flicker, boiling and collapse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from qc.frame import Frame, Plane

VERSION = "1"

# NOTE: OpenCV's type stubs lack DIS and refuse dst=None, which it documents.
_cv: Any = cv2

Field = npt.NDArray[np.float32]
"""(h, w, 2): x and y displacement, pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two consecutive frames with their motion taken out."""

    before: Frame
    after: Frame
    flow: Field
    """(h, w, 2) from `before` to `after`, at tracking size, in pixels of that size."""
    step: float
    """Pixels of the analysis frame per pixel of the tracking size (1 or 2)."""
    seen: npt.NDArray[np.bool_]
    """(h, w) at tracking size: where flow and back-flow agree and stay inside the picture."""
    residual: Plane
    """(H, W): `after` warped onto `before`, minus `before`; luma levels. 0 where not `visible`."""
    visible: npt.NDArray[np.bool_]
    """(H, W): `seen` at analysis size."""

    @property
    def lost(self) -> float:
        """Share of pixels that cannot be tracked, 0..1."""
        return 1.0 - float(self.seen.mean())


class FlowEstimator:
    """Keeps a DIS object and a grid for each size of frame."""

    def __init__(self) -> None:
        self._dis: dict[tuple[int, ...], Any] = {}
        self._grids: dict[tuple[int, int], Field] = {}

    def check(self, before: Frame, after: Frame) -> None:
        """Raise ValueError unless both frames have one size that can be tracked."""
        if before.rgb.shape != after.rgb.shape:
            raise ValueError(f"frames of {before.rgb.shape} and {after.rgb.shape}: one size only")
        if not before.trackable:
            raise ValueError(f"frames of {before.rgb.shape} are too small to track")

    def compute(self, before: Frame, after: Frame) -> Pair:
        """Flow of the pair both ways, its occlusions and the compensated difference."""
        self.check(before, after)
        dis = self._dis_for(before.track.shape)
        forward: Field = dis.calc(before.track, after.track, None)
        backward: Field = dis.calc(after.track, before.track, None)
        grid = self.grid(before.track.shape)
        target = grid + forward
        seen = _agree(forward, sample(backward, target)) & inside(target, before.track.shape)
        height, width = before.plane.shape
        step = height / before.track.shape[0]
        full = forward if step == 1 else _enlarged(forward, width, height)
        warped = sample(after.plane, _cv.scaleAdd(full, step, self.grid((height, width))))
        visible = seen
        if step != 1:
            visible = cv2.resize(
                seen.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST
            ).astype(bool)
        return Pair(
            before=before,
            after=after,
            flow=forward,
            step=step,
            seen=seen,
            residual=np.where(visible, warped - before.plane, np.float32(0)),
            visible=visible,
        )

    def _dis_for(self, shape: tuple[int, ...]) -> Any:
        # NOTE: one that met a frame too small for its scales chooses others, and keeps to them.
        if shape not in self._dis:
            preset = _cv.DISOPTICAL_FLOW_PRESET_MEDIUM
            self._dis[shape] = _cv.DISOpticalFlow_create(preset)
        return self._dis[shape]

    def grid(self, shape: tuple[int, ...]) -> Field:
        """(h, w, 2) x and y of every pixel; computed once per size."""
        key = (shape[0], shape[1])
        if key not in self._grids:
            rows, columns = np.mgrid[: key[0], : key[1]].astype(np.float32)
            self._grids[key] = np.dstack([columns, rows])
        return self._grids[key]


def _agree(forward: Field, backward: Field) -> npt.NDArray[np.bool_]:
    length = _square(forward) + _square(backward)
    return _square(forward + backward) <= 0.01 * length + 0.5


def _square(field: Field) -> Plane:
    """Length of each vector, squared. NOTE: numpy sums over an axis of two ten times slower."""
    squares = field * field
    return squares[..., 0] + squares[..., 1]


def _enlarged(field: Field, width: int, height: int) -> Field:
    return np.asarray(_cv.resize(field, (width, height)), np.float32)


def sample(image: npt.NDArray[Any], at: Field, *, nearest: bool = False) -> npt.NDArray[np.float32]:
    """`image` (h, w) or (h, w, C) at the points `at` (r, c, 2) as x, y: (r, c) or (r, c, C).

    Bilinear, or the nearest pixel; outside the picture its edge goes on.
    """
    how = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    values = _cv.remap(image, at, None, how, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(values, np.float32)


def inside(points: Field, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Which `points` (..., 2) as x, y lie in a picture of `shape` (h, w, ...)."""
    x, y = points[..., 0], points[..., 1]
    return (x >= 0) & (y >= 0) & (x <= shape[1] - 1) & (y <= shape[0] - 1)
