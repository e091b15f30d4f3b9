"""The night before it runs: the dispatcher driven by a clock that only adds. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count

from manifests.window import Hours, Window
from tasks.card_groups import Card
from tasks.chains import Work
from tasks.dispatch import Dispatcher

MOST_NIGHTS = 400
"""Nights that are looked ahead for a deadline: what lies farther does not press."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A shot on a card."""

    work: Work
    card: str
    """The one that took it."""
    begins: float
    """Seconds; the card begins to load its model then, where it must."""
    ends: float
    loads: bool
    """Whether one of its cards must load the model."""
    others: tuple[str, ...] = ()
    """The cards that render it with that one; all have waited for each other."""


def forecast(
    dispatcher: Dispatcher,
    *,
    cards: Sequence[Card],
    loads: Mapping[str, float],
    seconds: Callable[[Work], float] = lambda work: work.seconds,
) -> list[Slot]:
    """What a night does, in the order in which shots are taken, from the moment 0.0 on.

    `loads` are the seconds to load each model, `seconds` those that a shot really takes on one
    card of speed 1. The dispatcher is used up. Cards that find nothing to do ask again whenever a
    shot ends, the fastest first.
    """
    by_name = {card.name: card for card in cards}
    events: list[tuple[float, int, str, str | None]] = [
        (0.0, number, card.name, None) for number, card in enumerate(cards)
    ]
    arrivals = count(len(cards))
    busy_until = dict.fromkeys(by_name, 0.0)
    idle, slots = set[str](), list[Slot]()
    while events:
        now, _, card, finished = heapq.heappop(events)
        if finished is not None:
            dispatcher.done(finished)
        for asking in sorted({card, *idle}, key=lambda name: (-by_name[name].speed, name)):
            idle.discard(asking)
            if now < busy_until[asking]:
                continue  # it was taken for a shot on several cards meanwhile
            slot = _pull(dispatcher, by_name, asking, now, loads, seconds, busy_until)
            if slot is None:
                idle.add(asking)
                continue
            slots.append(slot)
            for each in (asking, *slot.others):
                busy_until[each] = slot.ends
                done = slot.work.id if each == asking else None
                heapq.heappush(events, (slot.ends, next(arrivals), each, done))
    return slots


def _pull(
    dispatcher: Dispatcher,
    cards: Mapping[str, Card],
    asking: str,
    now: float,
    loads: Mapping[str, float],
    seconds: Callable[[Work], float],
    busy_until: Mapping[str, float],
) -> Slot | None:
    warm = {model for model in loads if dispatcher.is_warm(asking, model)}
    work = dispatcher.pull(asking, now, free_in=lambda name: max(0.0, busy_until[name] - now))
    if work is None:
        return None
    others = dispatcher.companions(work.id, asking, busy_until.__getitem__)
    is_warm = work.model in warm and all(dispatcher.is_warm(each, work.model) for each in others)
    for other in others:
        dispatcher.lend(other, work.id)
    begins = max([now, *(busy_until[other] for other in others)])
    load = 0.0 if is_warm else loads.get(work.model, 0.0)
    pace = min(cards[name].speed for name in (asking, *others))
    return Slot(
        work=work,
        card=asking,
        begins=begins,
        ends=begins + load + work.together(seconds(work)) / pace,
        loads=not is_warm,
        others=others,
    )


class WorkClock:
    """Seconds of work since a night began: between two nights the clock stands still."""

    def __init__(self, begun: datetime, window: Window | None) -> None:
        """`begun` is the moment 0.0; without a window every second counts."""
        self._begun, self._window = begun, window
        self._nights: list[tuple[datetime, datetime, float]] = []
        """Start and end of what counts, and the seconds counted before."""

    def seconds(self, moment: datetime) -> float:
        """Seconds of work until a moment; infinite beyond `MOST_NIGHTS`, below 0 in the past."""
        if self._window is None or moment <= self._begun:
            return (moment - self._begun).total_seconds()
        for number in range(MOST_NIGHTS):
            opens, closes, before = self._night(number)
            if moment < closes:
                return before + max(0.0, (moment - opens).total_seconds())
        return float("inf")

    def moment(self, seconds: float) -> datetime | None:
        """The instant after so many seconds of work; None beyond `MOST_NIGHTS`."""
        if self._window is None:
            return self._begun + timedelta(seconds=seconds)
        for number in range(MOST_NIGHTS):
            opens, closes, before = self._night(number)
            if seconds <= before + (closes - opens).total_seconds():
                return opens + timedelta(seconds=seconds - before)
        return None

    def _night(self, number: int) -> tuple[datetime, datetime, float]:
        while len(self._nights) <= number:
            if not self._nights:
                hours = self._first()
                opens, before = max(hours.opens, self._begun), 0.0
            else:
                begun, ended, counted = self._nights[-1]
                hours = self._windowed.next(ended - timedelta(microseconds=1))
                opens, before = hours.opens, counted + (ended - begun).total_seconds()
            self._nights.append((opens, hours.closes, before))
        return self._nights[number]

    def _first(self) -> Hours:
        return self._windowed.now(self._begun) or self._windowed.next(self._begun)

    @property
    def _windowed(self) -> Window:
        assert self._window is not None, "asked for only where there are hours"
        return self._window
