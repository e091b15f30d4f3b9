"""One call of one worker: its budget, its pulse, its memory, and what it means when it dies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from render.backend import Progress
from render.errors import MachineFailure, Superseded, WorkerLost
from render.order import Receipt
from tasks.aboard import Aboard
from tasks.attempts import attempt
from tasks.crew import Post
from tasks.engine import Call, Engine
from tasks.estimate import card_kind
from tasks.pulse import Patience, Pulse, late
from tasks.watchdog import Bounds, Watchdog

LOOK = 1.0
"""Seconds between looks at a call's deadline, which moves when the call begins to work."""

Left = Callable[[Post], Awaitable[MachineFailure | None]]
"""Whether a worker was not lost by what it did, but because its card or its host was left: the
error to raise instead."""


class Near(WorkerLost):
    """A worker died while another take had its card."""


@dataclass(frozen=True, slots=True)
class _Worker:
    """What is known of one worker over all its lives."""

    aboard: Aboard
    watchdog: Watchdog
    sending: asyncio.Lock = field(default_factory=asyncio.Lock)
    """So that calls are sent in the order in which they got their seats."""


class Calls:
    """The calls of all workers. For one event loop."""

    def __init__(
        self,
        engine: Engine,
        *,
        patience: Patience,
        bounds: Bounds | None,
        left: Left,
        is_here: Callable[[Post], bool],
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`is_here` says whether the host of a worker is still the one that it was sent to; `tell`
        is told in words which workers were started anew because they grew; `clock` gives the
        seconds of budgets and of patience, which never go back."""
        self._engine, self._patience, self._bounds = engine, patience, bounds
        self._left, self._is_here, self._tell = left, is_here, tell
        self._clock = clock
        self._workers: dict[str, _Worker] = {}
        self._pulses: dict[str, Pulse] = {}
        """Of the takes that render, by take id."""

    def admit(self, post: Post) -> None:
        """Calls may go to this worker; one that was here before is the same."""
        if post.name not in self._workers:
            self._workers[post.name] = _Worker(Aboard(self._clock), self._watchdog(post))

    def heard(self, progress: Progress) -> None:
        """A take told where it is."""
        for worker in self._workers.values():
            worker.aboard.told(progress.take_id)
        if pulse := self._pulses.get(progress.take_id):
            pulse.told(progress)

    async def at(self, post: Post, function: str, order: Any, *, name: str, budget: float) -> Any:
        """One call of a certain worker, which is started anew between two if it grew.

        Raises Near when the worker died while another call had its card, what `left` says, and
        what the call raises.
        """
        worker = self._workers[post.name]
        kind = kind_of_work(function, order)
        async with worker.watchdog.guarding(kind) as piece, AsyncExitStack() as stack:
            async with worker.sending:
                door = await stack.enter_async_context(attempt(function, order))
                call = self._engine.call(function, order, post=post, door=door)
            expected = expected_step(order.pace, post) if function == "render" else 0.0
            answer = await self._inside(
                call, post, function, name=name, budget=budget, expected=expected
            )
            piece.kind = kind_of_work(function, order, answer)
            return answer

    async def _inside(
        self, call: Call, post: Post, function: str, *, name: str, budget: float, expected: float
    ) -> Any:
        """A call that was sent, its budget counted from when it begins to work; `expected` are the
        seconds of its longest step, 0 where they are not known."""
        aboard = self._workers[post.name].aboard
        pulse = Pulse(self._patience, self._clock, expected=expected)
        aboard.enter(name, budget=budget)
        if function == "render":
            self._pulses[name] = pulse

        def seconds_left() -> float:
            return min(aboard.seconds_left(name), pulse.seconds_left)

        try:
            if await self._is_done(call, post, seconds_left):
                return call.result()
            error = late(function, pulse, budget=budget)
            aboard.lost(name)
            await self._engine.restart(post.name)
        except WorkerLost as lost:
            near = aboard.lost(name)
            if instead := await self._left(post):
                raise instead from lost
            if not call.died:
                # It said so itself: the context of its card is broken, for all that follow too.
                await self._engine.restart(post.name)
            elif near:
                raise Near(str(lost)) from lost
            raise
        except Superseded:
            # Ours is the latest attempt: what has the folder is left of an earlier one, in there.
            await self._engine.restart(post.name)
            raise
        finally:
            aboard.leave(name)
            if self._pulses.get(name) is pulse:
                del self._pulses[name]
            await call.cancel()
        raise error

    async def _is_done(self, call: Call, post: Post, seconds_left: Callable[[], float]) -> bool:
        """Whether the call ended in its time. Raises WorkerLost where its host is not here."""
        while not await call.is_done(within=max(0.0, min(seconds_left(), LOOK))):
            if not self._is_here(post):
                raise WorkerLost(f"{post.host} left")
            if seconds_left() <= 0:
                return False
        return True

    def _watchdog(self, post: Post) -> Watchdog:
        return Watchdog(
            post.name,
            pid=lambda: self._engine.pids().get(post.name),
            resident=lambda pid: self._engine.resident(post.name),
            host=post.host_memory,
            restart=lambda: self._engine.restart(post.name),
            tell=self._tell,
            bounds=self._bounds,
        )


def kind_of_work(function: str, order: Any, answer: Any = None) -> str:
    """What fills a worker's memory alike: the same function, for takes the same model by the same
    rungs of the memory ladder, since swapped blocks are locked in the host's memory on purpose.

    `answer` is what the worker gave back; the rungs of a take of one card are known from it alone,
    so that takes that failed are a kind of their own.
    """
    if function not in ("render", "lend"):
        return function
    rungs: tuple[str, ...] = ("unfinished",)
    if isinstance(answer, Receipt):
        rungs = answer.rungs
    elif order.gang is not None:
        rungs = order.gang.rungs
    return " ".join([function, order.model.location, *rungs])


def expected_step(pace: Mapping[str, float], post: Post) -> float:
    """Seconds of a take's longest step on this card: as on such cards before, else as on the
    slowest that is known; 0 where none is."""
    kind = "" if post.device is None else card_kind(post.device.name)
    return pace.get(kind, max(pace.values(), default=0.0))
