"""Which shot comes next in the night that runs: so many lanes, and the dispatcher before them.

The dispatcher is asked when a lane becomes free, not when a shot is queued, so that what a person
says in the middle of the night holds at once. The card that has the fewest shots in hand asks: a
slow one asks less often. A shot that comes after others waits until they are approved; where one
of them is not, it is told so in words and has no turn tonight.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from tasks.card_groups import Card
from tasks.chains import Work
from tasks.control import Control
from tasks.dispatch import Dispatcher
from tasks.waiting import waits_words

LOOK_EVERY = 1.0
"""Seconds between looks at what a person has said."""
NOBODY = (Card(name="nobody", memory=2**62),)
"""Stands in while no card is here, so that a few shots wait for one until the hours end."""
LEAST_AHEAD = 2
"""Shots that a card has in hand at least, where there are so many: one renders, one is next."""
NOT_RENDERED = "was not rendered"
URGENT = 1_000_000
"""Priority above which none is told apart from another at the cards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """The shots of a night as the dispatcher sees them, with what a person may change."""

    works: Sequence[Work]
    loads: Mapping[str, float] = field(default_factory=dict)
    """Seconds to load each model."""
    rank: Callable[[Control, str], int] | None = None
    """The dispatcher's priority of a shot under what a person has said; None: as `works` say."""


@dataclass(slots=True, kw_only=True)
class Lane:
    """A shot's turn."""

    words: str | None
    """Why nothing is to be done on the shot; None: it has a lane."""
    number: int = 0
    """How many shots had a lane before it."""
    card: str = ""
    """The card that asked for it: its takes are best rendered there."""
    ended: str | None = NOT_RENDERED
    """What whoever has the lane says before leaving it: why nothing can follow the shot, such as
    `is held`; None: it is approved. Without effect once it was said to be `approved`."""


