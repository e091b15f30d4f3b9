"""The cards that render, and which of them can render one shot together. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tasks.chains import Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A card that renders."""

    name: str
    memory: int
    """Bytes that a take may use."""
    speed: float = 1.0
    """How many reference seconds of work it does in a second, above 0."""
    group: str = ""
    """Its host: one shot is rendered by cards of one group."""


class CardGroups:
    """Cards side by side: a shot on several of them takes cards of one host, at the pace of the
    slowest."""

    def __init__(self, cards: Sequence[Card]) -> None:
        self._cards = tuple(cards)
        self._largest = max((card.memory for card in cards), default=0)
        self._holding: dict[int, Counter[str]] = {}
        """By memory: how many cards of each group hold it."""

    def clamped(self, work: Work) -> Work:
        """The work with as many cards as there are for it: at least one."""
        if work.cards == 1:
            return work
        most = max(self._groups(self._needed(work)).values(), default=1)
        return work if work.cards <= most else replace(work, cards=most)

    def has_room(self, card: Card, *, cards: int, memory: int) -> bool:
        """Whether the card's group has so many cards that hold so much, this one included."""
        if card.memory < memory:
            return False
        return cards == 1 or self._groups(memory)[card.group] >= cards

    def companions(
        self, work: Work, leader: Card, busy_until: Callable[[str], float]
    ) -> tuple[Card, ...]:
        """The cards that render it with the one that took it: those that are free soonest."""
        if work.cards == 1:
            return ()
        others = [
            card
            for card in self._cards
            if card.group == leader.group
            and card.name != leader.name
            and card.memory >= self._needed(work)
        ]
        others.sort(key=lambda card: (busy_until(card.name), -card.speed))
        return tuple(others[: work.cards - 1])

    def _needed(self, work: Work) -> int:
        """Memory of the cards that it may have: where it fits on none, of the largest."""
        return min(work.memory, self._largest)

    def _groups(self, memory: int) -> Counter[str]:
        if memory not in self._holding:
            self._holding[memory] = Counter(
                card.group for card in self._cards if card.memory >= memory
            )
        return self._holding[memory]
