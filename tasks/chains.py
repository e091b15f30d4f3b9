"""Shots that come after others: in which order, how long a chain is, what hangs on it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

EACH_FURTHER = 0.75
"""What a further card adds to a take on several, of what the first one does: two were 1.76 times as
fast as one over 81 frames (`benchmarks/gpus.py`); short takes gain less, and some nothing."""


class Impossible(ValueError):
    """Work that no card can ever take: its ids and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A shot to be rendered, as the dispatcher sees it."""

    id: str
    model: str
    seconds: float
    """Expected, on one card of speed 1, model load excluded."""
    memory: int = 0
    """Bytes it needs on a card."""
    priority: int = 0
    deadline: float | None = None
    """Seconds, on the clock of whoever drives the dispatcher."""
    after: tuple[str, ...] = ()
    """Shots that must be done before: it starts from their last frames."""
    cards: int = 1
    """Cards that render it together, at least 1; fewer where there are not so many."""

    def together(self, seconds: float) -> float:
        """Seconds on all its cards of what takes `seconds` on one of them."""
        return seconds / (1 + EACH_FURTHER * (self.cards - 1))

    @property
    def span(self) -> float:
        """Seconds from its begin to its end, on cards of speed 1."""
        return self.together(self.seconds)

    @property
    def area(self) -> float:
        """Seconds that its cards spend on it, all together."""
        return self.cards * self.span


def urgent_priorities(
    works: Mapping[str, Work], order: Sequence[str], followers: Mapping[str, Sequence[str]]
) -> dict[str, int]:
    """The priority of each shot: its own, or that of one that waits for it, if that is higher."""
    found: dict[str, int] = {}
    for name in reversed(order):
        behind = (found[after] for after in followers.get(name, ()))
        found[name] = max([works[name].priority, *behind])
    return found


def due_times(
    works: Mapping[str, Work], order: Sequence[str], followers: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    """When each shot must have ended so that it and all that follow it keep their deadlines.

    Only shots that a deadline hangs on are in it. In `order` no shot comes before one that it
    comes after.
    """
    due: dict[str, float] = {}
    for name in reversed(order):
        behind = [after for after in followers.get(name, ()) if after in due]
        times = [due[after] - works[after].span for after in behind]
        own = works[name].deadline
        if own is not None:
            times.append(own)
        if times:
            due[name] = min(times)
    return due


def order_of(works: Mapping[str, Work], followers: Mapping[str, Sequence[str]]) -> list[str]:
    """The shots, none before one that it comes after. Raises Impossible for a circle."""
    waits = {name: len(set(work.after)) for name, work in works.items()}
    order = [name for name, number in waits.items() if number == 0]
    for name in order:  # grows while it is walked: a shot comes once all before it have come
        for follower in followers.get(name, ()):
            waits[follower] -= 1
            if waits[follower] == 0:
                order.append(follower)
    if len(order) < len(works):
        circle = sorted(name for name, number in waits.items() if number)
        raise Impossible(f"{', '.join(circle[:5])} wait for each other")
    return order


def chain_seconds(
    works: Mapping[str, Work], order: Sequence[str], followers: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    """Seconds of each shot with the longest line of shots that must follow it."""
    chain: dict[str, float] = {}
    for name in reversed(order):
        behind = (chain[follower] for follower in followers.get(name, ()))
        chain[name] = works[name].span + max(behind, default=0.0)
    return chain
