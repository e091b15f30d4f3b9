"""Cards that failed too often for a kind of work: they get no more of it tonight.

What a machine failure says about its card depends on its class. Memory that ran out says something
about that model at that size; a worker that died, a card that faulted or a take that stood still
says something about the card as a whole. A full disk, a folder that belongs to another attempt and
a failed picture say nothing about it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from manifests.stage import Recipe
from render.errors import DiskFull, MachineFailure, OutOfMemory, Superseded

MOST_FAILURES = 3
"""So many failures of one class, with no success between, take a card out."""
MOST_OF_ONE_TAKE = 2
"""A take is counted so often at most: one that fails anywhere does not take a card with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What renders alike, as far as memory goes."""

    model: str
    width: int
    height: int
    frames: int

    @classmethod
    def of(cls, recipe: Recipe) -> Self:
        """The kind of work that a recipe is."""
        return cls(
            model=recipe.model, width=recipe.width, height=recipe.height, frames=recipe.frames
        )

    def __str__(self) -> str:
        return f"{self.model} at {self.width}x{self.height}, {self.frames} frames"


@dataclass(frozen=True, slots=True)
class _Case:
    """What is counted together."""

    card: int
    error: str
    """Class name of the failure."""
    work: Work | None
    """None: every kind of work."""


class Blocklist:
    """Failures of the cards of one night, and what they are not given any more."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        """`names` of the cards, for people; cards are counted as they stand here."""
        self.know(names)
        self._counts: dict[_Case, Counter[str]] = {}
        """Failures since the last success, by take."""
        self._out: dict[_Case, str] = {}
        self._failed_on: dict[str, set[int]] = {}

    def know(self, names: Sequence[str]) -> None:
        """The cards by now: those that came stand behind those that were known."""
        self._names = tuple(names)

    def failed(self, card: int, *, take: str, work: Work, error: Exception) -> str | None:
        """A take failed on a card. In words, what the card is taken out for; None: for nothing."""
        if not isinstance(error, MachineFailure) or isinstance(error, DiskFull | Superseded):
            return None
        self._failed_on.setdefault(take, set()).add(card)
        # NOTE: a subclass that the pool makes for itself is told under the name that people know.
        case = _Case(card, _public_name(error), work if isinstance(error, OutOfMemory) else None)
        takes = self._counts.setdefault(case, Counter())
        takes[take] = min(takes[take] + 1, MOST_OF_ONE_TAKE)
        if case in self._out or takes.total() < MOST_FAILURES:
            return None
        kind = "takes" if case.work is None else f"takes of {case.work}"
        self._out[case] = (
            f"{self._names[card]} renders no more {kind} tonight: {MOST_FAILURES} failures "
            f"({case.error}) with no success between, the last one: {error}"
        )
        return self._out[case]

    def succeeded(self, card: int, *, take: str, work: Work) -> None:
        """A take was rendered on a card: what was counted against this is forgotten.

        What the card was taken out for stays so.
        """
        self._failed_on.pop(take, None)
        for case in [c for c in self._counts if c.card == card and c.work in (None, work)]:
            del self._counts[case]

    def is_open(self, card: int, work: Work) -> bool:
        """Whether the card may be given this work."""
        return not any(case.card == card and case.work in (None, work) for case in self._out)

    def failed_on(self, take: str) -> frozenset[int]:
        """Cards on which this take failed tonight by machine: others are to be tried first."""
        return frozenset(self._failed_on.get(take, ()))

    def why(self, work: Work) -> tuple[str, ...]:
        """What keeps cards from this work, in words."""
        return tuple(words for case, words in self._out.items() if case.work in (None, work))

    def is_memory_alone(self, work: Work) -> bool:
        """Whether the cards are kept from this work by its size alone: smaller takes may fit."""
        reasons = [case.work for case in self._out if case.work in (None, work)]
        return bool(reasons) and None not in reasons


def _public_name(error: Exception) -> str:
    return next(kind.__name__ for kind in type(error).__mro__ if not kind.__name__.startswith("_"))
