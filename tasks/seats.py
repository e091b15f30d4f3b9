"""Who renders where: seats at the cards of a machine, handed out in the order of the plan.

A card has a few seats, so that the next take waits in its worker already when the card becomes
free, while the one before is still being written. A gang, one take on several cards, gets its
cards empty: they are drained first, and nobody else is seated at them meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count


@dataclass(slots=True)
class _Card:
    """One card."""

    seats: int
    taken: int = 0
    warm: str = ""
    """Model of the take that was seated last: it will be warm when that one is done."""


@dataclass(order=True, slots=True)
class _Wish:
    """Somebody who waits for seats; sorted as they are served."""

    place: int
    arrival: int
    model: str = field(compare=False)
    cards: int = field(compare=False)
    """1: one seat. More: so many cards, empty."""
    granted: asyncio.Future[tuple[int, ...]] = field(compare=False)


class Seats:
    """The seats of all cards. For one event loop; its methods never block it."""

    def __init__(self, seats: Sequence[int]) -> None:
        """`seats` holds the number of seats of each card, at least 1."""
        self._cards = [_Card(each) for each in seats]
        self._wishes: list[_Wish] = []
        self._arrivals = count()

    @property
    def taken(self) -> tuple[int, ...]:
        """Seats that are taken, for each card."""
        return tuple(card.taken for card in self._cards)

    @asynccontextmanager
    async def one(self, *, model: str, place: int) -> AsyncIterator[int]:
        """A seat at a card: its index. Smaller places are served first, then who came first.

        Of the free cards the emptiest is chosen; one where another model is warm counts as one
        take fuller, for the time that loading takes.
        """
        (card,) = await self._granted(model, place, cards=1)
        try:
            yield card
        finally:
            self._cards[card].taken -= 1
            self._serve()

    @asynccontextmanager
    async def gang(self, *, size: int, model: str, place: int) -> AsyncIterator[tuple[int, ...]]:
        """All seats of `size` cards: their indices. Raises ValueError where there are not so many.

        While it waits, nobody of a later place is seated at the cards that become empty first.
        """
        if not 1 < size <= len(self._cards):
            raise ValueError(f"a gang of {size} at {len(self._cards)} cards")
        cards = await self._granted(model, place, cards=size)
        try:
            yield cards
        finally:
            for card in cards:
                self._cards[card].taken -= self._cards[card].seats
            self._serve()

    async def _granted(self, model: str, place: int, *, cards: int) -> tuple[int, ...]:
        granted: asyncio.Future[tuple[int, ...]] = asyncio.get_running_loop().create_future()
        wish = _Wish(place, next(self._arrivals), model, cards, granted)
        self._wishes.append(wish)
        self._serve()
        try:
            return await granted
        except asyncio.CancelledError:
            # It may have been granted in the very turn in which its owner gave up.
            if granted.done() and not granted.cancelled():
                for card in granted.result():
                    self._cards[card].taken -= 1 if cards == 1 else self._cards[card].seats
            self._wishes = [other for other in self._wishes if other is not wish]
            self._serve()
            raise

    def _serve(self) -> None:
        """Seat everybody who can be seated now, in their order."""
        closed: set[int] = set()
        for wish in sorted(self._wishes):
            if wish.granted.done():
                continue
            found = self._one(wish, closed) if wish.cards == 1 else self._gang(wish, closed)
            if found:
                wish.granted.set_result(found)
        self._wishes = [wish for wish in self._wishes if not wish.granted.done()]

    def _one(self, wish: _Wish, closed: set[int]) -> tuple[int, ...]:
        free = [
            index
            for index, card in enumerate(self._cards)
            if card.taken < card.seats and index not in closed
        ]
        if not free:
            return ()
        best = min(
            free,
            key=lambda index: (
                self._cards[index].taken + (self._cards[index].warm != wish.model),
                self._cards[index].taken,
                index,
            ),
        )
        self._cards[best].taken += 1
        self._cards[best].warm = wish.model
        return (best,)

    def _gang(self, wish: _Wish, closed: set[int]) -> tuple[int, ...]:
        """The gang's cards if they are empty now; else they are closed to those behind it."""
        open_cards = [index for index in range(len(self._cards)) if index not in closed]
        chosen = sorted(open_cards, key=lambda index: (self._cards[index].taken, index))
        chosen = sorted(chosen[: wish.cards])
        closed.update(chosen)
        if len(chosen) < wish.cards or any(self._cards[index].taken for index in chosen):
            return ()
        for index in chosen:
            self._cards[index].taken = self._cards[index].seats
            self._cards[index].warm = wish.model
        return tuple(chosen)
