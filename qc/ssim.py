"""SSIM: structural similarity, equal to scikit-image's gaussian variant to 1e-5.

Wang, Bovik, Sheikh, Simoncelli, "Image Quality Assessment: From Error Visibility to Structural
Similarity", IEEE TIP 13(4), 2004. Gaussian 11x11, sigma 1.5, K1 .01, K2 .03, L 255, sample
covariance (121/120), 5 px cropped at each edge. Range -1..1; 1 for equal images.

Three filterings a pair instead of five, two of them shared by every pair a frame is in, and no
difference of large squares (v_d is the variance of the difference, so that
2 cov(a, b) = v_a + v_b - v_d):

    z = x - mean(x),  m = G(z) + mean(x),  v = G(z^2) - G(z)^2
    S = (1 - (m_a - m_b)^2 / (m_a^2 + m_b^2 + C1)) (1 - v_d / (v_a + v_b + C2 120/121))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """What one image brings to every SSIM it takes part in; what is told sooner than read is not
    kept."""

    image: npt.NDArray[np.generic]
    """The image itself, (H, W) or (H, W, C)."""
    offset: npt.NDArray[np.float32]
    """mean(x), of each channel."""
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

    def power(self, rows: slice) -> npt.NDArray[np.float32]:
        """m^2 + C1 / 2 of some rows, likewise."""
        power = self.local[rows] + self.offset
        np.square(power, out=power)
        power += np.float32(_C1 / 2)
        return power


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
    mean = cv2.mean(image.astype(np.float32))
    offset = np.array(mean, np.float32)[: image[0, 0].size]
    local, variance = np.empty(image.shape, np.float32), np.empty(image.shape, np.float32)
    found = Moments(image=image, offset=offset, local=local, variance=variance)
    for top in range(0, len(image), _STRIP):
        above = min(top, _CROP)
        kept = slice(above, above + min(_STRIP, len(image) - top))
        centred = found.centred(slice(top - above, top + _STRIP + _CROP))
        mean_here = _blur(centred)
        spread = _spread(np.square(centred, out=centred), np.square(mean_here))
        local[top : top + _STRIP] = mean_here[kept]
        np.add(spread[kept], np.float32(_C2 / 2), out=variance[top : top + _STRIP])
    return found


def compute(first: Moments, second: Moments) -> float:
    """SSIM of two images of one shape, -1..1; over channels it is the mean of each one's SSIM.

    Symmetric. Raises ValueError when the shapes differ.
    """
    if first.image.shape != second.image.shape:
        raise ValueError(f"SSIM of {first.image.shape} and {second.image.shape}: one size only")
    height = len(first.image)
    total, counted = 0.0, 0
    for top in range(0, height - 2 * _CROP, _STRIP):
        rows = slice(top, top + _STRIP + 2 * _CROP)
        inner = _similarity(first, second, rows)[_CROP:-_CROP, _CROP:-_CROP]
        total += sum(cv2.sumElems(inner))  # in float64
        counted += inner.size
    return total / counted


def _similarity(first: Moments, second: Moments, rows: slice) -> npt.NDArray[np.float32]:
    """S of some rows; 5 px at each edge lack their surroundings. In place: it is memory that
    takes the time."""
    apart = first.centred(rows)
    apart -= second.centred(rows)
    local = first.local[rows] - second.local[rows]
    structure = _spread(np.square(apart, out=apart), np.square(local))
    structure /= np.add(first.variance[rows], second.variance[rows], out=apart)
    local += first.offset - second.offset
    luminance = np.square(local, out=local)
    luminance /= np.add(first.power(rows), second.power(rows), out=apart)
    similarity = np.subtract(1, structure, out=structure)
    similarity *= np.subtract(1, luminance, out=luminance)
    return similarity


def _spread(
    squares: npt.NDArray[np.float32], local: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Local variance from squares and the squared local mean, >= 0."""
    spread = _blur(squares)
    spread -= local
    # numpy's maximum, which has NaN to think of, takes four times as long.
    cv2.threshold(spread, 0, 0, cv2.THRESH_TOZERO, dst=spread)
    return spread


def reduce(values: Sequence[float]) -> dict[str, float]:
    """Mean and lowest SSIM of a clip's consecutive pairs: they tell motion, not quality."""
    if not values:
        return {}
    return {"ssim_mean": float(np.mean(values)), "ssim_min": float(np.min(values))}


def ssim(first: npt.NDArray[np.generic], second: npt.NDArray[np.generic]) -> float:
    """SSIM of two images (H, W) or (H, W, C) in 0..255; see the module for the variant."""
    return compute(moments(first), moments(second))


def _blur(plane: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    blurred = cv2.sepFilter2D(plane, cv2.CV_32F, _KERNEL, _KERNEL, borderType=cv2.BORDER_REFLECT)
    return np.asarray(blurred, np.float32).reshape(plane.shape)
