"""The order of a night, and who ends when: the plan's lines driven through the dispatcher."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from graphlib import TopologicalSorter

from manifests.deadline import moment_words
from manifests.sequence import shot_key
from manifests.settings import Studio
from manifests.shot import Manifest
from reports.ledger_reads import LedgerReads
from reports.take import ShotStatus
from tasks.card_groups import Card
from tasks.cards import cards_of
from tasks.chains import Work
from tasks.control import Control, read_control
from tasks.dispatch import Dispatcher
from tasks.estimate import Estimator, card_kind
from tasks.forecast import Slot, WorkClock, forecast
from tasks.gpus import count_cards
from tasks.plan_line import PlanLine
from tasks.waiting import REFUSED, standing, waits_words, why_not


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the order of a night is made from, besides its shots."""

    cards: tuple[Card, ...]
    """Never empty: a machine without cards renders on one that has any memory."""
    loads: Mapping[str, float]
    """Seconds to load each model, by name."""
    clock: WorkClock
    speed: Callable[[str], float]
    """How fast cards of a kind (`card_kind`) are against those that estimates are for."""

    def seconds(self, deadline: datetime | None) -> float | None:
        """A deadline on the night's clock; None where there is none that could press."""
        found = None if deadline is None else self.clock.seconds(deadline)
        return None if found == float("inf") else found


def terms_for(
    studio: Studio,
    *,
    estimator: Estimator,
    lines: Iterable[PlanLine],
    now: datetime | None = None,
    ignore_hours: bool = False,
) -> Terms:
    """The terms of a night that begins at `now`, or with the studio's next hours."""
    recipes = {line.shot.recipe.model: line.shot.recipe for line in lines}
    loads = {model: estimator.load_seconds(recipe) for model, recipe in recipes.items()}
    known = cards_of(studio)
    cards = tuple(
        Card(name=c.name, memory=c.memory, speed=estimator.speed(card_kind(c.name))) for c in known
    )
    number = count_cards(studio.device, studio.placement, rules=studio.cards) or 1
    return Terms(
        cards=cards or tuple(Card(name=f"card-{i}", memory=0) for i in range(number)),
        loads=loads,
        clock=WorkClock(now or datetime.now(UTC), None if ignore_hours else studio.window),
        speed=estimator.speed,
    )


def reference_card(studio: Studio) -> str | None:
    """The kind of card that estimates are for: the first one's; None where there is none."""
    known = cards_of(studio)
    return card_kind(known[0].name) if known else None


def with_waits(lines: Sequence[PlanLine], gone: Callable[[str], str | None]) -> list[PlanLine]:
    """The lines, those with words that nothing is done on tonight whatever becomes of the rest:
    a shot that they come after is held, or is not among the lines.

    `gone` says of a shot that is not why it cannot be followed; None: it is approved. What a line
    says already it goes on to say.
    """
    by_key = {line.key: line for line in lines}
    found = {line.key: line.waits for line in lines}

    def why(before: str) -> str | None:
        line = by_key.get(before)
        if line is None:
            return gone(before)
        if line.is_open:
            return "waits itself" if found[before] is not None else None
        return why_not(line.status, tonight=True)

    graph = {key: [b for b in line.shot.after if b in by_key] for key, line in by_key.items()}
    for key in TopologicalSorter(graph).static_order():
        line = by_key[key]
        if found[key] is None and line.is_open:
            reasons = ((before, why(before)) for before in line.shot.after)
            told = next((each for each in reasons if each[1] is not None), None)
            if told is not None and told[1] is not None:
                found[key] = waits_words(told[0], told[1], sheet=line.manifest)
    return [replace(line, waits=found[line.key]) for line in lines]


def not_of_these(
    sheets: Iterable[Manifest], ledger: LedgerReads | None
) -> Callable[[str], str | None]:
    """`gone` for `with_waits`: the shot's line was refused, or its sheet is none of these."""
    refused = {
        shot_key(sheet.name, fault.shot)
        for sheet in sheets
        for fault in sheet.faults
        if fault.shot is not None
    }
    return lambda key: REFUSED if key in refused else standing(key, ledger=ledger)


def in_order(lines: Sequence[PlanLine], terms: Terms, studio: Studio) -> tuple[PlanLine, ...]:
    """The lines as they are rendered, each with when it ends: then those that wait for the next
    night, then those that there is nothing to do on."""
    said = read_control(studio.state_dir)
    by_key = {line.key: line for line in lines}
    works = works_of(lines, terms, said)
    loads = terms.loads
    dispatcher = Dispatcher(works, cards=terms.cards, load_seconds=loads)
    slots = forecast(dispatcher, cards=terms.cards, loads=loads)
    worst: dict[str, float] = {}
    if any(work.deadline is not None for work in works):
        high = {work.id: max(work.seconds, by_key[work.id].estimate.high) for work in works}
        dispatcher = Dispatcher(works, cards=terms.cards, load_seconds=loads)
        at_worst = forecast(
            dispatcher, cards=terms.cards, loads=loads, seconds=lambda work: high[work.id]
        )
        worst = {slot.work.id: slot.ends for slot in at_worst}
    going = [_timed(by_key[slot.work.id], slot, terms, worst, studio) for slot in slots]
    has_turn = {slot.work.id for slot in slots}
    rest = [line for line in lines if line.key not in has_turn]
    rest.sort(key=lambda line: not line.is_open)
    return (*going, *rest)


def works_of(lines: Iterable[PlanLine], terms: Terms, said: Control) -> list[Work]:
    """What the dispatcher is given: the open shots that do not wait for another night."""
    going = [line for line in lines if line.is_open and line.waits is None]
    names = {line.key for line in going}
    return [
        Work(
            id=line.key,
            model=line.shot.recipe.model,
            seconds=line.estimate.seconds,
            memory=min(_memory(line), max(card.memory for card in terms.cards)),
            priority=rank_of(said.priority_of(line.key, line.shot.priority), line.postponed),
            deadline=terms.seconds(line.shot.deadline),
            after=tuple(before for before in line.shot.after if before in names),
            cards=line.shot.gpus,
        )
        for line in going
    ]


def rank_of(priority: int, postponed: bool) -> int:
    """The dispatcher's priority: among equals first what a night before had no time for."""
    return 2 * priority + postponed


def _memory(line: PlanLine) -> int:
    """Of the smallest card that holds it; 0 where that is not known, or where none does and the
    night makes it smaller."""
    if line.memory is None:
        return 0
    pairs = zip(line.memory.cards, line.memory.fits, strict=True)
    return min((card.memory for card, found in pairs if found.fits), default=0)


def _timed(
    line: PlanLine, slot: Slot, terms: Terms, worst: Mapping[str, float], studio: Studio
) -> PlanLine:
    moment = terms.clock.moment
    return replace(
        line,
        begins=moment(slot.begins),
        ends=moment(slot.ends),
        late=_late(line, slot.ends, worst.get(line.key), moment, studio),
    )


def _late(
    line: PlanLine,
    ends: float,
    at_worst: float | None,
    moment: Callable[[float], datetime | None],
    studio: Studio,
) -> str | None:
    """That a shot will, or may, end after its deadline, in words."""
    deadline = line.shot.deadline
    if deadline is None or line.status is ShotStatus.APPROVED:
        return None
    due = moment_words(deadline, studio.zone)
    for seconds, verb in ((ends, "ends"), (at_worst, "may end")):
        end = None if seconds is None else moment(seconds)
        if end is not None and end > deadline:
            return f"{verb} about {moment_words(end, studio.zone)}, after its deadline {due}"
    return None
