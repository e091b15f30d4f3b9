"""SSIM: structural similarity, equal to scikit-image's gaussian variant to 1e-5.

Wang, Bovik, Sheikh, Simoncelli, "Image Quality Assessment: From Error Visibility to Structural
Similarity", IEEE TIP 13(4), 2004. Gaussian 11x11, sigma 1.5, K1 .01, K2 .03, L 255, sample
covariance (121/120), 5 px cropped at each edge. Range -1..1; 1 for equal images.

Three filterings a pair instead of five, two of them shared by every pair a frame is in, and no
difference of large squares (v_d is the variance of the difference, so that
2 cov(a, b) = v_a + v_b - v_d, and with s = m_a + m_b, d = m_a - m_b in the same way
4 m_a m_b = s^2 - d^2):

    z = x - mean(x),  m = G(z) + mean(x),  v = G(z^2) - G(z)^2
    S = (s^2 - d^2 + 2 C1) / (s^2 + d^2 + 2 C1) (1 - v_d / (v_a + v_b + C2 120/121))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

VERSION = "1"
WINDOW = 11
"""Pixels: an image with a shorter side has no SSIM."""
_SIGMA = 1.5
_CROP = WINDOW // 2
_STRIP = 96
"""Rows at a time: what is worked on stays in the processor's cache."""
_C1 = (0.01 * 255) ** 2
# Sample covariance is 121/120 of v in every place; here C2 is divided by it instead.
_C2 = (0.03 * 255) ** 2 * (WINDOW**2 - 1) / WINDOW**2


def _kernel() -> npt.NDArray[np.float32]:
    x = np.arange(WINDOW) - _CROP
    weights = np.exp(-0.5 * (x / _SIGMA) ** 2)
    kernel = (weights / weights.sum()).astype(np.float32)
    # NOTE: a float32 kernel that sums to 1 - 6e-8 costs more than all other rounding together.
    kernel[_CROP] += np.float32(1 - kernel.sum(dtype=np.float64))
    return kernel


_KERNEL = _kernel()
# NOTE: OpenCV's type stubs want to know an array's numbers by type.
_cv: Any = cv2


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """What one image brings to every SSIM it takes part in; what is told sooner than read is not
    kept."""

    image: npt.NDArray[np.generic]
    """The image itself, (H, W) or (H, W, C)."""
    offset: npt.NDArray[np.float32]
    """mean(x): (), or (C,) of each channel."""
    local: npt.NDArray[np.float32]
    """G(z)."""
    variance: npt.NDArray[np.float32]
    """Local variance (v, >= 0) + half of its C2, so that two of them make a denominator."""

    def centred(self, rows: slice) -> npt.NDArray[np.float32]:
        """z: some rows of the image minus its mean."""
        # NOTE: a copy also of what is float32 already, for it is changed.
        centred = self.image[rows].astype(np.float32)
        centred -= self.offset
        return centred


def check(image: npt.NDArray[np.generic]) -> None:
    """Raise ValueError unless `image` is (H, W) or (H, W, 1..4) and at least 11 px each way."""
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.ndim not in {2, 3} or min(image.shape[:2]) < WINDOW or not 0 < channels <= 4:
        raise ValueError(
            f"SSIM of shape {image.shape}: wants at least {WINDOW}x{WINDOW} pixels, 1 to 4 channels"
        )


def moments(image: npt.NDArray[np.generic]) -> Moments:
    """Moments of `image` (H, W) or (H, W, C) in 0..255, uint8 or float."""
    check(image)
    # In float64, as OpenCV has it: a float32 mean of a large plane is off in the fourth digit.
    mean = _cv.mean(image)
    offset = np.array(mean, np.float32)[: image[0, 0].size].reshape(image.shape[2:])
    local, variance = np.empty(image.shape, np.float32), np.empty(image.shape, np.float32)
    found = Moments(image=image, offset=offset, local=local, variance=variance)
    for top in range(0, len(image), _STRIP):
        above = min(top, _CROP)
        kept = slice(above, above + min(_STRIP, len(image) - top))
        centred = found.centred(slice(top - above, top + _STRIP + _CROP))
        mean_here = local[top : top + _STRIP]
        mean_here[:] = _blur(centred)[kept]
        spread = _spread(np.square(centred, out=centred), mean_here, kept)
        np.add(spread, np.float32(_C2 / 2), out=variance[top : top + _STRIP])
    return found


