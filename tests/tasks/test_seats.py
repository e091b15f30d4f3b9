"""Seats at cards: never too many, in the order of the plan, gangs alone, everybody served."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import examples
from waiting import LONG

from tasks.seats import NoCard, Seats


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


@settings(max_examples=examples(200), deadline=None)
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
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), LONG)
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


@pytest.mark.slow
@settings(max_examples=examples(200), deadline=None)
@given(st.data(), st.integers(1, 3), st.lists(guests, max_size=8))
def test_cards_that_go_away_and_come_back_strand_nobody(
    data: st.DataObject, cards: int, visitors: list[Guest]
) -> None:
    """Whoever may have a card is served once they are back, never at one that is away or barred;
    whoever may have none is told so."""
    barred = [data.draw(st.sets(st.integers(0, cards - 1))) for _ in visitors]
    avoided = [data.draw(st.sets(st.integers(0, cards - 1))) for _ in visitors]
    moves = data.draw(
        st.lists(st.tuples(st.booleans(), st.integers(0, cards - 1)), min_size=4, max_size=4)
    )

    async def evening() -> None:
        seats, away = Seats([2] * cards), set[int]()

        async def visit(guest: Guest, no: set[int], avoid: set[int]) -> None:
            def may(card: int) -> bool:
                return card not in no

            size = min(guest.size, cards)
            if size == 1:
                async with seats.one(model="m", place=guest.place, may=may, avoid=avoid) as card:
                    seen = (card,)
                    assert not {*seen} & no
                    assert card not in avoid or not set(range(cards)) - no - avoid - away
                    await asyncio.sleep(0)
            else:
                async with seats.gang(size=size, model="m", place=guest.place, may=may) as seen:
                    assert not {*seen} & no
                    await asyncio.sleep(0)

        tasks = [
            asyncio.create_task(visit(*each))
            for each in zip(visitors, barred, avoided, strict=True)
        ]
        for goes, card in moves:
            if goes:
                away.add(card)
                seats.leave(card)
            taken = seats.taken
            await asyncio.sleep(0)
            assert all(seats.taken[one] <= taken[one] for one in away)
            await asyncio.sleep(0)
            if not goes:
                away.discard(card)
                seats.come_back(card)
        for card in range(cards):
            away.discard(card)
            seats.come_back(card)
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), LONG)
        for guest, no, result in zip(visitors, barred, results, strict=True):
            enough = cards - len(no) >= min(guest.size, cards)
            assert result is None if enough else isinstance(result, NoCard), result
        assert seats.taken == (0,) * cards

    asyncio.run(evening())


def test_a_card_that_failed_a_take_is_its_last_choice() -> None:
    """It waits for another card even where that one is idle; when the other leaves, it takes it."""

    async def evening() -> list[str]:
        seats, seated = Seats([1, 1]), []
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(seats.one(model="m", place=0, avoid={0}))

            async def retry() -> None:
                async with seats.one(model="m", place=1, avoid={0}) as card:
                    seated.append(f"card {card}")

            task = asyncio.create_task(retry())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            seated.append("waits")
            seats.leave(1)
            await task
        return seated

    assert asyncio.run(evening()) == ["waits", "card 0"]


def test_who_waits_is_told_when_its_last_card_is_barred() -> None:
    """A card that is taken out while a take waits for it ends the wait by name."""

    async def evening() -> None:
        seats, barred = Seats([1]), set[int]()

        async def wait() -> None:
            async with seats.one(model="m", place=0, may=lambda card: card not in barred):
                pass

        async with seats.one(model="m", place=0):
            task = asyncio.create_task(wait())
            await asyncio.sleep(0)
            barred.add(0)
        with pytest.raises(NoCard):
            await task

    asyncio.run(evening())


@given(st.lists(st.none() | st.integers(0, 40), min_size=1, max_size=4), st.integers(1, 40))
def test_who_needs_more_memory_than_others_leave_waits_for_it(
    rooms: list[int | None], needs: int
) -> None:
    """A seat is only given at a card with room; where there is none it waits until there is, and
    who needs nothing is seated meanwhile."""

    async def run() -> None:
        seats = Seats([1 for _ in rooms])
        for card, room in enumerate(rooms):
            seats.squeeze(card, room)
        large = seats.one(model="m", place=0, needs=needs)
        if any(room is None or room >= needs for room in rooms):
            async with asyncio.timeout(LONG), large as card:
                found = rooms[card]
                assert found is None or found >= needs
            return
        waiting = asyncio.ensure_future(large.__aenter__())
        async with asyncio.timeout(LONG), seats.one(model="m", place=9):
            assert not waiting.done()
        seats.squeeze(len(rooms) - 1, None)
        async with asyncio.timeout(LONG):
            assert await waiting == len(rooms) - 1
        await large.__aexit__(None, None, None)

    asyncio.run(run())


def test_a_gang_waits_for_the_memory_of_all_its_cards() -> None:
    """One card that others fill keeps the gang waiting, and nobody else."""

    async def run() -> None:
        seats = Seats([1, 1])
        seats.squeeze(1, 10)
        gang = seats.gang(size=2, model="m", place=0, needs=20)
        waiting = asyncio.ensure_future(gang.__aenter__())
        async with asyncio.timeout(LONG), seats.one(model="m", place=9, needs=20) as card:
            assert card == 0
        assert not waiting.done()
        seats.squeeze(1, None)
        async with asyncio.timeout(LONG):
            assert sorted(await waiting) == [0, 1]
        await gang.__aexit__(None, None, None)

    asyncio.run(run())


def test_a_take_waits_for_the_card_that_asked_for_it_unless_another_is_idle() -> None:
    """A seat at its own card before an emptier one; where that has none free, an idle card and no
    busy one; where it may not have its own, any."""

    async def evening() -> list[int]:
        seats, found, over = Seats([2, 2, 1]), list[int](), asyncio.Event()

        async def visit(prefer: int, *, may: object = None) -> None:
            allowed = (lambda card: card != prefer) if may == "others" else (lambda card: True)
            async with seats.one(model="m", place=0, prefer=prefer, may=allowed) as card:
                found.append(card)
                await over.wait()

        visits = [asyncio.create_task(visit(0)) for _ in range(4)]
        await asyncio.sleep(0.01)
        assert found == [0, 0, 1, 2]
        visits.append(asyncio.create_task(visit(0)))
        await asyncio.sleep(0.01)
        assert len(found) == 4, "card 1 has a free seat, but something to do"
        visits.append(asyncio.create_task(visit(0, may="others")))
        await asyncio.sleep(0.01)
        over.set()
        await asyncio.gather(*visits)
        return found

    assert asyncio.run(evening()) == [0, 0, 1, 2, 1, 0]
