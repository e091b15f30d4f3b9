"""Who renders where: seats at the cards of a machine, handed out in the order of the plan.

A card has a few seats, so that the next take waits in its worker already when the card becomes
free, while the one before is still being written. A gang, one take on several cards, gets its
cards empty: they are drained first, and nobody else is seated at them meanwhile.

Not every card is for everybody: a take may not be given to some, had better not be given to
others, and a card that somebody else uses is away until it comes back. Cards come and go with
their hosts; one that is gone keeps its number for when it is here again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count


class NoCard(LookupError):
    """There are fewer cards than are wished for that this work may be given to."""


def anywhere(card: int) -> bool:
    """Any card will do."""
    return True


@dataclass(slots=True)
class _Card:
    """One card."""

    seats: int
    taken: int = 0
    warm: str = ""
    """Model of the take that was seated last: it will be warm when that one is done."""
    away: bool = False
    """Somebody else uses it: nobody is seated at it."""
    room: int | None = None
    """Bytes that others leave of its memory; None: all of it."""
    gone: bool = False
    """Its host is not here."""
    group: str = ""
    """Its host: a gang's cards are of one."""


@dataclass(order=True, slots=True)
class _Wish:
    """Somebody who waits for seats; sorted as they are served."""

    place: int
    arrival: int
    model: str = field(compare=False)
    cards: int = field(compare=False)
    """1: one seat. More: so many cards, empty."""
    may: Callable[[int], bool] = field(compare=False)
    avoid: Collection[int] = field(compare=False)
    needs: int = field(compare=False)
    """Bytes of a card's memory."""
    granted: asyncio.Future[tuple[int, ...]] = field(compare=False)
    prefer: int | None = field(compare=False, default=None)
    """The card that asked for it."""


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

    def count(self, may: Callable[[int], bool]) -> int:
        """Cards that some work may be given to: those that are away, not those that are gone."""
        return len(self._there(may))

    def together(self, may: Callable[[int], bool]) -> int:
        """The most such cards that are of one host."""
        return max(
            Counter(self._cards[card].group for card in self._there(may)).values(), default=0
        )

    def _there(self, may: Callable[[int], bool]) -> list[int]:
        return [index for index, card in enumerate(self._cards) if not card.gone and may(index)]

    def add(self, seats: int, *, group: str) -> int:
        """One more card, which is gone until it arrives; its index."""
        self._cards.append(_Card(seats, gone=True, group=group))
        return len(self._cards) - 1

    def arrive(self, card: int) -> None:
        """The card is here now."""
        self._cards[card].gone = False
        self._serve()

    def depart(self, card: int) -> None:
        """The card's host is not here any more; who sits at it gives the seat back as ever."""
        self._cards[card].gone, self._cards[card].warm = True, ""
        self._serve()

    def leave(self, card: int) -> None:
        """Somebody else uses the card: nobody is seated at it until it comes back."""
        self._cards[card].away = True
        self._serve()

    def come_back(self, card: int) -> None:
        """The card is ours again."""
        self._cards[card].away = False
        self._serve()

    def squeeze(self, card: int, room: int | None) -> None:
        """Others hold memory of the card and leave `room` bytes: who needs more waits meanwhile.
        None: it is all ours."""
        if self._cards[card].room != room:
            self._cards[card].room = room
            self._serve()

    @asynccontextmanager
    async def one(
        self,
        *,
        model: str,
        place: int,
        may: Callable[[int], bool] = anywhere,
        avoid: Collection[int] = (),
        needs: int = 0,
        prefer: int | None = None,
    ) -> AsyncIterator[int]:
        """A seat at a card: its index. Smaller places are served first, then who came first.

        Of the free cards the emptiest is chosen; one where another model is warm counts as one
        take fuller, for the time that loading takes. Where it may have the card that it would
        `prefer`, it waits for that one, unless another has nothing to do. Cards to `avoid` are
        only taken where no other is there that it `may` have, busy or not. It waits for a card of
        which others leave the bytes that it `needs`. Raises NoCard, also later on, when it may
        have none.
        """
        (card,) = await self._granted(
            model, place, cards=1, may=may, avoid=avoid, needs=needs, prefer=prefer
        )
        try:
            yield card
        finally:
            self._cards[card].taken -= 1
            self._serve()

    @asynccontextmanager
    async def gang(
        self,
        *,
        size: int,
        model: str,
        place: int,
        may: Callable[[int], bool] = anywhere,
        needs: int = 0,
    ) -> AsyncIterator[tuple[int, ...]]:
        """All seats of `size` cards of one host: their indices. Raises ValueError where there are
        not so many, and NoCard, also later on, when it `may` not have so many.

        While it waits, nobody of a later place is seated at the cards that become empty first;
        where too many cards are away, or lack the memory that it `needs`, it waits without keeping
        others from the rest.
        """
        if not 1 < size <= len(self._cards):
            raise ValueError(f"a gang of {size} at {len(self._cards)} cards")
        cards = await self._granted(model, place, cards=size, may=may, needs=needs)
        try:
            yield cards
        finally:
            for card in cards:
                self._cards[card].taken -= self._cards[card].seats
            self._serve()

    async def _granted(
        self,
        model: str,
        place: int,
        *,
        cards: int,
        may: Callable[[int], bool],
        avoid: Collection[int] = (),
        needs: int = 0,
        prefer: int | None = None,
    ) -> tuple[int, ...]:
        granted: asyncio.Future[tuple[int, ...]] = asyncio.get_running_loop().create_future()
        wish = _Wish(place, next(self._arrivals), model, cards, may, avoid, needs, granted, prefer)
        self._wishes.append(wish)
        self._serve()
        try:
            return await granted
        except asyncio.CancelledError:
            # It may have been granted in the very turn in which its owner gave up.
            if granted.done() and not granted.cancelled() and granted.exception() is None:
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
            room = self.count(wish.may) if wish.cards == 1 else self.together(wish.may)
            if room < wish.cards:
                wish.granted.set_exception(NoCard(f"{wish.cards} of {len(self._cards)} cards"))
                continue
            found = self._one(wish, closed) if wish.cards == 1 else self._gang(wish, closed)
            if found:
                wish.granted.set_result(found)
        self._wishes = [wish for wish in self._wishes if not wish.granted.done()]

    def _one(self, wish: _Wish, closed: set[int]) -> tuple[int, ...]:
        here = self._here(wish)
        better = [index for index in here if index not in wish.avoid]
        free = [
            index
            for index in better or here
            if self._cards[index].taken < self._cards[index].seats and index not in closed
        ]
        if wish.prefer in (better or here):
            free = [index for index in free if index == wish.prefer or not self._cards[index].taken]
        if not free:
            return ()
        best = min(
            free,
            key=lambda i: (i != wish.prefer, self._cost(self._cards[i], wish), i),
        )
        self._cards[best].taken += 1
        self._cards[best].warm = wish.model
        return (best,)

    def _cost(self, card: _Card, wish: _Wish) -> tuple[int, int]:
        """The smallest is where it has its turn soonest, another model counted as one take more for
        the time that loading takes."""
        return card.taken + (card.warm != wish.model), card.taken

    def _offer(self, cards: list[int], size: int, closed: set[int]) -> list[int]:
        """Of one host's cards, the emptiest that are not closed, at most `size` of them."""
        open_cards = [index for index in cards if index not in closed]
        emptiest = sorted(open_cards, key=lambda index: (self._cards[index].taken, index))
        return sorted(emptiest[:size])

    def _load(self, cards: Sequence[int]) -> int:
        return sum(self._cards[index].taken for index in cards)

    def _here(self, wish: _Wish) -> list[int]:
        cards = enumerate(self._cards)
        return [
            i
            for i, card in cards
            if not (card.away or card.gone)
            and (card.room is None or card.room >= wish.needs)
            and wish.may(i)
        ]

    def _gang(self, wish: _Wish, closed: set[int]) -> tuple[int, ...]:
        """The gang's cards if they are empty now; else they are closed to those behind it."""
        hosts: dict[str, list[int]] = {}
        for index in self._here(wish):
            hosts.setdefault(self._cards[index].group, []).append(index)
        offers = [
            self._offer(cards, wish.cards, closed)
            for cards in hosts.values()
            if len(cards) >= wish.cards
        ]
        if not offers:
            return ()
        chosen = min(offers, key=lambda offer: (-len(offer), self._load(offer)))
        closed.update(chosen)
        if len(chosen) < wish.cards or any(self._cards[index].taken for index in chosen):
            return ()
        for index in chosen:
            self._cards[index].taken = self._cards[index].seats
            self._cards[index].warm = wish.model
        return tuple(chosen)