class Lanes:
    """The lanes of one night; for one event loop.

    Every shot of `queued` asks for one, or is told of by `gone`: a lane that is given to a shot
    which never comes would be lost to the night.
    """

    def __init__(
        self,
        number: int | Callable[[], int],
        *,
        night: str,
        control: Callable[[], Control],
        queued: Queued,
        cards: Callable[[], Sequence[Card]],
        clock: Callable[[], float] = time.monotonic,
        look_every: float = LOOK_EVERY,
    ) -> None:
        """`number` of lanes and the `cards` that render may change in the night; `control` reads
        what a person has said; `clock` counts seconds from the dispatcher's moment 0.0 on."""
        self._number = number if callable(number) else lambda: number
        self._taken = self._served = 0
        self._night = night
        self._control, self._heard = control, Control()
        self._queued, self._cards, self._clock = queued, cards, clock
        self._there = tuple(cards()) or NOBODY
        self._dispatcher = Dispatcher(queued.works, cards=self._there, load_seconds=queued.loads)
        self._in_hand = Counter[str]()
        self._cards_of: dict[str, tuple[str, ...]] = {}
        """Of each shot that has a lane: the card that asked, and those that render it with that."""
        self._lasts: dict[str, float] = {}
        """Of each shot that has a lane: the seconds for which its cards are expected to have it."""
        self._approved = set[str]()
        """Shots that are over for what comes after them, though their lane is not given back."""
        self._busy_until: dict[str, float] = {}
        """Of each card, as expected: when what it has in hand is rendered."""
        self._look_every = look_every
        self._waiting: dict[str, asyncio.Future[Lane]] = {}
        """A future for each shot that asked; done when it has its turn."""
        self._early: dict[str, Lane] = {}
        """Turns of shots that have not asked yet."""
        self._expected = {work.id for work in queued.works}
        """Shots that have not asked yet."""
        self._looking: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def lane(self, shot: str) -> AsyncIterator[Lane]:
        """The turn of a shot (`sheet/shot`): as soon as a lane is free for it and the night is not
        paused; or, without a lane, as soon as it is clear that it has none tonight.

        Raises KeyError for a shot that is not of this queue, or that has had its turn.
        """
        if shot not in self._expected:
            raise KeyError(f"{shot} is not in the night's queue")
        self._expected.discard(shot)
        turn: asyncio.Future[Lane] = asyncio.get_running_loop().create_future()
        self._waiting[shot] = turn
        if shot in self._early:
            self._give(shot, self._early.pop(shot))
        else:
            self._hear(shot, self._control())
        self._serve()
        self._keep_looking()
        try:
            lane = await turn
        except BaseException:  # it was cancelled, or a look broke
            self._waiting.pop(shot, None)
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._give_back(shot, turn.result())
            elif shot in self._early:  # it was given in the very turn in which it gave up
                self._give_back(shot, self._early.pop(shot))
            else:
                self._leave(shot, "was interrupted")
            self._serve()
            raise
        try:
            yield lane
        finally:
            self._give_back(shot, lane)
            self._serve()

    def approved(self, shot: str) -> None:
        """A take of a shot that has a lane is approved: what comes after it may begin, while it is
        finished and delivered."""
        if shot in self._cards_of and shot not in self._approved:
            self._approved.add(shot)
            self._dispatcher.done(shot)
            self._serve()

    def gone(self, shot: str) -> None:
        """Nothing more is done on a shot tonight. If it has not asked for a lane, it will not: what
        comes after it is told, and a lane that it was given goes to another."""
        if shot not in self._expected:
            return
        self._expected.discard(shot)
        early = self._early.pop(shot, None)
        if early is not None and early.words is None:
            self._give_back(shot, early)
        else:
            self._leave(shot, NOT_RENDERED)
        self._serve()

    def place(self, shot: str, number: int) -> int:
        """The place of a shot's takes where they wait for a card: the smaller is served first.

        By the priority that holds at this moment, then by when it had its lane.
        """
        rank = self._dispatcher.priority(shot)
        if self._queued.rank is not None:
            rank = max(rank, self._queued.rank(self._control(), shot))
        return (URGENT - min(rank, URGENT)) * URGENT + number

    # ------------------------------------------------------------------ in and out

    def _give(self, shot: str, lane: Lane) -> None:
        turn = self._waiting.pop(shot, None)
        if turn is None or turn.done():
            self._early[shot] = lane
        else:
            turn.set_result(lane)

    def _give_back(self, shot: str, lane: Lane) -> None:
        """The turn of a shot is over."""
        if lane.words is not None:
            return
        self._taken -= 1
        for card in self._cards_of.pop(shot):
            self._in_hand[card] -= 1
        del self._lasts[shot]
        self._settle()
        if shot in self._approved:
            return
        if lane.ended is None:
            self._dispatcher.done(shot)
        else:
            self._leave(shot, lane.ended)

    def _leave(self, shot: str, why: str) -> None:
        """Nothing more is done on a shot tonight; those that come after it are told."""
        line = [(shot, why)]
        while line:
            gone, words = line.pop()
            with suppress(KeyError):  # it was over already
                for follower in self._dispatcher.drop(gone):
                    told = waits_words(gone, words, sheet=follower.partition("/")[0])
                    self._give(follower, Lane(words=told))
                    line.append((follower, "waits itself"))

    # ------------------------------------------------------------------ who is next

    def _serve(self) -> None:
        control = self._control()
        if control != self._heard:
            self._heard = control
            for shot in list(self._waiting):
                self._hear(shot, control)
        there = tuple(self._cards()) or NOBODY
        if there != self._there:
            self._there = there
            self._dispatcher.set_cards(there)
        while self._taken < self._number() and not control.paused and self._next():
            pass

    def _next(self) -> bool:
        """Give the next shot its lane; False when there is none for any card."""
        # Near the end little is asked ahead: what a slow card has in hand nobody else can take.
        ahead = max(LEAST_AHEAD, self._dispatcher.waiting // len(self._there))
        share = min(ahead, -(-self._number() // len(self._there)))
        asking = sorted(self._there, key=lambda card: (self._in_hand[card.name], -card.speed))
        now = self._clock()

        def free_in(name: str) -> float:
            return max(0.0, self._busy_until.get(name, now) - now)

        for card in asking:
            if self._in_hand[card.name] >= share:
                continue
            work = self._dispatcher.pull(card.name, now, free_in=free_in)
            if work is not None:
                self._taken += 1
                self._served += 1
                self._take_in_hand(work, card, now)
                self._give(work.id, Lane(words=None, number=self._served, card=card.name))
                return True
        return False

    def _take_in_hand(self, work: Work, card: Card, now: float) -> None:
        """Count the shot at the card that asked, and at those that render it with that."""

        def busy_until(name: str) -> float:
            return max(now, self._busy_until.get(name, now))

        others = self._dispatcher.companions(work.id, card.name, busy_until)
        for other in others:
            self._dispatcher.lend(other, work.id)
        self._cards_of[work.id] = cards = (card.name, *others)
        pace = min(each.speed for each in self._there if each.name in cards)
        self._lasts[work.id] = work.span / pace
        ends = max(map(busy_until, cards)) + self._lasts[work.id]
        for name in cards:
            self._in_hand[name] += 1
            self._busy_until[name] = ends

    def _settle(self) -> None:
        """No card is busy for longer than if all that has a lane were begun now: what ended sooner
        than expected would else be counted as busy to the end of the night."""
        ends = dict.fromkeys(self._busy_until, self._clock())
        for shot, cards in self._cards_of.items():
            end = max(ends[card] for card in cards) + self._lasts[shot]
            ends.update(dict.fromkeys(cards, end))
        for card, end in ends.items():
            self._busy_until[card] = min(self._busy_until[card], end)

    def _hear(self, shot: str, control: Control) -> None:
        """What a person has said of a shot that waits."""
        if shot not in self._waiting:
            return
        if self._queued.rank is not None:
            self._dispatcher.set_priority(shot, self._queued.rank(control, shot))
        words = control.stops(shot, night=self._night)
        if words is not None:
            self._leave(shot, "was cancelled for this night")
            self._give(shot, Lane(words=words))

    def _keep_looking(self) -> None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(), name="lanes")

    async def _look(self) -> None:
        with suppress(asyncio.CancelledError):
            while self._waiting:
                await asyncio.sleep(self._look_every)
                try:
                    self._serve()
                except Exception as error:
                    # Whoever waits would wait for good: nobody else awaits this.
                    for turn in self._waiting.values():
                        if not turn.done():
                            turn.set_exception(error)
                    self._waiting.clear()
