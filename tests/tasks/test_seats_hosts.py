"""Seats while hosts come and go: nobody is seated at what is not here, gangs stay on one host."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waiting import in_time

from tasks.seats import NoCard, Seats, anywhere


def _run(work: Callable[[], Awaitable[None]]) -> None:
    in_time(work())


def test_a_take_gets_a_card_that_arrives_while_it_waits() -> None:
    """The card had been added and was not here yet: it is busy elsewhere that made it wait."""

    async def work() -> None:
        seats = Seats([1])
        late = seats.add(1, group="b")
        async with seats.one(model="m", place=0) as first:
            assert first == 0
            waiting = asyncio.create_task(seats.one(model="m", place=0).__aenter__())
            await asyncio.sleep(0)
            assert not waiting.done()
            seats.arrive(late)
            assert await waiting == late

    _run(work)


def test_who_waits_for_a_card_whose_host_leaves_is_told() -> None:
    """Where no other is there that it may have: a card that is away alone would be waited for."""

    async def work() -> None:
        seats = Seats([])
        card = seats.add(1, group="b")
        seats.arrive(card)
        seats.leave(card)
        waiting = asyncio.create_task(seats.one(model="m", place=0).__aenter__())
        await asyncio.sleep(0)
        assert not waiting.done()
        seats.depart(card)
        with pytest.raises(NoCard):
            await waiting

    _run(work)


def test_a_card_that_comes_again_holds_no_model() -> None:
    """Its workers are new: a take goes to the first card that is as cold."""

    async def work() -> None:
        seats = Seats([1])
        card = seats.add(1, group="b")
        seats.arrive(card)
        async with seats.one(model="other", place=0), seats.one(model="m", place=0) as there:
            assert there == card
        seats.depart(card)
        seats.arrive(card)
        async with seats.one(model="m", place=0) as first:
            assert first == 0

    _run(work)


def test_the_cards_of_a_gang_hold_its_model() -> None:
    """What each held before is gone: a take of that goes to the first card, as both are cold."""

    async def work() -> None:
        seats = Seats([1, 1])
        async with seats.one(model="other", place=0), seats.one(model="m", place=0) as second:
            assert second == 1
        async with seats.gang(size=2, model="large", place=0):
            pass
        async with seats.one(model="m", place=0) as first:
            assert first == 0

    _run(work)


def test_a_card_that_comes_again_has_its_number_and_its_guests() -> None:
    """Who was seated when the host left gives the seat back once, however it left."""

    async def work() -> None:
        seats = Seats([])
        card = seats.add(2, group="b")
        seats.arrive(card)
        async with seats.one(model="m", place=0):
            seats.depart(card)
            assert seats.count(anywhere) == 0
            seats.arrive(card)
            assert seats.taken == (1,)
        assert seats.taken == (0,)

    _run(work)


@given(
    hosts=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    busy=st.sets(st.integers(0, 15)),
    gone=st.sets(st.integers(0, 15)),
    size=st.integers(2, 4),
)
def test_a_gang_is_never_spread_over_two_hosts(
    hosts: list[int], busy: set[int], gone: set[int], size: int
) -> None:
    """It is seated exactly where one host has so many cards that are here and empty."""

    async def work() -> None:
        seats = Seats([])
        group = []
        for host, number in enumerate(hosts):
            for _ in range(number):
                card = seats.add(1, group=str(host))
                seats.arrive(card)
                group.append(host)
        for card in busy & set(range(len(group))):
            await seats.one(model="m", place=0, may=lambda c, wanted=card: c == wanted).__aenter__()
        for card in gone & set(range(len(group))):
            seats.depart(card)
        free = [host for card, host in enumerate(group) if card not in busy | gone]
        here = [host for card, host in enumerate(group) if card not in gone]
        if size > len(group) or max(map(here.count, here), default=0) < size:
            with pytest.raises((NoCard, ValueError)):
                await seats.gang(size=size, model="m", place=0).__aenter__()
            return
        waiting = asyncio.create_task(seats.gang(size=size, model="m", place=0).__aenter__())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        fits = max(map(free.count, free), default=0) >= size
        assert waiting.done() == fits
        if fits:
            assert len({group[card] for card in waiting.result()}) == 1
        waiting.cancel()

    _run(work)
