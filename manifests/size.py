"""How large, how long, how fast a shot is rendered: what was asked, fitted to what models can."""

from __future__ import annotations

import math
from dataclasses import dataclass

from manifests.families import Family
from manifests.refusal import Refusal

ASPECT_TOLERANCE = 0.05
"""A still whose shape differs by more is cropped with a warning."""
_AREA_WEIGHT = 0.3
"""How much a change of area counts against a change of shape when a size is chosen."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A size, and in words what was done to get it."""

    width: int
    height: int
    snaps: tuple[str, ...] = ()


def fit_frames(frames: int, *, family: Family) -> tuple[int, tuple[str, ...]]:
    """The least valid frame count not below `frames`, and what to say of it. Raises Refusal."""
    if not family.min_frames <= frames <= family.max_frames:
        raise Refusal(
            f"{frames} frames are not in {family.min_frames}..{family.max_frames}, "
            f"which {family.title} renders",
            f"write {min(max(frames, family.min_frames), family.max_frames)}",
        )
    snapped = family.snap_frames(frames)
    if snapped == frames:
        return frames, ()
    return snapped, (f"frames {frames} -> {snapped} ({family.title} renders {family.frame_rule})",)


def check_side(pixels: int, *, family: Family) -> None:
    """Raise Refusal unless a model of the family can render that width or height."""
    if not family.min_size <= pixels <= family.max_size:
        raise Refusal(
            f"{pixels} pixels are not in {family.min_size}..{family.max_size}, "
            f"which {family.title} renders",
            f"write {min(max(pixels, family.min_size), family.max_size)}",
        )


def check_fps(fps: float, *, frames: int, family: Family) -> None:
    """Raise Refusal unless a model of the family knows motion at that rate, and for that long."""
    if fps > family.max_fps:
        raise Refusal(
            f"{fps:g} frames a second are more than the {family.max_fps:g} that "
            f"{family.title} knows motion at",
            f"write {family.max_fps:g} or less",
        )
    longest = family.max_seconds
    if longest is not None and (frames - 1) / fps > longest:
        raise Refusal(
            f"{frames} frames at {fps:g} a second last {(frames - 1) / fps:.2f} seconds, and "
            f"{family.title} knows {longest:g}",
            f"write at least {math.ceil(10 * (frames - 1) / longest) / 10:g}, or fewer frames",
        )


def snap_sides(width: int, height: int, *, family: Family, multiple: int) -> Fitted:
    """Width and height as asked, each to its nearest multiple."""
    snaps = []
    sides = []
    for name, asked in (("width", width), ("height", height)):
        side = family.snap_size(asked, multiple=multiple)
        if side != asked:
            snaps.append(f"{name} {asked} -> {side} (multiple of {multiple})")
        sides.append(side)
    return Fitted(sides[0], sides[1], tuple(snaps))


def other_side(
    given: int, *, aspect: float, names: tuple[str, str], family: Family, multiple: int
) -> tuple[int, int, tuple[str, ...]]:
    """The given side snapped, the other one by `aspect` (other / given), and what was done."""
    side = family.snap_size(given, multiple=multiple)
    other = family.snap_size(round(side * aspect), multiple=multiple)
    snaps = [f"{names[1]} {other} (follows from {names[0]} {given})"]
    if side != given:
        snaps.insert(0, f"{names[0]} {given} -> {side} (multiple of {multiple})")
    return side, other, tuple(snaps)


def choose_size(
    *, preset: tuple[int, int], source: tuple[int, int], family: Family, multiple: int
) -> Fitted:
    """A size of about the preset's area whose shape is nearest to the source's."""
    area = preset[0] * preset[1]
    aspect = source[0] / source[1]
    ideal = math.sqrt(area * aspect)

    def cost(size: tuple[int, int]) -> float:
        shape = abs(math.log(size[0] / size[1] / aspect))
        return shape + _AREA_WEIGHT * abs(math.log(size[0] * size[1] / area))

    low = -(-family.min_size // multiple)
    sides = [multiple * n for n in range(low, family.max_size // multiple + 1)]
    near = [side for side in sides if 0.6 * ideal <= side <= 1.6 * ideal] or [
        family.snap_size(round(ideal), multiple=multiple)
    ]
    sizes = [
        (width, family.snap_size(round(width / aspect) + shift, multiple=multiple))
        for width in near
        for shift in (-multiple // 2, multiple // 2)
    ]
    width, height = min(sizes, key=cost)
    if (width, height) == preset:
        return Fitted(width, height)
    said = (
        f"size {preset[0]}x{preset[1]} -> {width}x{height} "
        f"(shape of the source, {source[0]}x{source[1]})"
    )
    return Fitted(width, height, (said,))


def crop_warning(*, size: tuple[int, int], source: tuple[int, int]) -> str | None:
    """What to say where the source's shape is not the shot's; None where it is."""
    change = (source[0] / source[1]) / (size[0] / size[1])
    if max(change, 1 / change) <= 1 + ASPECT_TOLERANCE:
        return None
    lost = round(100 * (1 - min(change, 1 / change)))
    side = "width" if change > 1 else "height"
    return (
        f"the source ({source[0]}x{source[1]}) is cropped about its centre to {size[0]}x{size[1]}: "
        f"{lost} % of its {side} is lost"
    )
