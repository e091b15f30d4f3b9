"""How much memory a take needs, and what fits on a card of a given size. No torch in here.

A footprint is measured without weights and without a card (`render.meter`): every module is run
once on tensors that have shapes and no values, and the bytes that live at once are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

from manifests.stage import Concession
from render.ladder import Phase, Rung, allowed_rungs, eases, rung_words
from render.order import ModelRef

GIB = 2**30
"""What card makers call a gigabyte."""
CONTEXT = 700 * 2**20
"""Bytes of a card that a process takes beside its tensors: context and kernels (0.68 GiB measured
on an H200, torch 2.11)."""
SLACK = 1.04
"""What is reserved against what is used: holes between tensors of many sizes."""
WARN_SHARE = 0.90
"""Of a card: with more than this the plan warns."""
FIT_SHARE = 0.95
"""Of a card: with more than this a take is taken not to fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FootprintOrder:
    """What the memory of a take depends on."""

    model: ModelRef
    precision: str
    """Of the transformer."""
    vae_precision: str
    width: int
    height: int
    frames: int
    image_to_video: bool
    """Whether there is a still to encode."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `from_dict` is its inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> FootprintOrder:
        """The order that `to_dict` wrote. Raises TypeError or KeyError."""
        return cls(**{**data, "model": ModelRef(**data["model"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A component's weights, bytes."""

    whole: int
    swapped: int
    """Of it on the card at once when its blocks come from host memory."""
    narrow: int
    """Of it when its weights are stored in 8 bits; `whole` for what is never stored so."""
    narrow_swapped: int
    """Both at once."""
    encoder: bool
    """Leaves the card when text and still are encoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One thing that a component does in a take."""

    name: str
    """For people: `text`, `still`, `sampling`, `decode`."""
    phase: Phase
    part: str
    """Name of the component."""
    room: int
    """Bytes beside the weights, at most."""
    tiled_room: int | None = None
    """The same when it works in tiles; None: it cannot."""


def decode_work(room: Callable[[bool], int]) -> Work:
    """What the VAE does at the end; `room(tiled)` is what it needs, whole or in tiles."""
    whole, tiled = room(False), room(True)
    return Work(
        name="decode", phase=Phase.DECODE, part="vae", room=whole, tiled_room=min(whole, tiled)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """The memory of one take."""

    parts: Mapping[str, Part]
    works: tuple[Work, ...]

    def needs(self, work: Work, rungs: Collection[Rung]) -> int:
        """Bytes that must fit beside each other on the card while `work` is done."""
        tiled = Rung.TILING in rungs and work.tiled_room is not None
        room = work.tiled_room if tiled else work.room
        assert room is not None
        if Rung.ALONE in rungs:
            here = {work.part}
        else:
            # A warm worker has every module of the take before; encoders have left by then.
            here = {
                name
                for name, part in self.parts.items()
                if not part.encoder or work.phase is Phase.ENCODE
            }
        return room + sum(_bytes(self.parts[name], rungs) for name in here)

    def peak(self, rungs: Collection[Rung] = ()) -> int:
        """Bytes of tensors on the card at most, with these rungs in force."""
        return max(self.needs(work, rungs) for work in self.works)

    @property
    def host_bytes(self) -> int:
        """All weights: while they wait they are in host memory."""
        return sum(part.whole for part in self.parts.values())

    def room(self, rungs: Collection[Rung]) -> dict[str, int]:
        """Bytes that each component needs beside its weights, for `RenderOrder.room`."""
        found: dict[str, int] = {}
        for work in self.works:
            tiled = Rung.TILING in rungs and work.tiled_room is not None
            room = int(SLACK * ((work.tiled_room if tiled else work.room) or 0))
            found[work.part] = max(found.get(work.part, 0), room)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `from_dict` is its inverse."""
        return {
            "parts": {name: asdict(part) for name, part in self.parts.items()},
            "works": [{**asdict(work), "phase": work.phase.value} for work in self.works],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Footprint:
        """The footprint that `to_dict` wrote. Raises TypeError, ValueError or KeyError."""
        works = tuple(Work(**{**work, "phase": Phase(work["phase"])}) for work in data["works"])
        return cls(parts={name: Part(**part) for name, part in data["parts"].items()}, works=works)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Whether a take fits on a card, and how."""

    fits: bool
    rungs: tuple[Rung, ...]
    """That it needs; where it does not fit, all that it may take."""
    peak: int
    """Bytes of the card that it uses at most, with those rungs."""
    card: int
    """Bytes of the card."""
    tightest: str
    """The work that needs most: `sampling`, `decode` ..."""

    @property
    def tight(self) -> bool:
        """It fits with little to spare."""
        return self.fits and self.peak > WARN_SHARE * self.card

    @property
    def words(self) -> str:
        """`fits (18.2 of 24 GiB)`, `fits with one module at a time on the card (...)`."""
        figures = f"{self.peak / GIB:.1f} of {self.card / GIB:.0f} GiB"
        how = f" with {rung_words(rung.value for rung in self.rungs)}" if self.rungs else ""
        if self.fits:
            return f"fits{how} ({figures})"
        return f"does not fit{how} ({figures}, {self.tightest})"


def fit(footprint: Footprint, *, card: int, concessions: Collection[Concession] = ()) -> Fit:
    """The fewest rungs, cheapest first, with which the take fits on `card` bytes.

    Each work that does not fit takes the next rung that eases it, as a take does that runs out.
    """
    allowed = [r for r in allowed_rungs(concessions, on_card=True) if r is not Rung.CACHE]
    taken: list[Rung] = []
    while True:
        work = max(footprint.works, key=lambda work: footprint.needs(work, taken))
        peak = card_peak(footprint.needs(work, taken))
        fits = peak <= FIT_SHARE * card
        rung = next((r for r in allowed if r not in taken and eases(r, work.phase)), None)
        if fits or rung is None:
            order = tuple(r for r in Rung if r in taken)
            return Fit(fits=fits, rungs=order, peak=peak, card=card, tightest=work.name)
        taken.append(rung)


def least_card(footprint: Footprint, *, concessions: Collection[Concession] = ()) -> int:
    """Bytes of the smallest card on which the take fits, with every rung that it may take."""
    return ceil(fit(footprint, card=0, concessions=concessions).peak / FIT_SHARE)


def card_peak(tensors: int) -> int:
    """Bytes of a card that a process uses whose tensors take `tensors` at most."""
    return CONTEXT + int(SLACK * tensors)


def _bytes(part: Part, rungs: Collection[Rung]) -> int:
    narrow = Rung.FP8 in rungs
    if Rung.SWAP in rungs:
        return part.narrow_swapped if narrow else part.swapped
    return part.narrow if narrow else part.whole
