"""The pool of worker processes: alive all night, restarted when they die.

What is sent where: renders to the cards (`tasks.seats` says which), scoring and encoding to the
hands, so that the next take samples meanwhile. Which workers there are is `tasks.crew`'s answer;
how they run is `tasks.engine`'s. Whether a failed call is tried again is Prefect's business, with
one exception: a take that was only near when its worker died is sent again from here. Prefect's
next try goes to another card first; a card that failed too often gets no more of that work.
"""

from __future__ import annotations

import asyncio
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from qc.scorecard import Scorecard
from render.backend import Progress
from render.errors import (
    CardsBlocked,
    NonFinite,
    RenderError,
    WorkerLost,
)
from render.order import Delivery, FinishOrder, Gang, Placement, Receipt, RenderOrder, ScoreOrder
from tasks.aboard import Aboard
from tasks.attempts import attempt
from tasks.blocklist import Blocklist, Work
from tasks.crew import Post, crew_for
from tasks.engine import Engine
from tasks.gpus import Machine
from tasks.hours import within_hours
from tasks.neighbours import Neighbours
from tasks.pulse import PATIENCE, Patience, Pulse, late
from tasks.seats import NoCard, Seats
from tasks.watchdog import Bounds, Watchdog
from tasks.yielding import CardYielded, Yielding

Listener = Callable[[Progress], None]

MOST_TIMES_NEAR = 3
"""A take that was near so many deaths of its worker may be the cause after all."""
GRACE_SECONDS = 10.0
"""What the other ranks of a gang get to end by themselves when one of them fails."""
LOOK = 1.0
"""Seconds between looks at a call's deadline, which moves when the call begins to work."""
FIRST = -1
"""Place of what is done before any take: finishing on a card ends a shot."""


class Pool(ABC):
    """Where renders are sent. Every call raises RenderError or QCError, named, or returns."""

    torch_device: str
    """What the workers call the device that renders: `cpu` or `cuda:0`."""
    placement: Placement = Placement()
    """Where the parts of a model lie in every rendering worker."""
    cards: int = 1
    """Takes that can be sampled at once; a take can have so many cards at most."""
    lanes: int
    """How many shots can be in work at once."""

    @abstractmethod
    async def render(self, order: RenderOrder, *, budget: float, place: int = 0) -> Receipt:
        """Render a take; it is stuck, and WorkerLost raised, `budget` seconds after it began.

        Raises Stuck, sooner, where it tells of no step for far longer than its steps take, and
        CardsBlocked where every card failed too often tonight for such work. Where more takes wait
        than there are seats, smaller places are served first.
        """

    @abstractmethod
    async def score(self, order: ScoreOrder, *, budget: float) -> Scorecard:
        """Measure a clip. The pool decides on which device."""

    @abstractmethod
    async def finish(self, order: FinishOrder, *, budget: float) -> Delivery:
        """Finish an approved take. The pool decides on which device."""

    @abstractmethod
    async def picture(self, clip: Path, *, budget: float) -> tuple[Path, Path]:
        """Contact strip and preview of a take."""

    def on_news(self, tell: Callable[[str], None]) -> None:
        """Have `tell` told, in words and as it happens, what becomes of the cards."""
        return

    def recycled(self) -> list[str]:
        """In words, the workers that were started anew since this was last asked, because they
        grew."""
        return []


class _Near(WorkerLost):
    """A worker died while another take had its card."""


