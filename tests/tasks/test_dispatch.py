"""What a free card takes next: laws over simulated nights, and the choices one by one."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.chains import Impossible, Work
from tasks.dispatch import Card, Dispatcher

LOADS = {"a": 30.0, "b": 5.0, "c": 0.0}
cards = st.lists(
    st.tuples(st.sampled_from([24, 48, 80]), st.sampled_from([0.25, 0.5, 1.0])),
    min_size=1,
    max_size=5,
).map(lambda kinds: [Card(name=f"c{i}", memory=m, speed=s) for i, (m, s) in enumerate(kinds)])


@st.composite
def sheets(draw: st.DrawFn) -> tuple[list[Card], list[Work]]:
    """A few cards, and shots that fit at least one of them; some follow earlier ones."""
    studio = draw(cards)
    largest = max(card.memory for card in studio)
    works: list[Work] = []
    for index in range(draw(st.integers(1, 20))):
        earlier = st.sampled_from([work.id for work in works]) if works else st.nothing()
        works.append(
            Work(
                id=f"s{index}",
                model=draw(st.sampled_from(sorted(LOADS))),
                seconds=draw(st.floats(1, 500)),
                memory=draw(st.integers(1, largest)),
                priority=draw(st.integers(0, 2)),
                deadline=draw(st.none() | st.floats(0, 3000)),
                after=tuple(draw(st.sets(earlier, max_size=2))) if works else (),
            )
        )
    return studio, works


@dataclass(frozen=True)
class Done:
    """A shot in the book of a simulated night."""

    work: Work
    card: Card
    begun: float
    ended: float


def simulate(studio: list[Card], dispatcher: Dispatcher) -> list[Done]:
    """Run a night in which takes last exactly as long as expected."""
    by_name = {card.name: card for card in studio}
    events: list[tuple[float, str, str | None]] = [(0.0, card.name, None) for card in studio]
    idle: set[str] = set()
    book: dict[str, Done] = {}
    while events:
        now, name, finished = heapq.heappop(events)
        if finished is not None:
            dispatcher.done(finished)
        for asking in sorted({name, *idle}, key=lambda each: -by_name[each].speed):
            idle.discard(asking)
            warm = {model: dispatcher.is_warm(asking, model) for model in LOADS}
            work = dispatcher.pull(asking, now)
            if work is None:
                idle.add(asking)
                continue
            assert work.id not in book
            load = 0.0 if warm[work.model] else LOADS[work.model]
            ends = now + load + work.seconds / by_name[asking].speed
            book[work.id] = Done(work, by_name[asking], now, ends)
            heapq.heappush(events, (ends, asking, work.id))
    return list(book.values())


@settings(max_examples=25)
@given(sheets())
def test_every_shot_is_taken_once_by_a_card_that_holds_it(
    night: tuple[list[Card], list[Work]],
) -> None:
    """No night ends with a shot that nobody took, and none goes to a card that is too small."""
    studio, works = night
    dispatcher = Dispatcher(works, cards=studio, load_seconds=LOADS)
    book = simulate(studio, dispatcher)
    assert {done.work.id for done in book} == {work.id for work in works}
    assert all(done.work.memory <= done.card.memory for done in book)
    assert dispatcher.waiting == 0


@settings(max_examples=25)
@given(sheets())
def test_a_shot_waits_for_those_before_it(night: tuple[list[Card], list[Work]]) -> None:
    """What starts from another shot's last frame begins after that shot has ended."""
    studio, works = night
    book = simulate(studio, Dispatcher(works, cards=studio, load_seconds=LOADS))
    ends = {done.work.id: done.ended for done in book}
    assert all(ends[name] <= done.begun for done in book for name in done.work.after)


@settings(max_examples=25)
@given(sheets())
def test_no_night_beats_the_lower_bound(night: tuple[list[Card], list[Work]]) -> None:
    """The bound that benchmarks divide by is one."""
    studio, works = night
    dispatcher = Dispatcher(works, cards=studio, load_seconds=LOADS)
    bound = dispatcher.lower_bound()
    assert max(done.ended for done in simulate(studio, dispatcher)) >= bound - 1e-6


@settings(max_examples=25)
@given(sheets())
def test_higher_priority_is_never_taken_later_by_the_same_card(
    night: tuple[list[Card], list[Work]],
) -> None:
    """Among shots that wait for nothing, a card takes the higher priority first."""
    studio, works = night
    free = [Work(id=w.id, model=w.model, seconds=w.seconds, priority=w.priority) for w in works]
    book = simulate(studio[:1], Dispatcher(free, cards=studio[:1], load_seconds=LOADS))
    order = [done.work.priority for done in sorted(book, key=lambda done: done.begun)]
    assert order == sorted(order, reverse=True)


