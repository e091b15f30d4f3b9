"""A contact strip: a few frames of a clip side by side, as a JPEG for the report."""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from manifests.files import write_atomic
from render.clip import Frame
from render.post.resize import resize
from render.video import disk_full_named

GAP = 2
"""Pixels of black between two pictures."""
QUALITY = 88


def write_strip(
    frames: Iterable[Frame],
    path: Path,
    *,
    total: int,
    count: int = 5,
    height: int = 96,
    quality: int = QUALITY,
) -> None:
    """Write `count` of `total` frames side by side, each `height` pixels high, atomically.

    First, last and evenly between; each frame once when there are fewer. Only the chosen frames
    are held. `quality` is JPEG's, 1..95.

    Raises ValueError when frames end before `total`, DiskFull.
    """
    wanted = chosen(total, count)
    pictures = [_small(frame, height) for i, frame in enumerate(frames) if i in wanted]
    if len(pictures) != len(wanted):
        raise ValueError(f"{path}: fewer than {total} frames came")
    file = BytesIO()
    Image.fromarray(_row(pictures)).save(file, "JPEG", quality=quality, subsampling=0)
    with disk_full_named(path):
        write_atomic(path, file.getvalue())


def chosen(total: int, count: int) -> frozenset[int]:
    """Indices of `count` frames of `total`: the first, the last and evenly between."""
    if count < 2:
        return frozenset({0})
    return frozenset(round(i * (total - 1) / (count - 1)) for i in range(count))


def _small(frame: Frame, height: int) -> NDArray[np.uint8]:
    width = max(1, round(frame.shape[1] * height / frame.shape[0]))
    small = resize(frame, width=width, height=height)
    return np.rint(small * 255).astype(np.uint8)


def _row(pictures: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    gap = np.zeros((pictures[0].shape[0], GAP, 3), np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)][1:]
    return np.concatenate(parts, axis=1)
