"""Hard faults: what is wrong with the file whatever its pictures look like.

0 for a sound file that is what was ordered, more where it is farther off; definitions of our own.

* `decode_faults`: how many things went wrong while decoding;
* `length_error`: |frames - expected|, frames;
* `size_error`: |width - expected| + |height - expected|, pixels;
* `fps_error`: |fps / expected - 1|;
* `non_finite`: share of pixel values that were NaN or infinite (float frames only, 0..1).
"""

from __future__ import annotations

from dataclasses import dataclass

VERSION = "1"
FPS_TOLERANCE = 0.005
"""Relative: 23.976 and 24 differ by .001 and pass for the same; 24 and 25 do not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What was ordered; None: not checked."""

    frames: int | None = None
    width: int | None = None
    """Pixels."""
    height: int | None = None
    """Pixels."""
    fps: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What came."""

    frames: int
    width: int
    height: int
    fps: float
    problems: tuple[str, ...] = ()
    """What the decoder said."""
    variable_rate: bool = False
    non_finite: float = 0.0
    """Largest share of NaN or infinite values of a frame, 0..1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Off:
    """How far off it is; None: nothing was ordered."""

    length: int | None
    """Frames."""
    size: int | None
    """Pixels."""
    rate: float | None
    """Share of the rate that was ordered."""


def check(expected: Expected) -> None:
    """Raise ValueError on an expectation that no clip can meet."""
    for name in ("frames", "width", "height", "fps"):
        value = getattr(expected, name)
        if value is not None and value <= 0:
            raise ValueError(f"expected {name} {value}: must be above 0")


def compute(found: Found, expected: Expected | None) -> Off:
    """How far what came is from what was ordered. Raises ValueError as `check`."""
    expected = expected or Expected()
    check(expected)
    length = size = rate = None
    if expected.frames is not None:
        length = abs(found.frames - expected.frames)
    if expected.width is not None or expected.height is not None:
        width, height = expected.width or found.width, expected.height or found.height
        size = abs(found.width - width) + abs(found.height - height)
    if expected.fps is not None:
        rate = abs(found.fps / expected.fps - 1)
    return Off(length=length, size=size, rate=rate)


def reduce(found: Found, off: Off) -> dict[str, float]:
    """The metrics: those of what was ordered only where it was."""
    metrics = {"decode_faults": float(len(found.problems)), "non_finite": found.non_finite}
    if off.length is not None:
        metrics["length_error"] = float(off.length)
    if off.size is not None:
        metrics["size_error"] = float(off.size)
    if off.rate is not None:
        metrics["fps_error"] = max(off.rate, 1.0) if found.variable_rate else off.rate
    return metrics


def told(found: Found, off: Off, expected: Expected | None) -> tuple[str, ...]:
    """Every fault in words: `25 frames, 17 expected`.

    What nobody ordered otherwise (a rate that varies, one frame) is told in words alone: no limit
    counts it.
    """
    problems = list(found.problems)
    if found.non_finite > 0:
        problems.append(f"NaN or infinity in {found.non_finite:.1%} of a frame's values")
    if found.variable_rate:
        problems.append("frames are held for different times (variable frame rate)")
    if expected is None:
        if found.frames == 1:
            problems.append("one frame: nothing that takes two was measured")
        return tuple(problems)
    if off.length:
        problems.append(f"{found.frames} frames, {expected.frames} expected")
    if off.size:
        width, height = expected.width or found.width, expected.height or found.height
        problems.append(f"{found.width}x{found.height}, {width}x{height} expected")
    if off.rate is not None and off.rate > FPS_TOLERANCE:
        problems.append(f"{found.fps:.3f} frames a second, {expected.fps:g} expected")
    return tuple(problems)
