"""How many shots one card has in hand, and what becomes of those who wait where a look breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest
from waiting import in_time, until

from tasks.card_groups import Card
from tasks.chains import Work
from tasks.control import Control
from tasks.lanes import Lanes, Queued

CARDS = (Card(name="big", memory=80), Card(name="small", memory=24))


def _lanes(number: int, works: Sequence[Work], control: Callable[[], Control] = Control) -> Lanes:
    return Lanes(
        number,
        night="n",
        control=control,
        queued=Queued(works=works),
        cards=lambda: CARDS,
        clock=lambda: 0.0,
        look_every=0.001,
    )


def test_a_card_has_no_more_in_hand_than_its_share_of_the_lanes() -> None:
    """Of shots that one card alone holds it is given half of the lanes of two: what it has in hand
    another that comes could not take."""
    works = [Work(id=f"s/{n}", model="m", seconds=1.0, memory=60) for n in range(10)]
    lanes, inside, ends = _lanes(6, works), list[str](), asyncio.Event()

    async def shot(name: str) -> None:
        async with lanes.lane(name) as lane:
            inside.append(name)
            await ends.wait()
            lane.ended = None

    async def night() -> None:
        shots = [asyncio.create_task(shot(work.id)) for work in works]
        await until(lambda: len(inside) >= 3)
        await asyncio.sleep(0.02)
        assert len(inside) == 3
        ends.set()
        await asyncio.gather(*shots)
        assert len(inside) == 10

    in_time(night())


def test_who_waits_in_a_pause_is_told_of_a_look_that_broke() -> None:
    """Nobody would look again: each would wait to the end of the night, and nobody know why."""
    looks: list[Control] = []

    def control() -> Control:
        if len(looks) > 5:
            raise OSError("the ledger cannot be written")
        looks.append(Control(paused=True))
        return looks[-1]

    works = [Work(id=f"s/{n}", model="m", seconds=1.0) for n in range(3)]
    lanes = _lanes(1, works, control)

    async def shot(name: str) -> None:
        async with lanes.lane(name):
            raise AssertionError("nobody has a lane in a pause")

    async def night() -> None:
        for work in [asyncio.create_task(shot(work.id)) for work in works]:
            with pytest.raises(OSError, match="the ledger cannot be written"):
                await work
        assert lanes._dispatcher.waiting == 0

    in_time(night())
