"""Seats at cards: never too many, in the order of the plan, gangs alone, everybody served."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.seats import Seats


@dataclass(frozen=True)
class Guest:
    place: int
    model: str
    size: int
    """Cards it asks for."""
    stays: int
    """Turns of the loop."""
    gives_up: int | None
    """Turns after which it is cancelled, or None."""


guests = st.builds(
    Guest,
    place=st.integers(0, 9),
    model=st.sampled_from(["a", "b"]),
    size=st.integers(1, 3),
    stays=st.integers(0, 4),
    gives_up=st.none() | st.integers(0, 6),
)


class Room:
    """Counts who sits where, and checks the laws at every moment."""

    def __init__(self, seats: list[int]) -> None:
        self.limits = seats
        self.seats = Seats(seats)
        self.at: list[list[Guest]] = [[] for _ in seats]
        self.served: list[Guest] = []

    async def visit(self, guest: Guest) -> None:
        size = min(guest.size, len(self.limits))
        if size == 1:
            async with self.seats.one(model=guest.model, place=guest.place) as card:
                await self.sit(guest, (card,))
        else:
            seats = self.seats.gang(size=size, model=guest.model, place=guest.place)
            async with seats as cards:
                assert len(set(cards)) == size
                await self.sit(guest, cards)

    async def sit(self, guest: Guest, cards: tuple[int, ...]) -> None:
        self.served.append(guest)
        for card in cards:
            self.at[card].append(guest)
            assert len(self.at[card]) <= self.limits[card]
            alone = any(len(self.limits) > 1 < one.size for one in self.at[card])
            assert len(self.at[card]) == 1 or not alone
        try:
            for _ in range(guest.stays):
                await asyncio.sleep(0)
        finally:
            for card in cards:
                self.at[card].remove(guest)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=3), st.lists(guests, max_size=12))
def test_seats_are_never_overfull_and_everybody_is_served(
    limits: list[int], visitors: list[Guest]
) -> None:
    """Whoever does not give up is served; at the end every seat is free."""

    async def evening() -> None:
        room = Room(limits)
        tasks = [asyncio.create_task(room.visit(guest)) for guest in visitors]
        for turn in range(7):
            await asyncio.sleep(0)
            for guest, task in zip(visitors, tasks, strict=True):
                if guest.gives_up == turn:
                    task.cancel()
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
        for guest, result in zip(visitors, results, strict=True):
            assert result is None or (
                isinstance(result, asyncio.CancelledError) and guest.gives_up is not None
            )
        assert room.seats.taken == (0,) * len(limits)

    asyncio.run(evening())


def _order(wishes: list[tuple[str, int]], *, seats: list[int]) -> list[str]:
    """Names in the order in which they are seated, one turn each."""

    async def evening() -> list[str]:
        room, seated = Seats(seats), []

        async def visit(name: str, place: int) -> None:
            async with room.one(model="m", place=place):
                seated.append(name)
                await asyncio.sleep(0)

        await asyncio.gather(*(visit(name, place) for name, place in wishes))
        return seated

    return asyncio.run(evening())


def test_a_retake_is_seated_before_shots_that_come_later_in_the_plan() -> None:
    """The first who comes is seated; then places decide, and equal places keep their order."""
    wishes = [("shot 4", 4), ("shot 5", 5), ("shot 6", 6), ("retake of shot 1", 1), ("again", 1)]
    assert _order(wishes, seats=[1]) == [
        "shot 4",
        "retake of shot 1",
        "again",
        "shot 5",
        "shot 6",
    ]


def _seated(models: str, *, seats: list[int]) -> list[int]:
    """The cards at which takes of these models are seated, one after another; none leaves."""

    async def evening() -> list[int]:
        room, cards = Seats(seats), list[int]()
        async with AsyncExitStack() as stack:
            for model in models:
                cards.append(await stack.enter_async_context(room.one(model=model, place=0)))
        return cards

    return asyncio.run(evening())


def test_takes_of_one_model_are_spread_over_the_cards() -> None:
    """An idle card is taken before anybody waits at one where the model is warm."""
    assert _seated("aaaaaa", seats=[3, 3]) == [0, 1, 0, 1, 0, 1]


def test_two_models_keep_their_cards() -> None:
    """With two at each card, a take waits where its model is warm; with more, anywhere."""
    assert _seated("abab", seats=[3, 3]) == [0, 1, 0, 1]
    assert _seated("abbab", seats=[3, 3]) == [0, 1, 1, 0, 1]
    assert _seated("abbbb", seats=[3, 3]) == [0, 1, 1, 0, 0]


def test_a_gang_is_not_starved_by_single_takes() -> None:
    """While a gang waits for two cards, no later take is seated at them."""

    async def evening() -> list[str]:
        room, seated = Seats([2, 2]), []

        async def single(name: str, place: int) -> None:
            async with room.one(model="m", place=place):
                seated.append(name)
                for _ in range(3):
                    await asyncio.sleep(0)

        async def gang() -> None:
            async with room.gang(size=2, model="m", place=5):
                seated.append("gang")
                assert room.taken == (2, 2)

        early = [single(f"early {n}", n) for n in range(3)]
        late = [single(f"late {n}", 6 + n) for n in range(5)]
        await asyncio.gather(*early, gang(), *late)
        return seated

    order = asyncio.run(evening())
    assert order.index("gang") == 3
    assert len(order) == 9


def test_a_gang_larger_than_the_machine_is_an_error() -> None:
    """The pool makes no gang of more cards than there are."""

    async def evening() -> None:
        async with Seats([1]).gang(size=2, model="m", place=0):
            pass

    with pytest.raises(ValueError, match="a gang of 2 at 1 cards"):
        asyncio.run(evening())
