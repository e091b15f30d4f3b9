"""The pool of worker processes: alive all night, restarted when they die.

What is sent where: renders to the cards (`tasks.seats` says which), what follows them to the hands,
so that the next take samples meanwhile (`tasks.afterwards`). Which workers a machine has is
`tasks.crew`'s answer; who of them is here is in the roster, since hosts come and go
(`tasks.hosts`); how they run is `tasks.engine`'s. Whether a failed call is tried again is
Prefect's business, with exceptions: a take that was only near when its worker died, one whose card
was left to others, and one whose host left are sent again from here. Prefect's next try goes to
another card first; a card that failed too often gets no more of that work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from qc.scorecard import Scorecard
from render.backend import Progress
from render.errors import CardsBlocked, RenderError, WorkerLost
from render.order import Delivery, FinishOrder, Placement, Receipt, RenderOrder, ScoreOrder
from tasks.admission import Hosting
from tasks.afterwards import MOST_HOSTS, Afterwards
from tasks.blocklist import Blocklist, Work
from tasks.bulletin import Bulletin
from tasks.calls import Calls, Near
from tasks.crew import Crew, Post, crew_for
from tasks.engine import Engine
from tasks.gangs import render_together
from tasks.gpus import Machine
from tasks.hosts import Hosts
from tasks.hours import within_hours
from tasks.neighbours import Neighbours
from tasks.pool import CardHere, Listener, Pool
from tasks.pulse import PATIENCE, Patience
from tasks.roster import Roster
from tasks.seats import NoCard
from tasks.watchdog import Bounds
from tasks.yielding import CardYielded, HostLost, Yielding

MOST_TIMES_NEAR = 3
"""A take that was near so many deaths of its worker may be the cause after all."""


class WorkerPool(Pool):
    """Worker processes on this machine, and on the hosts that join; an async context manager."""

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
        hosting: Hosting | None = None,
        engine: Engine | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """How far a worker's memory may grow, how long a take may be silent, to whom cards are
        left while they compute on them, how hosts come in (None: there are none), what runs the
        workers where it is not the engine, and by which seconds takes count as stuck."""
        self.crew = crew_for(machine, cores=threads, apart=hosting is not None)
        self.torch_device = machine.torch_device
        self.placement = machine.cards[0].placement if machine.cards else Placement()
        self._listener, self._scratch = listener, scratch
        self._engine = engine or Engine(
            self.crew.posts,
            scratch=scratch,
            listener=self._heard,
            gate=None if hosting is None else hosting.gate,
        )
        self._blocklist = Blocklist()
        self._roster = Roster()
        self._news, self._renewals = Bulletin(), Bulletin()
        self._calls = Calls(
            self._engine,
            patience=patience,
            bounds=bounds,
            left=self._left,
            is_here=lambda post: self._hosts is None or self._hosts.is_here(post),
            tell=self._renewals.tell,
            clock=clock,
        )
        self.admit(self.crew)
        self._roster.arrive("")
        self._afterwards = Afterwards(self._roster, self._calls, torch_device=self.torch_device)
        self._yielding = Yielding(
            self.crew.cards,
            neighbours,
            seats=self._roster.seats,
            pids=self._engine.own_pids,
            restart=self._engine.restart,
            tell=self.tell,
        )
        self._hosts = None if hosting is None else Hosts(self._engine, hosting, self)

    async def __aenter__(self) -> WorkerPool:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._engine.close)
            await self._engine.start()
            stack.push_async_callback(self._yielding.stop)
            await self._yielding.start()
            if self._hosts is not None:
                await self._hosts.start()
                stack.push_async_callback(self._hosts.stop)
            self._running = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._running.aclose()

    @property
    def cards(self) -> int:
        """See `Pool.cards`."""
        return self._roster.cards_here

    @property
    def here(self) -> tuple[CardHere, ...]:
        """See `Pool.here`."""
        return tuple(
            CardHere(
                name=post.name,
                title=post.title if post.device is None else post.device.name,
                memory=None if post.device is None else post.device.memory,
                host=post.host,
            )
            for post in self._roster.open_cards
            if not self._yielding.is_away(post.name)
        )

    @property
    def lanes(self) -> int:
        """See `Pool.lanes`."""
        return self._roster.lanes

    @property
    def address(self) -> str:
        """Where hosts come in, as they are to write it."""
        return self._engine.address

    def worker_pids(self) -> dict[str, int]:
        """Process id of each worker that is up, by its name."""
        return self._engine.pids()

    def on_news(self, tell: Callable[[str], None]) -> None:
        """See `Pool.on_news`; what happened before is told now."""
        self._news.on(tell)

    def on_renewal(self, tell: Callable[[str], None]) -> None:
        """See `Pool.on_renewal`; what happened before is told now."""
        self._renewals.on(tell)

    def _heard(self, progress: Progress) -> None:
        self._calls.heard(progress)
        self._listener(progress)

    # ------------------------------------------------------------------ hosts, see `hosts.Guests`

    def admit(self, crew: Crew) -> None:
        """A host was let in; its workers are being started."""
        for post in crew.posts:
            self._calls.admit(post)
        self._roster.add(crew)
        self._blocklist.know([post.title for post in self._roster.cards])

    def arrived(self, host: str) -> None:
        """Its workers are up: they are given work from now on."""
        self._roster.arrive(host)

    def departed(self, host: str) -> None:
        """It gets no more work."""
        self._roster.depart(host)

    def left_to_others(self, name: str, *, away: bool) -> None:
        """A card of a host is used by somebody else, or is free again."""
        self._roster.set_away(name, away=away)

    def squeezed(self, name: str, room: int | None) -> None:
        """Others leave so many bytes of a card's memory; None: all."""
        self._roster.squeeze(name, room)

    def in_work(self, host: str) -> int:
        """Calls that are in work there."""
        return self._roster.in_work(host)

    def rendering(self) -> Mapping[str, Post]:
        """What is rendered where, by take id."""
        return self._roster.rendering_now

    def tell(self, words: str) -> None:
        """What became of a host or a card, for people."""
        self._news.tell(words)

    async def restart(self, name: str) -> None:
        """Give a worker a new process."""
        await self._engine.restart(name)

    async def _left(self, post: Post) -> CardYielded | None:
        """See `calls.Left`."""
        if self._yielding.is_away(post.name) or self._roster.is_away(post.name):
            return CardYielded(f"{post.title} was left to others")
        if self._hosts is not None and post.host:
            return await self._hosts.left(post)
        return None

    # ------------------------------------------------------------------ renders

    async def render(self, order: RenderOrder, *, budget: float, place: int = 0) -> Receipt:
        """See `Pool.render`."""
        may, losses = self._may(order), 0
        while True:
            await self._wait_for_a_card(order, may)
            together = min(order.gpus, self._roster.seats.together(may))
            try:
                if together > 1:
                    return await self._render_together(order, together, budget, place)
                return await self._render_on_one(order, budget, place)
            except HostLost as lost:
                if (losses := losses + 1) == MOST_HOSTS:
                    raise WorkerLost(f"{lost}, {losses} times in a row") from lost
            except (NoCard, CardYielded):
                continue  # a card was taken out while it waited, or left to others under it

    def _may(self, order: RenderOrder) -> Callable[[int], bool]:
        work = Work.of(order.recipe)
        return lambda card: self._fits(card, order) and self._blocklist.is_open(card, work)

    def _fits(self, card: int, order: RenderOrder) -> bool:
        """Whether the card is large enough, by the estimate; where all cards of a night without
        hosts are smaller, the plan was made for others: they are tried, from the lowest rung."""
        memory = self._roster.memory(card)
        if memory is None or memory >= order.least_memory:
            return True
        return self._hosts is None and not self._roster.has_card_of(order.least_memory)

    async def _wait_for_a_card(self, order: RenderOrder, may: Callable[[int], bool]) -> None:
        """Return when there is a card that the take may have, in use or not.

        Raises CardsBlocked where there is none, nor, where hosts may join, comes in time.
        """
        if self._roster.seats.count(may):
            return
        work = Work.of(order.recipe)
        why = "; ".join(self._blocklist.why(work))
        if self._hosts is not None:
            coming = self._hosts.a_card(order, lambda: self._roster.seats.count(may), why)
            async with within_hours(order.stop_at, coming) as found:
                if found:
                    return
        raise CardsBlocked(
            f"no card is left tonight for {work}: {why or 'none that is large enough is here'}",
            memory=self._blocklist.is_memory_alone(work) if why else self._roster.cards_here > 0,
        )

    async def _render_on_one(self, order: RenderOrder, budget: float, place: int) -> Receipt:
        """The take on one card. If it was only near when its worker died, it is sent again."""
        near = 0
        while True:
            seat = self._roster.seats.one(
                model=order.model.location,
                place=place,
                may=self._may(order),
                avoid=self._blocklist.failed_on(order.take_id),
                needs=order.least_memory,
                prefer=self._roster.number_of(order.best_on),
            )
            try:
                async with within_hours(order.stop_at, seat) as card:
                    receipt = await self._blaming(card, order, budget)
            except Near as lost:
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
        except (Near, CardYielded):
            raise
        except RenderError as error:
            if words := self._blocklist.failed(card, take=order.take_id, work=work, error=error):
                self.tell(words)
            raise
        self._blocklist.succeeded(card, take=order.take_id, work=work)
        return receipt

    async def _on_card(self, card: int, function: str, order: RenderOrder, budget: float) -> Any:
        post = self._roster.cards[card]
        assert post.device is not None, "what renders has a device"
        order = replace(order, device=post.device.torch_device, placement=post.device.placement)
        call = self._calls.at(post, function, order, name=order.take_id, budget=budget)
        if function != "render":
            return await call
        with self._roster.rendering(order.take_id, post):
            receipt = await call
        return replace(receipt, host=post.host)

    async def _render_together(
        self, order: RenderOrder, size: int, budget: float, place: int
    ) -> Receipt:
        """The take on several cards of one host: one worker leads, the others lend it theirs."""
        # NOTE: a gang's failures are not counted: which of its cards was to blame is not known.
        seats = self._roster.seats.gang(
            size=size,
            model=order.model.location,
            place=place,
            may=self._may(order),
            needs=order.least_memory,
        )
        async with within_hours(order.stop_at, seats) as cards:
            posts = [self._roster.cards[card] for card in cards]
            meetings = posts[0].scratch or self._scratch
            calls = {post.name: card for post, card in zip(posts, cards, strict=True)}

            def send(name: str, function: str, part: RenderOrder) -> Any:
                return self._on_card(calls[name], function, part, budget)

            return await render_together(
                order, list(calls), budget=budget, meetings=meetings, engine=self._engine, send=send
            )

    # ------------------------------------------------------------------ what follows a render

    async def score(self, order: ScoreOrder, *, budget: float) -> Scorecard:
        """See `Pool.score`."""
        return await self._afterwards.score(order, budget=budget)

    async def finish(self, order: FinishOrder, *, budget: float) -> Delivery:
        """See `Pool.finish`."""
        return await self._afterwards.finish(order, budget=budget)

    async def picture(self, clip: Path, *, budget: float) -> tuple[Path, Path]:
        """See `Pool.picture`."""
        return await self._afterwards.picture(clip, budget=budget)