def compute(first: Moments, second: Moments) -> float:
    """SSIM of two images of one shape, -1..1; over channels it is the mean of each one's SSIM.

    Symmetric. Raises ValueError when the shapes differ.
    """
    if first.image.shape != second.image.shape:
        raise ValueError(f"SSIM of {first.image.shape} and {second.image.shape}: one size only")
    bottom = len(first.image) - _CROP
    total, counted = 0.0, 0
    for top in range(_CROP, bottom, _STRIP):
        rows = slice(top, min(top + _STRIP, bottom))
        inner = _similarity(first, second, rows)[:, _CROP:-_CROP]
        total += sum(cv2.sumElems(inner))  # in float64
        counted += inner.size
    return total / counted


def _similarity(first: Moments, second: Moments, rows: slice) -> npt.NDArray[np.float32]:
    """S of some rows, none of them within 5 of the edge; 5 px at both ends of each lack their
    surroundings. In place: it is memory that takes the time."""
    around = slice(rows.start - _CROP, rows.stop + _CROP)
    offset = first.offset - second.offset
    apart: npt.NDArray[np.float32]
    apart = np.subtract(first.image[around], second.image[around], dtype=np.float32)
    apart -= offset
    local = first.local[rows] - second.local[rows]
    structure = _spread(np.square(apart, out=apart), local, slice(_CROP, -_CROP))
    apart = apart[_CROP:-_CROP]
    structure /= np.add(first.variance[rows], second.variance[rows], out=apart)
    similarity = np.subtract(1, structure, out=structure)
    local += offset
    differing = np.square(local, out=local)
    power = np.add(first.local[rows], second.local[rows], out=apart)
    power += first.offset + second.offset
    np.square(power, out=power)
    power += np.float32(2 * _C1)
    similarity *= power - differing
    power += differing
    similarity /= power
    return similarity


def _spread(
    squares: npt.NDArray[np.float32], local: npt.NDArray[np.float32], kept: slice
) -> npt.NDArray[np.float32]:
    """Local variance, >= 0, of the rows that are `kept` of `squares`, which are written over; of
    those rows `local` is the mean."""
    spread = _blur(squares)[kept]
    spread -= np.square(local, out=squares[kept])
    # numpy's maximum, which has NaN to think of, takes four times as long.
    cv2.threshold(spread, 0, 0, cv2.THRESH_TOZERO, dst=spread)
    return spread


def reduce(values: Sequence[float]) -> dict[str, float]:
    """Mean and lowest SSIM of a clip's consecutive pairs: they tell motion, not quality."""
    if not values:
        return {}
    return {"ssim_mean": float(np.mean(values)), "ssim_min": float(np.min(values))}


def ssim(first: npt.NDArray[np.generic], second: npt.NDArray[np.generic]) -> float:
    """SSIM of two images (H, W) or (H, W, C) in 0..255; see the module for the variant.

    Raises ValueError where `check` does, and when the shapes differ.
    """
    if first.ndim == 3 and first.shape == second.shape:
        # One by one: a strip of three channels does not stay in the cache.
        channels = zip(*(np.moveaxis(image, 2, 0).copy() for image in (first, second)), strict=True)
        return float(np.mean([ssim(one, other) for one, other in channels]))
    return compute(moments(first), moments(second))


def _blur(plane: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    blurred = cv2.sepFilter2D(plane, cv2.CV_32F, _KERNEL, _KERNEL, borderType=cv2.BORDER_REFLECT)
    return np.asarray(blurred, np.float32).reshape(plane.shape)
