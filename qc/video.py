"""Decoding: a video file as a stream of uint8 RGB frames, with what was wrong in words."""

from __future__ import annotations

import statistics
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.stream import Disposition
from av.video.reformatter import ColorRange, Colorspace, Interpolation

from manifests.source import MAX_PIXELS
from qc.errors import NotAVideo, UnsupportedColour

VERSION = "1"

RGBFrame = npt.NDArray[np.uint8]
"""(H, W, 3), 0..255, display-referred RGB."""

# swscale's default chroma path is fast and up to 3 levels off; these flags make it exact.
_EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
_DEEP_RGB = {"gbrp9le", "gbrp10le", "gbrp12le", "gbrp14le", "gbrp16le", "rgb48le"}
# H.273 matrix coefficients -> what swscale calls them.
_MATRICES = {
    1: ("bt709", Colorspace.ITU709),
    4: ("fcc", Colorspace.FCC),
    5: ("bt601", Colorspace.ITU601),
    6: ("bt601", Colorspace.ITU601),
    7: ("smpte240m", Colorspace.SMPTE240M),
    9: ("bt2020", Colorspace.BT2020),
    10: ("bt2020", Colorspace.BT2020),
}
# What is not brightness on an ordinary display, or not RGB by a matrix (H.273).
_CURVES = {
    8: "linear light",
    9: "a logarithmic curve",
    10: "a logarithmic curve",
    16: "HDR (PQ)",
    17: "digital cinema (SMPTE 428)",
    18: "HDR (HLG)",
}
_NO_MATRIX = {8: "YCgCo", 11: "Y'D'zD'x", 12: "derived", 13: "derived", 14: "ICtCp", 15: "IPT-C2"}
_WIDE = {9: "bt2020", 11: "dci-p3", 12: "display-p3"}
# NOTE: without the list FFmpeg plays a text file as ANSI art and follows playlists to other files.
_OPENING = {
    "format_whitelist": "mov,mp4,matroska,webm,avi,mpegts,mpeg,mxf,ogg,flv,asf,gif,apng,ivf,nut,"
    "yuv4mpegpipe,h264,hevc,m4v,obu",
    "protocol_whitelist": "file",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """What the container says before anything is decoded."""

    width: int
    """Pixels."""
    height: int
    """Pixels."""
    fps: float
    """Average rate the container announces, frames a second; 0.0 when it does not say."""
    announced: int | None
    """Frames the container announces; None when it does not say."""
    codec: str
    pixel_format: str
    colour: str
    """How the pixels become RGB, in words: `bt709`, `bt601 (assumed: not tagged)`, `rgb`; and
    primaries that are wider than ordinary ones, which are taken as they are."""


class Video:
    """One open video file; iterate `frames()` once, then read what was found.

    Frames come as (H, W, 3) uint8 RGB. High bit depths are rounded to 8 bits; alpha is dropped
    (straight colour). HDR, log and linear light are refused: no limit was ever seen on them, and
    what they measure depends on how they are brought to a display. Frame-threaded decoding; only
    the frames in flight are held.
    """

    def __init__(self, path: Path) -> None:
        """Open `path` and read its header.

        Raises:
            NotAVideo: the file is missing, is no media file, has no video stream (the cover of a
                piece of music is none), or is said to have more than `MAX_PIXELS` a frame.
            UnsupportedColour: it is tagged HDR, log or linear, or with a matrix that is none.
        """
        self.path = path
        self._container = _open(path)
        self._stream = _moving(self._container)[0]
        self._stream.thread_type = "AUTO"
        context = self._stream.codec_context
        try:
            self._check_colour(context)
        except UnsupportedColour:
            self._container.close()
            raise
        self._problems: list[str] = []
        self._deltas = array("d")
        self._first: float | None = None
        self._last: float | None = None
        self.decoded = 0
        """Frames handed out so far."""
        matrix, assumed = _matrix(int(context.colorspace or 2), context.width, context.height)
        rgb = context.format is not None and context.format.is_rgb
        self.info = VideoInfo(
            width=context.width,
            height=context.height,
            fps=float(self._stream.average_rate or self._stream.guessed_rate or 0.0),
            announced=_announced(self._container, self._stream),
            codec=context.name,
            pixel_format="unknown" if context.format is None else context.format.name,
            colour=("rgb" if rgb else _MATRICES[matrix][0] + assumed) + _wide(context),
        )

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    @property
    def problems(self) -> tuple[str, ...]:
        """What was wrong, in words; complete once `frames()` has ended."""
        return tuple(self._problems)

    @property
    def fps(self) -> float:
        """Frames a second by the frames' own time stamps; the announced rate for one frame."""
        if self.decoded < 2 or self._first is None or self._last is None:
            return self.info.fps
        span = self._last - self._first
        measured = (self.decoded - 1) / span if span > 0 else 0.0
        # Matroska rounds time stamps to a millisecond: trust the header where they agree.
        close = self.info.fps > 0 and abs(measured / self.info.fps - 1) < 0.5 / self.decoded + 0.005
        return self.info.fps if close or not measured else measured

    @property
    def variable_rate(self) -> bool:
        """Whether frames are held for different times (beyond the container's rounding)."""
        if len(self._deltas) < 2:
            return False
        usual = statistics.median(self._deltas)
        return max(abs(delta - usual) for delta in self._deltas) > 0.1 * usual + 0.0021

    def frames(self) -> Iterator[RGBFrame]:
        """Every frame that decodes, in order.

        A damaged or truncated file gives the frames before the damage; `problems` then says so.
        Raises UnsupportedColour where a frame is tagged so and the header was not.
        """
        try:
            for frame in self._container.decode(self._stream):
                if frame.is_corrupt:
                    self._problems.append(f"frame {self.decoded} is damaged")
                self._check_colour(frame)
                self._note_time(frame)
                picture = self._fit(_to_rgb(frame))
                self.decoded += 1
                yield picture
        except (av.FFmpegError, ValueError) as error:
            self._problems.append(f"decoding stopped after {self.decoded} frames: {_said(error)}")
        self._check_end()

    def _check_colour(self, tagged: Any) -> None:
        """Raise UnsupportedColour by the tags of a stream or a frame."""
        curve, matrix = int(tagged.color_trc or 2), int(tagged.colorspace or 2)
        what = _CURVES.get(curve)
        if what is None and matrix in _NO_MATRIX:
            what = f"{_NO_MATRIX[matrix]} colour"
        if what is not None:
            raise UnsupportedColour(
                f"{self.path}: tagged as {what}, which is not measured: the limits are for "
                "display-referred pictures; convert it to Rec. 709 (or take a wrong tag off), "
                "and score that file"
            )

    def _fit(self, picture: RGBFrame) -> RGBFrame:
        height, width = picture.shape[:2]
        if (width, height) == (self.info.width, self.info.height):
            return picture
        self._problems.append(
            f"frame {self.decoded} is {width}x{height} in a clip of "
            f"{self.info.width}x{self.info.height}"
        )
        resized = cv2.resize(
            picture, (self.info.width, self.info.height), interpolation=cv2.INTER_AREA
        )
        return np.asarray(resized, np.uint8)

    def _note_time(self, frame: Any) -> None:
        if frame.time is None:
            return
        if self._last is not None:
            self._deltas.append(frame.time - self._last)
        self._first = frame.time if self._first is None else self._first
        self._last = frame.time

    def _check_end(self) -> None:
        announced = self.info.announced
        if self.decoded == 0:
            self._problems.append("no frame could be decoded")
        # NOTE: a duration rounds and may count the last frame's hold or not: one frame of grace.
        elif announced is not None and self.decoded < announced - 1 and not self.variable_rate:
            self._problems.append(
                f"the file ends early: {self.decoded} frames decode, {announced} announced"
            )


def _open(path: Path) -> Any:
    if not path.is_file():
        what = "there is no such file"
        if path.exists():
            what = "this is a folder" if path.is_dir() else "this is a device or a pipe, no file"
        raise NotAVideo(f"{path}: {what}; name a video file")
    try:
        container = av.open(str(path.absolute()), options=_OPENING)
    except (av.FFmpegError, OSError, ValueError) as error:
        size = path.stat().st_size
        raise NotAVideo(
            f"{path} ({size} bytes) is no video that can be opened ({_said(error)}); "
            "name a video file, or render or copy it again"
        ) from error
    try:
        _check(path, _moving(container))
    except NotAVideo:
        container.close()
        raise
    return container


def _moving(container: Any) -> list[Any]:
    """The video streams that are no cover of an album."""
    streams = container.streams.video
    return [stream for stream in streams if not stream.disposition & Disposition.attached_pic]


def _check(path: Path, moving: list[Any]) -> None:
    """Raise NotAVideo where nothing moves, or where a frame would take gigabytes."""
    context = moving[0].codec_context if moving else None
    if context is None or not context.width:
        raise NotAVideo(f"{path}: no video stream in it; name a file with moving pictures")
    if context.width * context.height > MAX_PIXELS:
        raise NotAVideo(
            f"{path}: {context.width}x{context.height} pixels a frame are more than "
            f"{MAX_PIXELS // 10**6} million; scale it down"
        )
    # A stream may change its size midway: the decoder refuses what is larger.
    context.options = {**context.options, "max_pixels": str(MAX_PIXELS)}


def _said(error: Exception) -> str:
    """What PyAV said, without the number and the path that it puts around."""
    if isinstance(error, av.error.ArgumentError):
        return "not a format of moving pictures"
    return str(getattr(error, "strerror", None) or error)


def _announced(container: Any, stream: Any) -> int | None:
    if stream.frames:
        return int(stream.frames)
    if container.duration and stream.average_rate:
        return round(container.duration / 1e6 * float(stream.average_rate))
    return None


def _matrix(tag: int, width: int, height: int) -> tuple[int, str]:
    """Matrix of the stream; what is not tagged is HD's bt709 or SD's bt601, as players assume."""
    if tag in _MATRICES:
        return tag, ""
    return (1 if width >= 1280 or height > 576 else 6), " (assumed: not tagged)"


def _wide(context: Any) -> str:
    """Primaries beyond Rec. 709, in words; nothing for ordinary ones."""
    primaries = _WIDE.get(int(context.color_primaries or 2))
    return "" if primaries is None else f" ({primaries} primaries, taken as they are)"


def _to_rgb(frame: Any) -> RGBFrame:
    if frame.format.name in _DEEP_RGB:
        # swscale truncates deep RGB with a dither (half a level up on average): round instead.
        deep = frame.to_ndarray()
        bits = frame.format.components[0].bits
        return np.asarray(cv2.convertScaleAbs(deep, alpha=255.0 / (2**bits - 1)), np.uint8)
    if frame.format.is_rgb:
        return np.ascontiguousarray(frame.to_ndarray(format="rgb24"))
    matrix, _ = _matrix(int(frame.colorspace), frame.width, frame.height)
    # Plane by plane: the same bits as rgb24, for which swscale takes four times as long. On one
    # thread: another one is wanted for measuring.
    planar = frame.reformat(
        format="gbrp",
        threads=1,
        src_colorspace=_MATRICES[matrix][1],
        dst_color_range=ColorRange.JPEG,
        interpolation=_EXACT,
    )
    green, blue, red = (_plane(plane) for plane in planar.planes)
    return np.asarray(cv2.merge([red, green, blue]), np.uint8)


def _plane(plane: Any) -> npt.NDArray[np.uint8]:
    """(H, W), a view: rows lie farther apart than they are long."""
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width]
