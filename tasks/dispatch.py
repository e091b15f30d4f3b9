"""Which shot a free card takes next. Pull-based: a slow card asks less often, so it takes less.

Pure: no clock, no cards; whoever drives it says what time it is. The night (`tasks.lanes`), the
plan (`tasks.forecast`) and the simulation in `benchmarks/dispatch.py` drive the same rule. In the
order of weight:

1. priority, which a shot shares with those it comes after; then deadlines that come near: the
   earliest first, and before it what it comes after (`tasks.due_order`);
2. scarce cards for what needs them: a card with much memory leaves small takes to small cards
   while the work that only it can hold would last longer than the rest;
3. the model that is warm on the card, since loading one takes minutes; a cold card joins the
   model whose cards have the most work left, and only where that ends sooner than without it;
4. longest first, counting what must follow a shot (a sequence is as long as its chain);
5. at the end, a slow card leaves a shot that the others would finish sooner.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from tasks.card_groups import Card, CardGroups
from tasks.chains import (
    Impossible,
    Work,
    chain_seconds,
    due_times,
    order_of,
    urgent_priorities,
)
from tasks.due_order import DueOrder
from tasks.ready_work import Bucket, Kind, ReadyWork

SCARCE = 1.02
"""Work that needs large cards comes first where it would last this much longer than all work:
chosen in `benchmarks/lanes.py`; nearer to 1 cards change their model more often."""


def at_once(card: str) -> float:
    """The card has nothing in hand."""
    return 0.0


class Dispatcher:
    """The work of a night that nobody has taken yet."""

    def __init__(
        self,
        works: Iterable[Work],
        *,
        cards: Sequence[Card],
        load_seconds: Mapping[str, float] | None = None,
    ) -> None:
        """`load_seconds`: of each model, on any card; 0 where it is not named.

        Raises Impossible for work that fits no card, and for shots that wait for themselves.
        """
        self._load = dict(load_seconds or {})
        self._warm: dict[str, str | None] = {}
        self._asked: dict[str, Work] = {}
        self._works: dict[str, Work] = {}
        """What was asked for, on no more cards than there are."""
        self._ready = ReadyWork(self._is_ready)
        self._blocked: dict[str, set[str]] = {}
        self._followers: dict[str, list[str]] = defaultdict(list)
        self._done: set[str] = set()
        self._dropped: set[str] = set()
        self._taken = set[str]()
        self._chain: dict[str, float] = {}
        self._backlog: dict[str, float] = defaultdict(float)
        self._longest_seconds = 0.0
        self._order: list[str] = []
        self._priority: dict[str, int] = {}
        self._dates = DueOrder(
            works=self._works, priority=self._priority, is_left=self._is_left, load=self._load
        )
        self._lay_out(cards)
        self._add_all(list(works))

    # ------------------------------------------------------------------ what is known

    @property
    def waiting(self) -> int:
        """Shots that nobody has taken, those that wait for others included."""
        return len(self._works) - len(self._taken) - len(self._done) - len(self._dropped)

    def is_warm(self, card: str, model: str) -> bool:
        """Whether the card holds the model, once its work in hand is done."""
        return self._warm.get(card) == model

    def priority(self, name: str) -> int:
        """What holds for a shot: its own priority, or that of one that waits for it."""
        return self._priority[name]

    def lower_bound(self) -> float:
        """Seconds that no order could beat for what is left, were every load but one a card free.

        The longest of: all work over all cards, the same for the work that only large cards hold,
        and the longest chain on the fastest of them.
        """
        least_load = min((self._load.get(model, 0.0) for model in self._backlog), default=0.0)
        fastest = max(card.speed for card in self._cards.values())
        chains = [self._chain[name] / fastest for name in self._works if name not in self._done]
        shares = [
            sum(left for fits, left in self._left.items() if fits >= size) / self._speed_from[size]
            for size in self._sizes
        ]
        return least_load + max([*chains, *shares], default=0.0)

    # ------------------------------------------------------------------ what changes

    def pull(
        self, card: str, now: float, *, free_in: Callable[[str], float] = at_once
    ) -> Work | None:
        """What `card` shall render; None: nothing that it could take or should.

        `free_in` says in how many seconds each card has done what it has in hand: one may ask for
        its next shot before, and leaves it where another would end it sooner.

        After None it should ask again when something was done or added; when several do, the
        fastest first. While no shot is in work, whoever asks gets what there is.
        """
        here = self._cards[card]
        buckets = [bucket for bucket in self._open(here) if self._ready.first(bucket)]
        if not buckets:
            return None
        top = max(bucket.kind.priority for bucket in buckets)
        buckets = [bucket for bucket in buckets if bucket.kind.priority == top]
        chosen = self._dates.first(
            lambda name: self._is_ready(name) and self._may_take(here, self._works[name]),
            priority=top,
            now=now,
            margin=self._longest_seconds / here.speed,
            speed=self._speed_from[self._sizes[0]],
            takes=lambda name: free_in(card) + self._seconds_on(here, self._works[name]),
        )
        if chosen is None:
            bucket = self._bucket(here, buckets)
            chosen = None if bucket is None else self._sensible(here, bucket, free_in)
        if chosen is None:
            return None
        self._take(chosen, card)
        return self._works[chosen]

    def companions(
        self, name: str, leader: str, busy_until: Callable[[str], float]
    ) -> tuple[str, ...]:
        """The cards that render a shot with the one that took it, those first that are free
        soonest; none for a shot on one card."""
        work, lead = self._works[name], self._cards[leader]
        return tuple(card.name for card in self._groups.companions(work, lead, busy_until))

    def lend(self, card: str, name: str) -> None:
        """The card renders that shot with another one: it holds its model from now on."""
        self._warm[card] = self._works[name].model

    def done(self, name: str) -> None:
        """A shot is over; what waited for it becomes ready. Raises KeyError when not taken."""
        self._taken.remove(name)
        self._done.add(name)
        # NOTE: followers in the order of the sheet, so that equal nights are equal.
        for follower in self._followers[name]:
            self._blocked[follower].discard(name)
            if not self._blocked[follower]:
                self._make_ready(follower)

    def drop(self, name: str) -> tuple[str, ...]:
        """Nothing more is done on a shot, taken or not; those that come after it never become
        ready: their names. Raises KeyError when it is done, dropped or unknown."""
        if name not in self._works or not (self._is_left(name) or name in self._taken):
            raise KeyError(name)
        work = self._works[name]
        if name not in self._taken:
            self._count(work, -1)
        self._taken.discard(name)
        self._dropped.add(name)
        return tuple(follower for follower in self._followers[name] if self._is_left(follower))

    def set_cards(self, cards: Sequence[Card]) -> None:
        """Cards have joined or left; those that stay keep their models. Work that only a card
        which left could hold counts as what fits the largest of the rest."""
        self._lay_out(cards)
        self._backlog.clear()
        self._works.update({name: self._groups.clamped(w) for name, w in self._asked.items()})
        self._chain.update(chain_seconds(self._works, self._order, self._followers))
        for name in filter(self._is_left, self._works):
            self._count(self._works[name], 1)
        for name in self._ready.by_arrival():
            self._ready.put(name, self._kind(name), self._chain[name])
        self._dates.know(due_times(self._works, self._order, self._followers))

    def set_priority(self, name: str, priority: int) -> None:
        """Move a shot that nobody has taken yet. Raises KeyError when it is taken or unknown."""
        if not self._is_left(name):
            raise KeyError(name)
        if self._works[name].priority == priority:
            return
        for works in (self._asked, self._works):
            works[name] = replace(works[name], priority=priority)
        before = dict(self._priority)
        self._priority.update(urgent_priorities(self._works, self._order, self._followers))
        self._dates.moved()
        for moved in [each for each in before if before[each] != self._priority[each]]:
            if self._is_ready(moved):
                self._make_ready(moved)

    def add(self, works: Iterable[Work]) -> None:
        """More work has come. Raises Impossible, and then nothing of it was added."""
        self._add_all(list(works))

    # ------------------------------------------------------------------ the choice

    def _seconds_on(self, here: Card, work: Work) -> float:
        load = 0.0 if self.is_warm(here.name, work.model) else self._load.get(work.model, 0.0)
        return work.span / here.speed + load

    def _open(self, here: Card) -> Iterator[Bucket]:
        has_room = self._groups.has_room
        return (
            bucket
            for bucket in self._ready.buckets
            if has_room(here, cards=bucket.kind.cards, memory=bucket.kind.fits)
        )

    def _may_take(self, here: Card, work: Work) -> bool:
        return self._groups.has_room(here, cards=work.cards, memory=self._fits(work))

    def _bucket(self, here: Card, buckets: list[Bucket]) -> Bucket | None:
        scarce = self._scarce(here)
        kept = [bucket for bucket in buckets if bucket.kind.fits >= scarce] or buckets
        # Side by side they end together, so that the next one finds its cards free at once.
        kept = [bucket for bucket in kept if bucket.kind.cards > 1] or kept
        warm = [bucket for bucket in kept if bucket.kind.model == self._warm[here.name]]
        if warm:
            return max(warm, key=lambda bucket: bucket.longest)
        worth = [bucket for bucket in kept if self._is_worth_loading(bucket.kind.model)]
        return max(
            worth,
            key=lambda bucket: (self._hours_left(bucket.kind.model), bucket.longest),
            default=None,
        )

    def _scarce(self, here: Card) -> int:
        """The class of memory whose work would last longest on the cards that can hold it."""
        everything = sum(self._left.values()) / self._speed_from[self._sizes[0]]
        best, longest = self._sizes[0], everything * SCARCE
        for size in self._sizes:
            if size > here.memory:
                break
            left = sum(part for fits, part in self._left.items() if fits >= size)
            if left / self._speed_from[size] > longest:
                best, longest = size, left / self._speed_from[size]
        return best

    def _hours_left(self, model: str) -> float:
        """Seconds that the cards which hold `model` still need for it, were one more to join."""
        speed = sum(self._cards[name].speed for name, warm in self._warm.items() if warm == model)
        return self._backlog[model] / (speed + 1.0)

    def _is_worth_loading(self, model: str) -> bool:
        """Whether the cards that hold `model` need longer for it than a load takes."""
        if not self._taken:
            return True
        speed = sum(self._cards[name].speed for name, warm in self._warm.items() if warm == model)
        return speed == 0.0 or self._backlog[model] / speed > self._load.get(model, 0.0)

    def _sensible(self, here: Card, bucket: Bucket, free_in: Callable[[str], float]) -> str | None:
        """The longest of the bucket that the others would not finish sooner without this card."""
        others = [
            card
            for card in self._cards.values()
            if card.name != here.name and card.memory >= bucket.kind.fits
        ]
        if not others or not self._taken:
            return self._ready.first(bucket)
        ahead, rest = free_in(here.name), sum(self._left.values()) / sum(c.speed for c in others)
        fastest = max(card.speed for card in others)
        slower = 1 / here.speed - 1 / fastest
        first = self._ready.first(bucket)
        assert first is not None, "only buckets with ready work are looked at"
        if ahead + self._works[first].span * slower <= rest:
            return first
        rest += min(free_in(card.name) for card in others)
        return next(
            (
                name
                for name in self._ready.by_length(bucket)
                if ahead + self._works[name].span * slower <= rest
            ),
            None,
        )

    # ------------------------------------------------------------------ the books

    def _is_ready(self, name: str) -> bool:
        return self._is_left(name) and not self._blocked[name]

    def _is_left(self, name: str) -> bool:
        """Whether nobody has taken it and somebody is to."""
        return name not in self._taken and name not in self._done and name not in self._dropped

    def _lay_out(self, cards: Sequence[Card]) -> None:
        """Empty books for these cards."""
        self._groups = CardGroups(cards)
        self._cards = {card.name: card for card in cards}
        self._sizes = sorted({card.memory for card in cards}) or [0]
        self._speed_from = {
            size: sum(card.speed for card in cards if card.memory >= size) for size in self._sizes
        }
        self._warm = {name: self._warm.get(name) for name in self._cards}
        self._ready.clear()
        self._left: dict[int, float] = dict.fromkeys(self._sizes, 0.0)

    def _take(self, name: str, card: str) -> None:
        work = self._works[name]
        self._taken.add(name)
        self._warm[card] = work.model
        self._count(work, -1)

    def _count(self, work: Work, sign: int) -> None:
        """Enter work into the books of what is left, or take it out."""
        self._left[self._fits(work)] += sign * work.area
        self._backlog[work.model] += sign * work.area
        self._longest_seconds = max(self._longest_seconds, work.span)

    def _fits(self, work: Work) -> int:
        return next((size for size in self._sizes if size >= work.memory), self._sizes[-1])

    def _make_ready(self, name: str) -> None:
        self._ready.arrive(name, self._kind(name), self._chain[name])

    def _kind(self, name: str) -> Kind:
        work = self._works[name]
        return Kind(self._priority[name], self._fits(work), work.model, work.cards)

    def _add_all(self, works: list[Work]) -> None:
        asked = {work.id: work for work in works}
        works = [self._groups.clamped(work) for work in works]
        known = {**self._works, **{work.id: work for work in works}}
        if self._cards:
            _check(works, known, largest=self._sizes[-1])
        followers: dict[str, list[str]] = defaultdict(list)
        for name, work in known.items():
            for before in dict.fromkeys(work.after):
                followers[before].append(name)
        order = self._order = order_of(known, followers)
        self._asked.update(asked)
        self._works.update(known)
        self._followers, self._chain = followers, chain_seconds(known, order, followers)
        self._priority.update(urgent_priorities(known, order, followers))
        for work in works:
            self._blocked[work.id] = {name for name in work.after if name not in self._done}
            self._count(work, 1)
        self._dates.know(due_times(known, order, followers))
        for work in works:
            if not self._blocked[work.id]:
                self._make_ready(work.id)


def _check(works: Sequence[Work], known: Mapping[str, Work], *, largest: int) -> None:
    large = [work.id for work in works if work.memory > largest]
    if large:
        raise Impossible(f"no card holds {', '.join(large[:5])}: the largest has {largest} bytes")
    lost = [work.id for work in works if any(name not in known for name in work.after)]
    if lost:
        raise Impossible(f"{', '.join(lost[:5])} come after shots that are not there")
