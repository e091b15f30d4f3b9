"""Optical flow between two frames, both ways, and the second frame brought back onto the first.

Flow: DIS, medium preset (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV
2016), as OpenCV has it. Occlusion: forward and backward flow must agree, |f + b|^2 <=
0.01 (|f|^2 + |b|^2) + 0.5 with f, b in pixels (Lai et al., "Learning Blind Video Temporal
Consistency", ECCV 2018). Backward flow only has to say whether it agrees to .7 pixels: its patches
lie farther apart and are refined less, which takes half the time. In large pictures all patches lie
farther apart, for there are enough of them: where the motion is known the flow is as right, in less
time. Plain frame differences measure motion; what is left after compensation is flicker, boiling
and collapse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from qc.frame import Frame, Plane, masked

VERSION = "3"
_LARGE = 80_000
"""Pixels at tracking size from which on a picture is large: frames of 720x480 and more."""

# NOTE: OpenCV's type stubs lack DIS and refuse dst=None, which it documents.
_cv: Any = cv2

Field = npt.NDArray[np.float32]
"""(h, w, 2): x and y displacement, pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Care:
    """How DIS goes about it; what is given here is the medium preset's."""

    apart: int = 3
    """Pixels from patch to patch."""
    steps: int = 25
    """Of each patch, at most."""
    rounds: int = 5
    """Of variational refinement, at each scale."""

    def estimator(self) -> Any:
        """A DIS object of OpenCV's."""
        dis = _cv.DISOpticalFlow_create(_cv.DISOPTICAL_FLOW_PRESET_MEDIUM)
        dis.setPatchStride(self.apart)
        dis.setGradientDescentIterations(self.steps)
        dis.setVariationalRefinementIterations(self.rounds)
        return dis


_SMALL = _Care(), _Care(apart=4, steps=12, rounds=2)
"""Forward and backward flow."""
_WIDE = _Care(apart=4, steps=12), _Care(apart=5, steps=8, rounds=2)
"""The same of large pictures."""


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
    """Keeps two DIS objects and a grid for each size of frame."""

    def __init__(self) -> None:
        self._dis: dict[tuple[int, ...], tuple[Any, Any]] = {}
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
        forth, back = self._dis_for(before.track.shape)
        forward: Field = forth.calc(before.track, after.track, None)
        backward: Field = back.calc(after.track, before.track, None)
        seen = _seen(forward, backward)
        height, width = before.plane.shape
        step = height / before.track.shape[0]
        full = forward.copy() if step == 1 else _enlarged(forward, width, height)
        # In place: it is memory that takes the time.
        target = _cv.scaleAdd(full, step, self.grid((height, width)), dst=full)
        warped = sample(after.plane, target)
        visible = seen
        if step != 1:
            whole = _cv.resize(
                seen.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST
            )
            visible = whole.view(np.bool_)
        return Pair(
            before=before,
            after=after,
            flow=forward,
            step=step,
            seen=seen,
            residual=masked(np.subtract(warped, before.plane, out=warped), visible),
            visible=visible,
        )

    def _dis_for(self, shape: tuple[int, ...]) -> tuple[Any, Any]:
        """For forward and for backward flow."""
        # NOTE: one that met a frame too small for its scales chooses others, and keeps to them.
        if shape not in self._dis:
            forth, back = _WIDE if shape[0] * shape[1] >= _LARGE else _SMALL
            self._dis[shape] = (forth.estimator(), back.estimator())
        return self._dis[shape]

    def grid(self, shape: tuple[int, ...]) -> Field:
        """(h, w, 2) x and y of every pixel; computed once per size."""
        key = (shape[0], shape[1])
        if key not in self._grids:
            rows, columns = np.mgrid[: key[0], : key[1]].astype(np.float32)
            self._grids[key] = np.dstack([columns, rows])
        return self._grids[key]


def _seen(forward: Field, backward: Field) -> npt.NDArray[np.bool_]:
    """Where both flows agree, and `forward` leads to a place inside the next frame.

    Plane by plane: on every second number numpy and OpenCV take two to ten times as long.
    """
    across, down = _cv.split(forward)
    how = cv2.INTER_LINEAR | cv2.WARP_RELATIVE_MAP
    left, up = (
        _cv.remap(part, forward, None, how, borderMode=cv2.BORDER_REPLICATE)
        for part in _cv.split(backward)
    )
    height, width = across.shape
    x = across + np.arange(width, dtype=np.float32)
    y = down + np.arange(height, dtype=np.float32)[:, None]
    agree: npt.NDArray[np.bool_] = (x >= 0) & (x <= width - 1)
    agree &= (y >= 0) & (y <= height - 1)
    length = np.square(across, out=x)
    length += np.square(down, out=y)
    length += np.square(left, out=y)
    length += np.square(up, out=y)
    length *= np.float32(0.01)
    length += np.float32(0.5)
    across += left
    down += up
    np.square(across, out=across)
    across += np.square(down, out=down)
    agree &= across <= length
    return agree


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