ONE = [Card(name="big", memory=80), Card(name="small", memory=24, speed=0.5)]


def _work(name: str, **changes: object) -> Work:
    given_values: dict[str, object] = {"id": name, "model": "a", "seconds": 60.0, **changes}
    return Work(**given_values)  # type: ignore[arg-type]


def test_a_warm_model_stays() -> None:
    """A card goes on with the model it holds, though another has a longer shot."""
    works = [_work("one"), _work("two"), _work("other", model="b", seconds=100.0)]
    dispatcher = Dispatcher(works, cards=ONE[:1], load_seconds={"a": 60.0, "b": 60.0})
    first = dispatcher.pull("big", 0.0)
    assert first is not None
    second = dispatcher.pull("big", 60.0)
    assert second is not None
    third = dispatcher.pull("big", 120.0)
    assert third is not None
    models = [work.model for work in (first, second, third)]
    assert models in (["b", "a", "a"], ["a", "a", "b"])


def test_a_large_card_leaves_small_takes_to_small_cards() -> None:
    """While large work is scarce of cards, the large card takes nothing else."""
    works = [_work("large", memory=60), *(_work(f"s{i}", memory=10) for i in range(3))]
    dispatcher = Dispatcher(works, cards=ONE)
    taken = dispatcher.pull("big", 0.0)
    assert taken is not None
    assert taken.id == "large"


def test_a_near_deadline_goes_before_a_warm_model() -> None:
    """A shot that is due soon is taken, though its model must be loaded."""
    works = [*(_work(f"a{i}") for i in range(4)), _work("due", model="b", deadline=300.0)]
    dispatcher = Dispatcher(works, cards=ONE[:1], load_seconds={"a": 60.0, "b": 60.0})
    assert dispatcher.pull("big", 0.0) is not None
    taken = dispatcher.pull("big", 120.0)
    assert taken is not None
    assert taken.id == "due"


def test_a_cold_card_does_not_load_for_what_is_nearly_done() -> None:
    """A load of ten minutes for a minute of work that another card is about to take is idle."""
    works = [_work("one"), _work("two", seconds=50.0)]
    cards_two = [Card(name="x", memory=80), Card(name="y", memory=80)]
    dispatcher = Dispatcher(works, cards=cards_two, load_seconds={"a": 600.0})
    assert dispatcher.pull("x", 0.0) is not None
    assert dispatcher.pull("y", 0.0) is None


def test_what_is_given_back_is_taken_again() -> None:
    """A shot whose card died goes to whoever asks next."""
    dispatcher = Dispatcher([_work("one")], cards=ONE)
    taken = dispatcher.pull("big", 0.0)
    assert taken is not None
    assert dispatcher.pull("small", 1.0) is None
    dispatcher.give_back("one")
    assert dispatcher.pull("small", 2.0) == taken


def test_a_shot_can_be_moved_to_the_front() -> None:
    """A new priority holds from the next question on; a taken shot cannot be moved."""
    dispatcher = Dispatcher([_work("long", seconds=90.0), _work("short")], cards=ONE)
    dispatcher.set_priority("short", 5)
    taken = dispatcher.pull("big", 0.0)
    assert taken is not None
    assert taken.id == "short"
    with pytest.raises(KeyError):
        dispatcher.set_priority("short", 1)


def test_shots_come_while_the_night_runs() -> None:
    """A sheet that arrives later is worked off like the others."""
    dispatcher = Dispatcher([], cards=ONE)
    assert dispatcher.pull("big", 0.0) is None
    dispatcher.add([_work("late")])
    taken = dispatcher.pull("big", 10.0)
    assert taken is not None
    assert taken.id == "late"


@pytest.mark.parametrize(
    ("works", "said"),
    [
        ([_work("huge", memory=100)], "no card holds huge"),
        ([_work("x", after=("y",)), _work("y", after=("x",))], "x, y wait for each other"),
        ([_work("x", after=("gone",))], "come after shots that are not there"),
    ],
)
def test_impossible_work_is_refused_by_name(works: list[Work], said: str) -> None:
    """Shots that nobody could ever take are named before the night."""
    with pytest.raises(Impossible, match=said):
        Dispatcher(works, cards=ONE)
