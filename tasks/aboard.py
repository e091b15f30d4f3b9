"""Who is in work at one card: whose turn it is, how long each may take, who was only near.

Several takes are in a card's worker at once, but only one has the card. So a budget runs from the
moment a take begins to work; and when the worker dies, only the take that had the card is blamed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class _Passenger:
    """A take in a card's worker."""

    budget: float
    deadline: float
    begun: bool = False
    near: bool | None = None
    """Once its worker died: whether another take had the card."""


class Aboard:
    """The takes in one card's worker, by take id; one id is aboard once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds that never go back."""
        self._clock = clock
        self._takes: dict[str, _Passenger] = {}
        self._holder: str | None = None
        """Who began last in this life of the worker."""

    def enter(self, take_id: str, *, budget: float) -> None:
        """A take was sent: until it begins, those before it may use up their budgets too."""
        ahead = sum(other.budget for other in self._takes.values())
        self._takes[take_id] = _Passenger(budget, self._clock() + ahead + budget)

    def told(self, take_id: str) -> None:
        """A take made progress. Its first progress means that it has the card now."""
        take = self._takes.get(take_id)
        if take is not None and not take.begun and take.near is None:
            take.begun, self._holder = True, take_id
            take.deadline = self._clock() + take.budget

    def leave(self, take_id: str) -> None:
        """A take is over, one way or another."""
        self._takes.pop(take_id, None)

    def seconds_left(self, take_id: str) -> float:
        """Until the take counts as stuck; negative when it is."""
        return self._takes[take_id].deadline - self._clock()

    def lost(self, take_id: str) -> bool:
        """The worker died with this take in it: whether another take had the card.

        Who is asked first settles it for all that were in the worker; where none had begun,
        nobody is known to have been only near. Those that enter later are in a new worker.
        """
        if self._takes[take_id].near is None:
            for name, take in self._takes.items():
                if take.near is None:
                    take.near = self._holder is not None and self._holder != name
            self._holder = None
        return bool(self._takes[take_id].near)
