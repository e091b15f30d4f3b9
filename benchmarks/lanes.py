"""The night's own lanes and seats against the bound, in a time that only jumps.

    python -m benchmarks.lanes [--shots 2000] [--cards 16] [--wide 0.02] [--json FILE]

`benchmarks/dispatch.py` drives the rule as if a card asked for one shot at a time. The night asks
ahead: several shots a card are in lanes, three of them have seats at a card, one renders. Here
`tasks.lanes` and `tasks.seats` themselves run on an event loop whose clock jumps to the next event.
A take loads its model where its card holds another, renders, is written while the next one renders,
and is scored without a card.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

from benchmarks.dispatch import MODELS, run_nights, sheet, studio
from tasks.card_groups import Card
from tasks.chains import Work
from tasks.control import Control
from tasks.crew import MOST_HANDS, SEATS
from tasks.dispatch import Dispatcher
from tasks.lanes import Lane, Lanes, Queued
from tasks.seats import Seats

WRITES, SCORES = 0.03, 0.1
"""Of a take's seconds: its clip is written, with a seat; it is scored and finished, with none."""


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop on which nobody waits: its clock jumps to the next event."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        selector: Any = self._selector  # type: ignore[attr-defined]
        select = selector.select

        def jump(timeout: float | None) -> Any:
            if timeout:
                self._now += timeout
            return select(0)

        selector.select = jump

    def time(self) -> float:
        """Seconds that have passed."""
        return self._now


class Night:
    """Shots that take their time on cards."""

    def __init__(
        self, works: Sequence[Work], cards: Sequence[Card], real: dict[str, float]
    ) -> None:
        """`real` seconds of each shot on a card of speed 1."""
        self._works, self._cards, self._real = works, cards, real
        loads = {model: load for model, (_, _, load) in MODELS.items()}
        self._loads = loads
        number = len(cards) * (SEATS + MOST_HANDS + 1)
        self._lanes = Lanes(
            number,
            night="n",
            control=Control,
            queued=Queued(works=works, loads=loads),
            cards=lambda: cards,
            clock=lambda: asyncio.get_running_loop().time(),
            look_every=3600.0,
        )
        self._seats = Seats([])
        for card in cards:
            self._seats.arrive(self._seats.add(SEATS, group=card.group))
        self._index = {card.name: index for index, card in enumerate(cards)}
        self._turn = [asyncio.Lock() for _ in cards]
        self._holds: list[str | None] = [None for _ in cards]
        self.loaded = 0
        self.ends: dict[str, float] = {}

    async def run(self) -> None:
        """The whole night."""
        await asyncio.gather(*(self._shot(work) for work in self._works))

    async def _shot(self, work: Work) -> None:
        async with self._lanes.lane(work.id) as lane:
            seconds = self._real[work.id]
            async with self._seat(work, lane) as cards:
                async with AsyncExitStack() as turns:
                    for card in cards:
                        await turns.enter_async_context(self._turn[card])
                    await self._render(replace(work, cards=len(cards)), cards, seconds)
                await asyncio.sleep(WRITES * seconds)
            await asyncio.sleep(SCORES * seconds)
            lane.ended = None
            self.ends[work.id] = asyncio.get_running_loop().time()

    @asynccontextmanager
    async def _seat(self, work: Work, lane: Lane) -> AsyncIterator[tuple[int, ...]]:
        """As the pool does it: a gang where there are cards for one."""

        def may(card: int) -> bool:
            return self._cards[card].memory >= work.memory

        place, size = (
            self._lanes.place(work.id, lane.number),
            min(work.cards, self._seats.together(may)),
        )
        if size > 1:
            gang = self._seats.gang(size=size, model=work.model, place=place, may=may)
            async with gang as cards:
                yield cards
            return
        prefer = self._index[lane.card]
        async with self._seats.one(model=work.model, place=place, may=may, prefer=prefer) as card:
            yield (card,)

    async def _render(self, work: Work, cards: tuple[int, ...], seconds: float) -> None:
        if any(self._holds[card] != work.model for card in cards):
            self.loaded += 1
            await asyncio.sleep(self._loads[work.model])
        for card in cards:
            self._holds[card] = work.model
        pace = min(self._cards[card].speed for card in cards)
        await asyncio.sleep(work.together(seconds) / pace)


def simulate(shots: int, number: int, seed: int, wide: float) -> dict[str, float]:
    """One night; its figures."""
    works, cards = sheet(shots, seed, wide), studio(number, seed)
    dice = random.Random(seed)
    real = {work.id: work.seconds * dice.lognormvariate(0.0, 0.2) for work in works}
    told = [replace(work, seconds=real[work.id]) for work in works]
    loads = {model: load for model, (_, _, load) in MODELS.items()}
    bound = Dispatcher(told, cards=cards, load_seconds=loads).lower_bound()
    begun = time.process_time()
    loop = JumpingLoop()
    try:
        night = loop.run_until_complete(_night(works, cards, real))
    finally:
        loop.close()
    due = {work.id: work.deadline for work in works if work.deadline is not None}
    end = max(night.ends.values())
    return {
        "makespan_hours": end / 3600,
        "bound_hours": bound / 3600,
        "ratio": end / bound,
        "loads": night.loaded,
        "dated": len(due),
        "late": sum(night.ends[name] > moment for name, moment in due.items()),
        "cpu_seconds": time.process_time() - begun,
    }


async def _night(works: Sequence[Work], cards: Sequence[Card], real: dict[str, float]) -> Night:
    night = Night(works, cards, real)
    await night.run()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()  # the lanes look for a person's words until then
    await asyncio.gather(*left, return_exceptions=True)
    return night


if __name__ == "__main__":
    run_nights(__doc__, simulate, shots=2000, cards=16, seeds=3)
