"""Frames to another size: Lanczos by Pillow, and the even sizes that yuv420p needs."""

from __future__ import annotations

import numpy as np
from PIL import Image

from render.clip import Frame


def resize(frame: Frame, *, width: int, height: int) -> Frame:
    """The frame at another size by Lanczos (a = 3), float32, clipped to 0..1.

    Pillow widens the kernel when it shrinks, so both directions are free of aliasing. The kernel
    rings at hard edges: what overshoots is clipped.
    """
    if frame.shape[:2] == (height, width):
        return frame
    channels = [
        Image.fromarray(np.ascontiguousarray(frame[..., c])).resize(
            (width, height), Image.Resampling.LANCZOS
        )
        for c in range(3)
    ]
    return np.clip(np.stack([np.asarray(c) for c in channels], axis=-1), 0, 1).astype(np.float32)


def pad_even(frame: Frame) -> Frame:
    """The frame with its last column or row repeated where its width or height is odd."""
    height, width = frame.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return frame
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def scaled_size(width: int, height: int, factor: float) -> tuple[int, int]:
    """Width and height times `factor`, each to the nearest even number, at least 2."""
    return _even(width * factor), _even(height * factor)


def fitted_size(width: int, height: int, longest: int) -> tuple[int, int]:
    """Even size with the same aspect whose long side is at most `longest`; never enlarged."""
    return scaled_size(width, height, min(1.0, longest / max(width, height)))


def _even(length: float) -> int:
    return max(2, 2 * round(length / 2))
