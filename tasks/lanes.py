"""Which shot comes next: so many lanes, and a queue before them that can be put in another order.

The order is looked up when a lane becomes free, not when a shot is queued, so that a priority
given in the middle of the night holds at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from tasks.control import Control

LOOK_EVERY = 1.0
"""Seconds between looks at what a person has said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Who waits, and where the plan put it."""

    shot: str
    """`sheet/shot`."""
    priority: int
    """As the sheet has it."""
    position: int
    """In the plan."""


@dataclass(slots=True)
class _Waiting:
    place: Place
    granted: asyncio.Future[str | None]
    """Done with None when the lane is free for it, with words when it was cancelled."""


class Lanes:
    """The lanes of one night; for one event loop."""

    def __init__(
        self,
        number: int | Callable[[], int],
        *,
        night: str,
        control: Callable[[], Control],
        look_every: float = LOOK_EVERY,
    ) -> None:
        """`number` of lanes, which may change in the night; `control` reads what a person has
        said."""
        self._number = number if callable(number) else lambda: number
        self._taken = 0
        self._night = night
        self._control = control
        self._look_every = look_every
        self._waiting: list[_Waiting] = []
        self._looking: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def lane(self, place: Place) -> AsyncIterator[str | None]:
        """A lane, as soon as one is free, the night is not paused and nobody is before it.

        Gives None; or, without a lane, the words why nothing is to be done on the shot.
        """
        waiting = _Waiting(place, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._serve()
        self._keep_looking()
        try:
            words = await waiting.granted
        except asyncio.CancelledError:
            if waiting.granted.done() and not waiting.granted.cancelled():
                self._give_back(waiting.granted.result())
            self._waiting = [other for other in self._waiting if other is not waiting]
            raise
        try:
            yield words
        finally:
            self._give_back(words)

    def _give_back(self, words: str | None) -> None:
        if words is None:
            self._taken -= 1
        self._serve()

    def _serve(self) -> None:
        if not self._waiting:
            return
        control = self._control()
        for waiting in self._waiting:
            words = control.stops(waiting.place.shot, night=self._night)
            if words is not None and not waiting.granted.done():
                waiting.granted.set_result(words)
        left = [waiting for waiting in self._waiting if not waiting.granted.done()]
        left.sort(key=lambda each: self._rank(each.place, control))
        while self._taken < self._number() and left and not control.paused:
            self._taken += 1
            left.pop(0).granted.set_result(None)
        self._waiting = left

    def _rank(self, place: Place, control: Control) -> tuple[int, int]:
        """Priority, then the plan's order."""
        return (-control.priority_of(place.shot, place.priority), place.position)

    def _keep_looking(self) -> None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(), name="lanes")

    async def _look(self) -> None:
        with suppress(asyncio.CancelledError):
            while self._waiting:
                await asyncio.sleep(self._look_every)
                self._serve()