class WorkerPool(Pool):
    """Worker processes on this machine; an async context manager."""

    def __init__(
        self,
        machine: Machine,
        *,
        threads: int,
        scratch: Path,
        listener: Listener,
        bounds: Bounds | None = None,
        patience: Patience = PATIENCE,
        neighbours: Neighbours | None = None,
    ) -> None:
        """How far a worker's memory may grow, how long a take may be silent, and to whom cards are
        left while they compute on them."""
        self.crew = crew_for(machine, cores=threads)
        self.lanes, self.cards = self.crew.lanes, len(self.crew.cards)
        self.torch_device = machine.torch_device
        self.placement = machine.cards[0].placement
        self._scratch = scratch
        self._listener = listener
        self._engine = Engine(self.crew.posts, scratch=scratch, listener=self._heard)
        self._seats = Seats([post.seats for post in self.crew.cards])
        self._hands = Seats([1 for _ in self.crew.hands]) if self.crew.hands else self._seats
        self._upscaling = asyncio.Semaphore()
        self._aboard = {post.name: Aboard() for post in self.crew.posts}
        self._patience = patience
        self._pulses: dict[str, Pulse] = {}
        """Of the takes that render, by take id."""
        self._blocklist = Blocklist([post.title for post in self.crew.cards])
        self._news: list[str] = []
        self._tell_news: Callable[[str], None] = self._news.append
        self._grown: list[str] = []
        self._yielding = Yielding(
            self.crew.cards,
            neighbours,
            seats=self._seats,
            pids=self._engine.pids,
            restart=self._engine.restart,
            tell=lambda words: self._tell_news(words),
        )
        self._watchdogs = {post.name: self._watchdog(post, bounds) for post in self.crew.posts}

    async def __aenter__(self) -> WorkerPool:
        await self._engine.start()
        await self._yielding.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._yielding.stop()
        await self._engine.close()

    def worker_pids(self) -> dict[str, int]:
        """Process id of each worker that is up, by its name."""
        return self._engine.pids()

    def on_news(self, tell: Callable[[str], None]) -> None:
        """See `Pool.on_news`; what happened before is told now."""
        self._tell_news = tell
        while self._news:
            tell(self._news.pop(0))

    def recycled(self) -> list[str]:
        """See `Pool.recycled`."""
        return [self._grown.pop(0) for _ in range(len(self._grown))]

    def _watchdog(self, post: Post, bounds: Bounds | None) -> Watchdog:
        return Watchdog(
            post.name,
            pid=lambda: self._engine.pids().get(post.name),
            restart=lambda: self._engine.restart(post.name),
            tell=self._grown.append,
            bounds=bounds,
        )

    # ------------------------------------------------------------------ renders

    async def render(self, order: RenderOrder, *, budget: float, place: int = 0) -> Receipt:
        """See `Pool.render`."""
        work = Work.of(order.recipe)
        while True:
            left = self._seats.count(self._may(work))
            if not left:
                raise CardsBlocked(
                    f"no card is left tonight for {work}: {'; '.join(self._blocklist.why(work))}",
                    memory=self._blocklist.is_memory_alone(work),
                )
            try:
                if min(order.gpus, left) > 1:
                    return await self._render_together(order, min(order.gpus, left), budget, place)
                return await self._render_on_one(order, budget, place)
            except (NoCard, CardYielded):
                continue  # a card was taken out while it waited, or left to others under it

    def _may(self, work: Work) -> Callable[[int], bool]:
        return lambda card: self._blocklist.is_open(card, work)

    async def _render_on_one(self, order: RenderOrder, budget: float, place: int) -> Receipt:
        """The take on one card. If it was only near when its worker died, it is sent again."""
        near, work = 0, Work.of(order.recipe)
        while True:
            seat = self._seats.one(
                model=order.model.location,
                place=place,
                may=self._may(work),
                avoid=self._blocklist.failed_on(order.take_id),
            )
            try:
                async with within_hours(order.stop_at, seat) as card:
                    receipt = await self._blaming(card, order, budget)
            except _Near as lost:
                if (near := near + 1) == MOST_TIMES_NEAR:
                    raise WorkerLost(f"{lost}, {near} times in a row") from lost
            else:
                assert isinstance(receipt, Receipt)
                return receipt

    async def _blaming(self, card: int, order: RenderOrder, budget: float) -> Any:
        """Render on a card, and count what that says about it."""
        work = Work.of(order.recipe)
        try:
            receipt = await self._on_card(card, "render", order, budget)
        except (_Near, CardYielded):
            raise
        except RenderError as error:
            if words := self._blocklist.failed(card, take=order.take_id, work=work, error=error):
                self._tell_news(words)
            raise
        self._blocklist.succeeded(card, take=order.take_id, work=work)
        return receipt

    async def _on_card(self, card: int, function: str, order: RenderOrder, budget: float) -> Any:
        post = self.crew.cards[card]
        return await self._at(post, function, order, name=order.take_id, budget=budget)

    async def _render_together(
        self, order: RenderOrder, size: int, budget: float, place: int
    ) -> Receipt:
        """The take on several cards: one worker leads, the others lend it theirs."""
        # NOTE: a gang's failures are not counted: which of its cards was to blame is not known.
        may = self._may(Work.of(order.recipe))
        seats = self._seats.gang(size=size, model=order.model.location, place=place, may=may)
        async with within_hours(order.stop_at, seats) as cards:
            processes = self._engine.pids()
            meeting = self._scratch / f"meeting-{uuid.uuid4().hex}"
            gangs = (
                Gang(size=size, rank=rank, meeting=meeting, seconds=budget) for rank in range(size)
            )
            calls = [
                asyncio.create_task(
                    self._on_card(
                        card,
                        "lend" if gang.rank else "render",
                        replace(order, gang=gang),
                        budget,
                    )
                )
                for card, gang in zip(cards, gangs, strict=True)
            ]
            try:
                await asyncio.wait(calls, return_when=asyncio.FIRST_EXCEPTION)
                await asyncio.wait(calls, timeout=GRACE_SECONDS)
                reason = _reason(calls)  # before the rest is killed, which is no reason
                await self._restart_broken(cards, calls, processes)
            finally:
                for call in calls:
                    call.cancel()
                await asyncio.gather(*calls, return_exceptions=True)
                meeting.unlink(missing_ok=True)
        if reason is not None:
            raise reason
        receipt = calls[0].result()
        assert isinstance(receipt, Receipt)
        return receipt

    async def _restart_broken(
        self, cards: tuple[int, ...], calls: list[asyncio.Task[Any]], processes: dict[str, int]
    ) -> None:
        """Give the ranks that did not end well new processes: their common ground is gone.

        Those that have a new one already, because the old one of `processes` died, keep it.
        """
        for card, call in zip(cards, calls, strict=True):
            name = self.crew.cards[card].name
            now = self._engine.pids().get(name)
            ended_well = call.done() and isinstance(call.exception(), NonFinite | None)
            if not ended_well and now == processes.get(name, now):
                await self._engine.restart(name)

    # ------------------------------------------------------------------ what follows a render

    async def score(self, order: ScoreOrder, *, budget: float) -> Scorecard:
        """See `Pool.score`: by a hand, which has no card."""
        order = replace(order, device=self._hands_device)
        card = await self._by_hand("score", order, str(order.clip), budget)
        assert isinstance(card, Scorecard)
        return card

    async def finish(self, order: FinishOrder, *, budget: float) -> Delivery:
        """See `Pool.finish`: by a hand, unless a network upscales and there are cards."""
        upscale = order.finish.upscale
        if upscale is None or upscale.model is None or not self.crew.hands:
            order = replace(order, device=self._hands_device)
            delivery = await self._by_hand("finish", order, order.take_id, budget)
        else:
            order = replace(order, device=self.torch_device)
            delivery = await self._upscale(order, str(upscale.model), budget)
        assert isinstance(delivery, Delivery)
        return delivery

    async def picture(self, clip: Path, *, budget: float) -> tuple[Path, Path]:
        """See `Pool.picture`."""
        strip, preview = await self._by_hand("picture", clip, f"picture of {clip}", budget)
        return strip, preview

    @property
    def _hands_device(self) -> str:
        return "cpu" if self.crew.hands else self.torch_device

    async def _by_hand(self, function: str, order: Any, name: str, budget: float) -> Any:
        """Without cards the one that renders is the hand."""
        posts = self.crew.hands or self.crew.cards
        async with self._hands.one(model="", place=FIRST) as hand:
            return await self._at(posts[hand], function, order, name=name, budget=budget)

    async def _upscale(self, order: FinishOrder, model: str, budget: float) -> Any:
        """On the card that only upscales, or between two takes on one that renders."""
        name = order.take_id
        if self.crew.upscaler is not None:
            async with self._upscaling:
                return await self._at(self.crew.upscaler, "finish", order, name=name, budget=budget)
        async with self._seats.one(model=model, place=FIRST) as card:
            return await self._at(self.crew.cards[card], "finish", order, name=name, budget=budget)

    # ------------------------------------------------------------------ one call

    async def _at(self, post: Post, function: str, order: Any, *, name: str, budget: float) -> Any:
        """One call of a certain worker, which is started anew between two if it grew."""
        kind = f"{function} {order.model.location}" if function == "render" else function
        async with self._watchdogs[post.name].guarding(kind), attempt(function, order) as door:
            return await self._inside(post, function, order, door, name=name, budget=budget)

    async def _inside(
        self,
        post: Post,
        function: str,
        order: Any,
        door: Path | None,
        *,
        name: str,
        budget: float,
    ) -> Any:
        """One call, its budget counted from when it begins to work.

        Raises _Near when the worker died while another call had its card.
        """
        aboard, pulse = self._aboard[post.name], Pulse(self._patience)
        aboard.enter(name, budget=budget)
        if function == "render":
            self._pulses[name] = pulse
        call = self._engine.call(function, order, post=post, door=door)

        def seconds_left() -> float:
            return min(aboard.seconds_left(name), pulse.seconds_left)

        try:
            while not await call.is_done(within=max(0.0, min(seconds_left(), LOOK))):
                if seconds_left() <= 0:
                    break
            else:
                return call.result()
            error = late(function, pulse, budget=budget)
            aboard.lost(name)
            await self._engine.restart(post.name)
        except WorkerLost as lost:
            near = aboard.lost(name)
            if self._yielding.is_away(post.name):
                raise CardYielded(f"{post.title} was left to others") from lost
            if not call.died:
                # It said so itself: the context of its card is broken, for all that follow too.
                await self._engine.restart(post.name)
            elif near:
                raise _Near(str(lost)) from lost
            raise
        finally:
            aboard.leave(name)
            if self._pulses.get(name) is pulse:
                del self._pulses[name]
            await call.cancel()
        raise error

    def _heard(self, progress: Progress) -> None:
        for aboard in self._aboard.values():
            aboard.told(progress.take_id)
        if pulse := self._pulses.get(progress.take_id):
            pulse.told(progress)
        self._listener(progress)


def _reason(calls: list[asyncio.Task[Any]]) -> BaseException | None:
    """Why a gang failed, of those of its calls that ended; None where none failed."""
    errors = [call.exception() for call in calls if call.done()]
    failed = [error for error in errors if error is not None]
    # A rank that lost another says so; what the other met is the reason.
    return min(failed, key=lambda error: isinstance(error, WorkerLost), default=None)
