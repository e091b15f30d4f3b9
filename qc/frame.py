"""One frame prepared for measuring, and where the analysis size is decided."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

LONG_SIDE = 960
"""Larger frames are measured at this long side (pixels): limits then mean the same at any size."""
SMALLEST = 16
"""Pixels: below this short side there is nothing to track."""
_HALF_FROM = 240

Image = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame in the forms that metrics share. Made once, kept for one step."""

    index: int
    rgb: Image
    """(h, w, 3) uint8 at analysis size."""
    luma: Image
    """(h, w) uint8, Y of Rec. 601 (as OpenCV weighs it), 0..255."""
    plane: Plane
    """`luma` as float32."""
    track: Image
    """(h/k, w/k) uint8 luma on which flow is computed; k = 2 from 240 px on, else 1."""
    mean: float
    """Mean luma, 0..255."""
    peak: float
    """Brightest luma, 0..255."""

    @property
    def trackable(self) -> bool:
        """Whether it is large enough for optical flow."""
        return min(self.rgb.shape[:2]) >= SMALLEST


def prepare(rgb: Image, *, index: int) -> Frame:
    """The frame `rgb` (H, W, 3) uint8 in every shared form, at analysis size."""
    height, width = rgb.shape[:2]
    scale = LONG_SIDE / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        rgb = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    luma = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
    return Frame(
        index=index,
        rgb=rgb,
        luma=luma,
        plane=luma.astype(np.float32),
        track=halved(luma),
        mean=float(cv2.mean(luma)[0]),
        peak=float(cv2.minMaxLoc(luma)[1]),
    )


def halved(image: Image) -> Image:
    """`image` (h, w) or (h, w, 3) at half its size from 240 px on, below that itself."""
    height, width = image.shape[:2]
    if min(height, width) < _HALF_FROM:
        return image
    half = cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return np.asarray(half, np.uint8)


def lengths(across: Plane, down: Plane) -> Plane:
    """Length of each vector (x `across`, y `down`), both (H, W) and both written over.

    Not OpenCV's `magnitude`: its first and last pixels are rounded by where in memory they lie, and
    one picture would measure a little otherwise every time.
    """
    total = np.square(across, out=across)
    total += np.square(down, out=down)
    return np.sqrt(total, out=total)


def masked(plane: Plane, where: npt.NDArray[np.bool_]) -> Plane:
    """`plane` (H, W) or (H, W, C) where it is told so (H, W), 0 elsewhere."""
    # Half the time of numpy's product with a truth value, which turns that into a number first.
    return np.asarray(cv2.copyTo(plane, where.view(np.uint8)), np.float32)


def cell_means(plane: Plane, *, rows: int, columns: int) -> Plane:
    """Mean of each cell of `plane` (H, W) or (H, W, C) cut into a grid: (rows, columns) or with C.

    OpenCV's averaging over areas, with the rows summed first where they fit: ten times faster.
    """
    height = plane.shape[0]
    if height % rows == 0:
        plane = plane.reshape(rows, height // rows, *plane.shape[1:]).mean(axis=1)
    means = cv2.resize(plane, (columns, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(means, np.float32)


def single_frames(
    chunks: Iterable[npt.NDArray[np.generic]],
) -> Iterator[tuple[Image, float]]:
    """Frames one by one as (H, W, 3) uint8, each with its share of NaN or infinite values (0..1).

    A chunk is (H, W, 3) or (N, H, W, 3), uint8 in 0..255 or floating point in 0..1 (rounded to
    8 bits; what is not finite becomes black and is counted).

    Raises:
        ValueError: another shape or type.
    """
    for chunk in chunks:
        if chunk.ndim not in {3, 4} or chunk.shape[-1] != 3:
            raise ValueError(f"frames of shape {chunk.shape}; give (H, W, 3) or (N, H, W, 3)")
        for frame in chunk if chunk.ndim == 4 else chunk[None]:
            yield _as_bytes(frame)


def _as_bytes(frame: npt.NDArray[np.generic]) -> tuple[Image, float]:
    if frame.dtype == np.uint8:
        # A copy: whoever gave it may use its memory again while the frame is being measured.
        return np.array(frame, np.uint8, order="C"), 0.0
    if not np.issubdtype(frame.dtype, np.floating):
        raise ValueError(f"frames of type {frame.dtype}; give uint8 0..255 or float 0..1")
    values = np.ascontiguousarray(frame, np.float32)
    if values.size and values.min() >= 0 and values.max() <= 1:  # neither holds of NaN
        return np.asarray(cv2.convertScaleAbs(values, alpha=255.0), np.uint8), 0.0
    finite = np.isfinite(values)
    clean = np.where(finite, values, np.float32(0)).clip(0, 1)
    return np.rint(clean * 255).astype(np.uint8), 1.0 - float(finite.mean())
