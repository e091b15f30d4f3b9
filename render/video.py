"""Pictures into a container and out of it again: rates, colour tags, named errors.

What a clip or a review file is made of stands in `render.clip` and `render.post.encode`; here is
only what both need from libav.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import av.logging

from render.errors import ClipUnreadable, DiskFull

NTSC_TOLERANCE = 0.01
"""Frames a second within which 23.98 is meant to be 24000/1001."""
NTSC_BASES = (24, 30, 48, 60, 120)

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, slots=True, kw_only=True)
class ColourTags:
    """How the code values of a stream are to be read, by the code points of ITU-T H.273."""

    matrix: int
    """MatrixCoefficients: 0 RGB, 1 BT.709, 2 not said."""
    primaries: int
    """ColourPrimaries: 1 BT.709, 2 not said."""
    transfer: int
    """TransferCharacteristics: 1 BT.709, 2 not said."""
    full_range: bool | None
    """True: 0 is black and the highest code is white. False: 16..235 in 8 bit. None: not said."""

    def __str__(self) -> str:
        matrix, primaries, transfer = (
            _H273.get(code, str(code)) for code in (self.matrix, self.primaries, self.transfer)
        )
        scale = {True: "pc", False: "tv", None: "unspecified"}[self.full_range]
        matrix = "rgb" if self.matrix == 0 else matrix
        return f"matrix {matrix}, primaries {primaries}, transfer {transfer}, range {scale}"


_H273 = {1: "bt709", 2: "unspecified", 5: "bt470bg", 6: "smpte170m", 9: "bt2020", 13: "srgb"}
_AV_RANGE: dict[bool | None, int] = {None: 0, False: 1, True: 2}

RGB_FULL = ColourTags(matrix=0, primaries=1, transfer=1, full_range=True)
"""RGB as the model made it. The transfer says what the review file will say: values pass as is."""
BT709_TV = ColourTags(matrix=1, primaries=1, transfer=1, full_range=False)
"""What a review player expects of HD video."""


def frame_rate(fps: float | Fraction) -> Fraction:
    """The exact rate that `fps` means: 23.976 and 23.98 are 24000/1001, 12.5 is 25/2.

    Raises ValueError unless 0 < fps <= 1000.
    """
    if not 0 < fps <= 1000:
        raise ValueError(f"{fps} frames a second cannot be written; give more than 0, at most 1000")
    for base in NTSC_BASES:
        exact = Fraction(base * 1000, 1001)
        if fps != base and abs(float(fps) - float(exact)) < NTSC_TOLERANCE:
            return exact
    return Fraction(fps).limit_denominator(1001)


@contextmanager
def disk_full_named(path: Path) -> Iterator[None]:
    """Let "no space left" (or over quota) surface as DiskFull that names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise DiskFull(
                f"{path}: no space left to write it; free space there, then run again"
            ) from error
        raise


def encode_video(
    pictures: Iterable[av.VideoFrame],
    path: Path,
    *,
    container: str,
    codec: str,
    pix_fmt: str,
    rate: Fraction,
    tags: ColourTags,
    codec_options: Mapping[str, str],
    container_options: Mapping[str, str],
) -> int:
    """Encode and mux `pictures` one by one into a new file; returns how many there were.

    Size is taken from the first picture. Nothing that differs between equal runs (encoder name,
    random ids) is written. Raises OSError when the disk fails, ValueError when nothing came.
    """
    count = 0
    options = {"fflags": "bitexact", **container_options}
    with av.open(str(path), "w", format=container, options=options) as output:
        stream: Any = None
        for count, picture in enumerate(pictures, 1):
            if stream is None:
                stream = output.add_stream(codec, rate=rate, options=dict(codec_options))
                stream.width, stream.height = picture.width, picture.height
                stream.pix_fmt = pix_fmt
                stream.time_base = 1 / rate
                _tag(stream.codec_context, tags)
            picture.pts, picture.time_base = count - 1, 1 / rate
            output.mux(stream.encode(picture))
        if stream is None:
            raise ValueError(f"{path}: no frames were given; a clip has at least one")
        output.mux(stream.encode(None))
    return count


def _tag(context: Any, tags: ColourTags) -> None:
    context.colorspace = tags.matrix
    context.color_primaries = tags.primaries
    context.color_trc = tags.transfer
    context.color_range = _AV_RANGE[tags.full_range]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFacts:
    """What the container says of its first video stream."""

    width: int
    """Pixels."""
    height: int
    """Pixels."""
    rate: Fraction
    """Frames a second."""
    codec: str
    pix_fmt: str
    tags: ColourTags


@contextmanager
def open_video(path: Path) -> Iterator[tuple[StreamFacts, Iterator[av.VideoFrame]]]:
    """The facts of a video file and its pictures in order of display.

    Whatever libav complains about while decoding raises ClipUnreadable, also what it would only
    log and paper over: a slice whose checksum is wrong, a file that ends too early.
    """
    with _unreadable_named(path):
        if not path.is_file():
            raise ClipUnreadable(f"{path}: there is no such file; render the take again")
        source = av.open(str(path))
    with closing(source):
        streams = source.streams.video
        if not streams:
            raise ClipUnreadable(f"{path}: no video stream in it; render the take again")
        stream = streams[0]
        # NOTE: with one thread every complaint is logged in ours, where it can be caught.
        stream.codec_context.thread_count = 1
        yield _facts(stream), _pictures(path, source.decode(stream))


def _pictures(path: Path, decoded: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    index = 0
    while True:
        with _unreadable_named(path, f"frame {index}: "), _complaints() as logged:
            picture = next(decoded, None)
        if logged:
            words = "; ".join(message.strip() for _, _, message in logged)
            raise ClipUnreadable(f"{path}: frame {index}: {words}; render the take again")
        if picture is None:
            return
        yield picture
        index += 1


def _facts(stream: Any) -> StreamFacts:
    context = stream.codec_context
    tags = ColourTags(
        matrix=int(context.colorspace),
        primaries=int(context.color_primaries),
        transfer=int(context.color_trc),
        full_range={1: False, 2: True}.get(int(context.color_range)),
    )
    rate = stream.average_rate or stream.guessed_rate or Fraction(1)
    return StreamFacts(
        width=context.width,
        height=context.height,
        rate=frame_rate(rate),
        codec=context.name,
        pix_fmt=str(context.pix_fmt),
        tags=tags,
    )


@contextmanager
def _unreadable_named(path: Path, place: str = "") -> Iterator[None]:
    try:
        yield
    except (av.error.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ClipUnreadable(f"{path}: {place}{reason}; render the take again") from error


@contextmanager
def _complaints() -> Iterator[list[tuple[int, str, str]]]:
    """Errors that libav logs in this thread while the block runs."""
    level, skipping = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture(local=True) as logged:
            yield logged
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(skipping)
