"""H.264 for review and for the report: BT.709 in numbers and in tags, playable while it loads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from manifests.files import atomic_path
from render.clip import Frame, check_finite
from render.post.resize import fitted_size, resize
from render.video import BT709_TV, disk_full_named, encode_video
from render.yuv import to_yuv420

PREVIEW_LONGEST = 320
"""Pixels of a preview's long side, at most."""
PREVIEW_CRF = 26

# NOTE: equal frames are to give equal files, or a checksum says nothing. x264 gives other bytes
# for another number of threads, and its fast path for some processors is not even equal to itself
# (seen with AVX-512: one run in twenty, one in two for longer clips).
_REPEATABLE = {"threads": "4", "x264-params": "cpu-independent=1:sliced-threads=0"}


def write_review(frames: Iterable[Frame], path: Path, *, rate: Fraction, crf: int) -> int:
    """Encode frames (H, W, 3) RGB 0..1 of even size as H.264 into `path`; returns their number.

    Writes in place, not atomically: the caller checks the file before it publishes it. libx264,
    preset medium, yuv420p, tagged bt709 and tv range, `moov` in front. Raises NonFinite, DiskFull.
    """
    with disk_full_named(path):
        return encode_video(
            _pictures(frames, path),
            path,
            container="mp4",
            codec="libx264",
            pix_fmt="yuv420p",
            rate=rate,
            tags=BT709_TV,
            codec_options={
                "preset": "medium",
                "crf": str(crf),
                "flags": "+bitexact",
                **_REPEATABLE,
            },
            container_options={"movflags": "+faststart"},
        )


def write_preview(frames: Iterable[Frame], path: Path, *, rate: Fraction) -> int:
    """A small H.264 for embedding in a page, atomically; returns the number of frames.

    At most 320 pixels on the long side, never enlarged, crf 26, else as the review file.
    """
    with disk_full_named(path), atomic_path(path) as temporary:
        return write_review(_fitted(frames), temporary, rate=rate, crf=PREVIEW_CRF)


def _pictures(frames: Iterable[Frame], path: Path) -> Iterator[av.VideoFrame]:
    for index, frame in enumerate(frames):
        check_finite(frame, index, path)
        codes = to_yuv420(np.clip(frame, 0, 1))
        yield av.VideoFrame.from_ndarray(codes, format="yuv420p")


def _fitted(frames: Iterable[Frame]) -> Iterator[Frame]:
    for frame in frames:
        width, height = fitted_size(frame.shape[1], frame.shape[0], PREVIEW_LONGEST)
        yield resize(frame, width=width, height=height)
