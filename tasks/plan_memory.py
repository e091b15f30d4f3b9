"""The memory of a night: what each shot needs on each card, said before it starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from manifests.errors import Fault
from manifests.remedy import fewer_frames, load_remedies, smaller
from manifests.settings import Studio
from manifests.shot import Shot
from manifests.stage import Concession, Recipe
from render.errors import WorkerLost
from render.footprint import GIB, Fit, Footprint, fit
from tasks.ask_worker import ask_worker
from tasks.cards import Card, cards_of
from tasks.footprints import Ask, Footprints
from tasks.retake import gives_up

HOST_SHARE = 0.9
"""Of the host's memory: with more weights than that the plan warns."""
SHARES = (0.8, 0.6, 0.4)
"""Of frames, and of width and height, that are looked at where a shot does not fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShotMemory:
    """What one shot needs, and how it fits on every card of the night."""

    footprint: Footprint
    cards: tuple[Card, ...]
    fits: tuple[Fit, ...]
    """In the order of `cards`."""
    hosts: bool = False
    """Whether hosts may bring other cards."""

    @property
    def best(self) -> Fit:
        """On the card where it fits with the fewest rungs, or comes nearest."""
        return min(self.fits, key=lambda f: (not f.fits, len(f.rungs), f.peak / f.card))

    @property
    def anywhere(self) -> bool:
        """Whether some card of the night can render it, or may still come."""
        return self.hosts or self.here

    @property
    def here(self) -> bool:
        """Whether some card of this machine can render it."""
        return any(found.fits for found in self.fits)

    def words(self) -> Iterator[str]:
        """A line for each card: `NVIDIA H200 #0: fits (62.3 of 140.4 GiB)`."""
        for card, found in zip(self.cards, self.fits, strict=True):
            yield f"{card.name}: {found.words}"

    def to_dict(self) -> list[dict[str, Any]]:
        """Plain data, for `--json`."""
        return [
            {
                "card": card.name,
                "card_bytes": card.memory,
                "fits": found.fits,
                "peak_bytes": found.peak,
                "rungs": [rung.value for rung in found.rungs],
            }
            for card, found in zip(self.cards, self.fits, strict=True)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the memory of one shot means for the plan."""

    memory: ShotMemory | None
    warnings: tuple[str, ...] = ()
    fault: Fault | None = None
    """Why it cannot run here."""


UNSEEN = Verdict(memory=None)
"""Of a shot that was not looked at."""


def look_at_memory(
    shots: Sequence[tuple[str, Shot]],
    *,
    studio: Studio,
    card_gb: float | None = None,
    ask: Ask = ask_worker,
) -> list[Verdict]:
    """A verdict for each shot, which comes with the name of its sheet.

    On a CPU nothing is measured and nothing refused, unless hosts may bring cards. A shot that
    fits on no card is refused, with what would fit, unless its recipe concedes frames, size or
    stages: then the night makes it smaller, and the plan says so; or unless hosts may join: then
    it waits for one.
    """
    cards = cards_of(studio, card_gb=card_gb)
    hosts = studio.hosts.listen is not None
    if not (cards or hosts) or not shots:
        return [UNSEEN for _ in shots]
    known = Footprints(studio.state_dir / "footprints.json", studio.models, ask=ask)
    try:
        found = known.of([shot.recipe for _, shot in shots])
    except WorkerLost as error:
        # An estimate that cannot be made must not cost a night: the ladder is there for it.
        words = f"memory: not estimated ({error})"
        return [Verdict(memory=None, warnings=(words,)) for _ in shots]
    host = psutil.virtual_memory().total if card_gb is None else None
    return [
        _verdict(sheet, shot, footprint, cards=cards, known=known, host=host, hosts=hosts)
        for (sheet, shot), footprint in zip(shots, found, strict=True)
    ]


def _verdict(
    sheet: str,
    shot: Shot,
    footprint: Footprint | str,
    *,
    cards: tuple[Card, ...],
    known: Footprints,
    host: int | None,
    hosts: bool,
) -> Verdict:
    recipe = shot.recipe
    if isinstance(footprint, str):
        return Verdict(memory=None, warnings=(f"memory: {footprint}",))
    fits = tuple(fit(footprint, card=card.memory, concessions=recipe.concessions) for card in cards)
    memory = ShotMemory(footprint=footprint, cards=cards, fits=fits, hosts=hosts)
    warnings = [*_warnings(memory, host)]
    if memory.anywhere:
        return Verdict(memory=memory, warnings=tuple(warnings))
    if gives_up(recipe, load_remedies()):
        words = f"memory: {memory.best.words}; the night makes it smaller, as its preset allows"
        return Verdict(memory=memory, warnings=(*warnings, words))
    return Verdict(memory=memory, fault=_fault(sheet, shot, memory, known))


def _warnings(memory: ShotMemory, host: int | None) -> Iterator[str]:
    for card, found in zip(memory.cards, memory.fits, strict=True):
        if found.tight:
            yield f"memory: over 90 % of {card.name}: {found.words}"
        elif not found.fits and memory.here:
            yield f"memory: {card.name}: {found.words}; it fits on another card of this machine"
    if memory.cards and not memory.here and memory.hosts:
        yield f"memory: {memory.best.words}; it waits for a host with a larger card"
    if memory.cards and host is not None and memory.footprint.host_bytes > HOST_SHARE * host:
        yield (
            f"memory: its weights are {memory.footprint.host_bytes / GIB:.0f} GiB, this machine "
            f"has {host / GIB:.0f} GiB to hold them"
        )


def _fault(sheet: str, shot: Shot, memory: ShotMemory, known: Footprints) -> Fault:
    recipe, best = shot.recipe, memory.best
    try:
        would = list(_would_fit(recipe, memory.footprint, card=best.card, known=known))
    except WorkerLost:
        would = []  # the refusal stands without its advice
    return Fault(
        file=Path(sheet),
        row=shot.row,
        shot=shot.id,
        problem=f"{recipe.width}x{recipe.height}, {recipe.frames} frames: {best.words}",
        remedy=", or ".join(would) if would else "choose a smaller model",
    )


def _would_fit(
    recipe: Recipe, footprint: Footprint, *, card: int, known: Footprints
) -> Iterator[str]:
    """What would make the shot fit, in words: a permission, fewer frames, a smaller size."""

    def fits(need: Footprint | str, *more: Concession) -> bool:
        allowed = (*recipe.concessions, *more)
        return isinstance(need, Footprint) and fit(need, card=card, concessions=allowed).fits

    for conceded in (Concession.TILING, Concession.FP8):
        if fits(footprint, conceded):
            yield f"let its preset allow {conceded.value}"
            break
    shorter = [fewer_frames(recipe, share) for share in SHARES]
    lower = [smaller(recipe, share) for share in SHARES]
    needs = dict(zip(map(id, [*shorter, *lower]), known.of([*shorter, *lower]), strict=True))
    if found := next((r for r in shorter if r != recipe and fits(needs[id(r)])), None):
        yield f"write frames {found.frames}"
    if found := next((r for r in lower if r != recipe and fits(needs[id(r)])), None):
        yield f"write width {found.width} and height {found.height}"
