"""Whether the review file is what was meant, by decoding it before it is published.

Scores were taken before the grade. Here is only what a grade or an encoder can break: length,
size, rate, tags, range, colour, clipping, and whether it plays while it loads.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from render.clip import Frame
from render.errors import DeliveryFlawed
from render.video import BT709_TV, StreamFacts, open_video
from render.yuv import KB, KG, KR

CLIPPING_GROWTH = 0.02
"""Share of pixels that may newly touch black or white before a person is asked to look."""
STRAY_LUMA = 0.01
"""Share of luma that may lie outside 5..246: tolerance and range of EBU R 103."""
MEAN_TOLERANCE = 4.0
"""Codes by which a frame's mean Y, Cb or Cr may differ from what was encoded. A lost or swapped
frame, or a wrong matrix on saturated colours, is further off; crf 51 is nearer."""

_BLACK, _WHITE = np.float32(0.5 / 255), np.float32(254.5 / 255)


@dataclass(slots=True)
class Witness:
    """What went into the encoder, frame by frame, in a few numbers."""

    means: list[NDArray[np.float64]] = field(default_factory=list)
    """Mean RGB of each graded frame."""
    clipped_before: float = 0.0
    """Sum over frames of the share of pixels at black or white before the grade."""
    clipped_after: float = 0.0

    def see(self, before: Frame, after: Frame) -> None:
        """Note one frame as it was before and after the grade, both at the delivered size."""
        self.means.append(after.mean(axis=(0, 1), dtype=np.float64))
        self.clipped_before += clipped(before)
        self.clipped_after += clipped(after)

    @property
    def growth(self) -> float:
        """By how much the share of clipped pixels grew, -1..1."""
        return (self.clipped_after - self.clipped_before) / max(1, len(self.means))


@dataclass(slots=True)
class _Seen:
    means: list[NDArray[np.float64]] = field(default_factory=list)
    """Mean Y, Cb, Cr of each decoded frame."""
    legal: float = 0.0
    stray: float = 0.0


def clipped(frame: Frame) -> float:
    """Share of pixels with a channel that 8 bit shows as 0 or 255."""
    return float(((frame < _BLACK) | (frame > _WHITE)).any(axis=-1).mean())


def inspect(
    path: Path, *, frames: int, width: int, height: int, rate: Fraction, witness: Witness
) -> tuple[str, ...]:
    """Decode the whole file and say in words what was found good.

    Raises:
        DeliveryFlawed: with everything that is wrong, not only the first.
        ClipUnreadable: it cannot be decoded.
    """
    with open_video(path) as (facts, pictures):
        seen = _look(np.asarray(p.to_ndarray(format="yuv420p"), np.uint8) for p in pictures)
    good: list[str] = []
    bad: list[str] = []
    for passed, words in (
        _count(seen, frames),
        (
            (facts.width, facts.height) == (width, height),
            f"size {facts.width}x{facts.height}, planned {width}x{height}",
        ),
        (facts.rate == rate, f"rate {facts.rate}, of the take {rate}"),
        _tags(facts),
        _legal(seen),
        _means(seen, witness),
        _growth(witness),
        _faststart(path),
    ):
        (good if passed else bad).append(words)
    if bad:
        raise DeliveryFlawed(f"{path.name}: {'; '.join(bad)}; not published: keep the take, report")
    return tuple(good)


def _look(planes: Iterator[NDArray[np.uint8]]) -> _Seen:
    seen = _Seen()
    for codes in planes:
        luma, chroma = np.split(codes.ravel(), [codes.size * 2 // 3])
        cb, cr = np.split(chroma, 2)
        seen.means.append(np.array([luma.mean(), cb.mean(), cr.mean()]))
        seen.legal += float(((luma >= 16) & (luma <= 235)).mean())
        seen.stray += float(((luma < 5) | (luma > 246)).mean())
    return seen


def _count(seen: _Seen, frames: int) -> tuple[bool, str]:
    count = len(seen.means)
    return count == frames, f"decodes to {count} frames, the take has {frames}"


def _tags(facts: StreamFacts) -> tuple[bool, str]:
    return facts.tags == BT709_TV, f"tags: {facts.tags}"


def _legal(seen: _Seen) -> tuple[bool, str]:
    count = max(1, len(seen.means))
    stray = seen.stray / count
    words = f"legal range: {seen.legal / count:.2%} of luma within 16..235"
    return stray <= STRAY_LUMA, words + f", {stray:.2%} outside 5..246"


def _means(seen: _Seen, witness: Witness) -> tuple[bool, str]:
    """Every frame's mean colour against the picture that was encoded, by BT.709's formula."""
    r, g, b = np.array(witness.means).reshape(-1, 3).T
    y = KR * r + KG * g + KB * b
    want = np.stack(
        [16 + 219 * y, 128 + 112 * (b - y) / (1 - KB), 128 + 112 * (r - y) / (1 - KR)], axis=-1
    )
    have = np.array(seen.means).reshape(-1, 3)
    if have.shape != want.shape:
        return False, f"colour cannot be compared: {len(have)} frames of {len(want)}"
    off = np.abs(have - want).max(axis=1)
    words = f"colour: mean of every frame within {off.max():.1f} codes of the graded picture"
    if off.max() > MEAN_TOLERANCE:
        words = f"colour: frame {off.argmax()} is {off.max():.1f} codes off the graded picture"
    return bool(off.max() <= MEAN_TOLERANCE), words


def _growth(witness: Witness) -> tuple[bool, str]:
    """Never a flaw of the file: a look may want it. It is said, for a person to judge."""
    growth = witness.growth
    if growth > CLIPPING_GROWTH:
        return True, f"clipping grew by {growth:.1%}: look at the grade"
    share = witness.clipped_after / max(1, len(witness.means))
    return True, f"clipping: {share:.1%} of pixels, grew by {max(growth, 0):.1%}"


def _faststart(path: Path) -> tuple[bool, str]:
    boxes = top_boxes(path)
    early = "moov" in boxes and "mdat" in boxes and boxes.index("moov") < boxes.index("mdat")
    return early, "faststart: index " + ("before" if early else "after or without") + " pictures"


def top_boxes(path: Path) -> list[str]:
    """Names of the top boxes of an MP4 file in order (ISO/IEC 14496-12, 4.2)."""
    names: list[str] = []
    end = path.stat().st_size
    with path.open("rb") as file:
        at = 0
        while at + 8 <= end:
            file.seek(at)
            size, name = struct.unpack(">I4s", file.read(8))
            if size == 1:
                (size,) = struct.unpack(">Q", file.read(8))
            names.append(name.decode("latin-1"))
            if size < 8:
                break
            at += size
    return names
