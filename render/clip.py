"""A clip: lossless FFV1 in Matroska, 12 bit RGB. Written whole or not at all, read frame by frame.

FFV1 level 3 with a checksum per slice and every frame a key frame (`g 1`): a frame can be read
without its neighbours, and damage is noticed. `gbrp12le` keeps RGB as RGB (no matrix, no chroma
loss) at 16 times the steps of the 8-bit review file; both the encoder and the array conversion of
PyAV take it as it is, so nothing is rescaled on the way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from manifests.files import atomic_path
from render.errors import NonFiniteFrames
from render.video import (
    RGB_FULL,
    ColourTags,
    StreamFacts,
    disk_full_named,
    encode_video,
    frame_rate,
    open_video,
)
from render.yuv import rgb_values, to_rgb

PIX_FMT = "gbrp12le"
STEPS = 4095
"""Highest code of a clip: float 1.0. The quantisation step is 1 / 4095."""

_FFV1 = {"level": "3", "slicecrc": "1", "g": "1", "flags": "+bitexact"}

Frame = NDArray[np.float32]
"""float32 (H, W, 3), RGB, 0..1, display-referred as the model made it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipInfo:
    """What a video file really holds, every frame decoded and counted."""

    frames: int
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    fps: float
    rate: Fraction
    """`fps`, exactly: 24000/1001."""
    codec: str
    """`ffv1`, `h264`."""
    pix_fmt: str
    tags: ColourTags
    duration: float
    """Seconds: frames / rate."""


def write_clip(frames: Iterable[NDArray[Any]], path: Path, *, fps: float) -> ClipInfo:
    """Write `frames` as a lossless clip: chunks of float (T, H, W, 3), RGB, 0..1.

    Values outside 0..1 are clipped, then rounded to the nearest of 4096 steps. One chunk is held
    at a time. Equal frames give equal files, byte for byte. `path` is there whole or as it was.

    Raises:
        NonFiniteFrames: NaN or infinity in a frame, which is named (0-based).
        DiskFull: no space left.
        ValueError: no frames, another shape, or frames of different sizes.
    """
    rate = frame_rate(fps)
    shape: list[tuple[int, ...]] = []
    with disk_full_named(path), atomic_path(path) as temporary:
        count = encode_clip(_singles(frames, path, shape), temporary, rate=rate)
    height, width = shape[0][:2]
    return _info(_planned(width, height, rate), count)


def encode_clip(frames: Iterable[Frame], path: Path, *, rate: Fraction) -> int:
    """Encode single frames (H, W, 3) into `path` in place, not atomically; returns their number."""
    pictures = (av.VideoFrame.from_ndarray(_codes(frame), format=PIX_FMT) for frame in frames)
    return encode_video(
        pictures,
        path,
        container="matroska",
        codec="ffv1",
        pix_fmt=PIX_FMT,
        rate=rate,
        tags=RGB_FULL,
        codec_options=_FFV1,
        container_options={},
    )


def read_clip(path: Path) -> Iterator[Frame]:
    """Frames of a video file in order: float32 (H, W, 3), RGB, 0..1, one in memory at a time.

    A clip comes back exactly as it was quantised. Of other files, YUV is converted by the matrix
    and range it is tagged with, BT.709 limited where it says nothing. Raises ClipUnreadable.
    """
    with open_video(path) as (facts, pictures):
        for picture in pictures:
            yield rgb_values(picture) if picture.format.is_rgb else to_rgb(picture, facts.tags)


def clip_info(path: Path) -> ClipInfo:
    """What is in a video file, by decoding all of it. Raises ClipUnreadable."""
    with open_video(path) as (facts, pictures):
        count = sum(1 for _ in pictures)
    return _info(facts, count)


def _singles(
    chunks: Iterable[NDArray[Any]], path: Path, shape: list[tuple[int, ...]]
) -> Iterator[Frame]:
    """The frames of all chunks, checked; the shape of the first is left in `shape`."""
    index = 0
    for chunk in chunks:
        if chunk.ndim != 4 or chunk.shape[3] != 3 or not np.issubdtype(chunk.dtype, np.floating):
            raise ValueError(
                f"{path}: a chunk is {chunk.dtype} {chunk.shape}; give float32 (T, H, W, 3)"
            )
        for frame in chunk:
            if not shape:
                shape.append(frame.shape)
            if frame.shape != shape[0]:
                raise ValueError(f"{path}: frame {index} is {frame.shape}, frame 0 {shape[0]}")
            check_finite(frame, index, path)
            yield frame
            index += 1


def check_finite(frame: NDArray[Any], index: int, path: Path) -> None:
    """Raise NonFiniteFrames, naming frame `index` of `path`, if any value is NaN or infinite."""
    bad = frame.size - int(np.count_nonzero(np.isfinite(frame)))
    if bad:
        raise NonFiniteFrames(
            f"{path}: frame {index} holds NaN or infinity in {bad} of {frame.size} values; "
            "the take failed as a picture: take another seed or a higher precision"
        )


def quantised(frames: NDArray[Any]) -> NDArray[np.float32]:
    """Frames of any shape, float RGB 0..1, as a clip gives them back: float32, 4096 steps.

    Writing what this returns gives the same file as writing `frames`.
    """
    return _codes(frames).astype(np.float32) / np.float32(STEPS)


def _codes(frame: NDArray[Any]) -> NDArray[np.uint16]:
    """0..1 to the codes 0..4095, rounded to the nearest."""
    values = np.clip(frame.astype(np.float32, copy=False), 0, 1) * np.float32(STEPS)
    return np.ascontiguousarray(np.rint(values).astype(np.uint16))


def _planned(width: int, height: int, rate: Fraction) -> StreamFacts:
    return StreamFacts(
        width=width, height=height, rate=rate, codec="ffv1", pix_fmt=PIX_FMT, tags=RGB_FULL
    )


def _info(facts: StreamFacts, count: int) -> ClipInfo:
    return ClipInfo(
        frames=count,
        width=facts.width,
        height=facts.height,
        fps=float(facts.rate),
        rate=facts.rate,
        codec=facts.codec,
        pix_fmt=facts.pix_fmt,
        tags=facts.tags,
        duration=float(count / facts.rate),
    )
