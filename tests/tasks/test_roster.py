"""Who works tonight, while hosts come, go and come again."""

from __future__ import annotations

import asyncio

from waiting import in_time

from tasks.crew import Crew, Post
from tasks.gpus import Device
from tasks.roster import Roster


def _crew(session: str, card: str = "Card #0") -> Crew:
    device = Device(name=card, torch_device="cuda:0", visible="GPU-0", memory=2**35)
    post = Post(
        name="a/card-0",
        device=device,
        seats=1,
        threads=1,
        hand=False,
        host="a",
        session=session,
    )
    return Crew(cards=(post,), hands=(), upscaler=None, host="a")


def _here(*crews: Crew) -> Roster:
    """A roster with these stays of one host, one after the other; the last goes on."""
    roster = Roster()
    for number, crew in enumerate(crews):
        if number:
            roster.depart("a")
        roster.add(crew)
        roster.arrive("a")
    return roster


def test_nobody_is_seated_at_a_card_that_was_away_when_its_host_left() -> None:
    """What waited for the card goes on waiting; it is not sent to a host that is not here."""

    async def work() -> None:
        roster = _here(_crew("1"))
        roster.seats.arrive(roster.seats.add(1, group="b"))
        roster.set_away("a/card-0", away=True)
        async with roster.seats.one(model="m", place=0) as busy:
            assert busy == 1
            waiting = asyncio.create_task(roster.seats.one(model="m", place=0).__aenter__())
            await asyncio.sleep(0)
            roster.depart("a")
            await asyncio.sleep(0)
            assert not waiting.done()
        assert await waiting == 1

    in_time(work())


def test_a_host_that_comes_again_has_all_of_its_memory_until_it_says_otherwise() -> None:
    """What others held in its stay before is not counted against it: it tells of changes alone."""

    async def work() -> None:
        roster = _here(_crew("1"))
        roster.squeeze("a/card-0", 2**30)
        roster.depart("a")
        roster.add(_crew("2"))
        roster.arrive("a")
        async with roster.seats.one(model="m", place=0, needs=2**34) as card:
            assert card == 0

    in_time(work())


def test_a_host_that_comes_again_is_not_away_until_it_says_so() -> None:
    """Who used its card when it left has had the time of a whole stay."""

    async def work() -> None:
        roster = _here(_crew("1"))
        roster.set_away("a/card-0", away=True)
        roster.depart("a")
        roster.add(_crew("2"))
        roster.arrive("a")
        assert [post.name for post in roster.open_cards] == ["a/card-0"]
        async with roster.seats.one(model="m", place=0) as card:
            assert card == 0

    in_time(work())


def test_a_host_that_comes_again_with_another_card_has_that_one_alone() -> None:
    """Under the same name of its worker: the card of before is neither shown nor preferred."""
    roster = _here(_crew("1"), _crew("2", "Card #1"))
    assert [post.title for post in roster.open_cards] == ["a/Card #1"]
    assert roster.number_of("a/card-0") == 1
    roster.set_away("a/card-0", away=True)
    assert roster.open_cards == ()
