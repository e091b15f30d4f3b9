"""What a free card takes next: laws over simulated nights, and the choices one by one."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import examples

from tasks.card_groups import Card
from tasks.chains import Impossible, Work
from tasks.dispatch import Dispatcher
from tasks.forecast import Slot, forecast

LOADS = {"a": 30.0, "b": 5.0, "c": 0.0}
cards = st.lists(
    st.tuples(
        st.sampled_from([24, 48, 80]), st.sampled_from([0.25, 0.5, 1.0]), st.sampled_from(["", "h"])
    ),
    min_size=1,
    max_size=5,
).map(
    lambda kinds: [
        Card(name=f"c{i}", memory=m, speed=s, group=g) for i, (m, s, g) in enumerate(kinds)
    ]
)


@st.composite
def sheets(draw: st.DrawFn) -> tuple[list[Card], list[Work]]:
    """A few cards of two hosts, and shots that fit at least one of them; some follow earlier ones,
    some want several cards, or more than there are."""
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
                cards=draw(st.sampled_from([1, 1, 2, 3])),
            )
        )
    return studio, works


def simulate(studio: list[Card], dispatcher: Dispatcher) -> list[Slot]:
    """Run a night in which takes last exactly as long as expected."""
    return forecast(dispatcher, cards=studio, loads=LOADS)


@settings(max_examples=25)
@given(sheets())
def test_every_shot_is_taken_once_by_a_card_that_holds_it(
    night: tuple[list[Card], list[Work]],
) -> None:
    """No night ends with a shot that nobody took, and none goes to a card that is too small."""
    studio, works = night
    dispatcher = Dispatcher(works, cards=studio, load_seconds=LOADS)
    book = simulate(studio, dispatcher)
    assert sorted(slot.work.id for slot in book) == sorted(work.id for work in works)
    memory = {card.name: card.memory for card in studio}
    assert all(slot.work.memory <= memory[slot.card] for slot in book)
    assert dispatcher.waiting == 0


@settings(max_examples=examples(50))
@given(sheets())
def test_a_card_renders_one_shot_at_a_time(night: tuple[list[Card], list[Work]]) -> None:
    """Also one that it renders with others; those are of one host, hold the shot, and are as many
    as it wants or as the best host has."""
    studio, works = night
    book = simulate(studio, Dispatcher(works, cards=studio, load_seconds=LOADS))
    wanted, by_name = {work.id: work.cards for work in works}, {card.name: card for card in studio}
    for card in by_name:
        mine = [slot for slot in book if card in (slot.card, *slot.others)]
        mine.sort(key=lambda slot: (slot.begins, slot.ends))
        assert all(one.ends <= two.begins for one, two in pairwise(mine))
    for slot in book:
        crew = [by_name[name] for name in {slot.card, *slot.others}]
        holding = [card.group for card in studio if card.memory >= slot.work.memory]
        most = max(holding.count(group) for group in holding)
        assert len(crew) == 1 + len(slot.others) == min(wanted[slot.work.id], most)
        assert {card.group for card in crew} == {crew[0].group}
        assert all(card.memory >= slot.work.memory for card in crew)


@settings(max_examples=25)
@given(sheets())
def test_a_shot_waits_for_those_before_it(night: tuple[list[Card], list[Work]]) -> None:
    """What starts from another shot's last frame begins after that shot has ended."""
    studio, works = night
    book = simulate(studio, Dispatcher(works, cards=studio, load_seconds=LOADS))
    ends = {slot.work.id: slot.ends for slot in book}
    assert all(ends[name] <= slot.begins for slot in book for name in slot.work.after)


@pytest.mark.slow
@settings(max_examples=25)
@given(sheets())
def test_no_night_beats_the_lower_bound(night: tuple[list[Card], list[Work]]) -> None:
    """The bound that benchmarks divide by is one."""
    studio, works = night
    dispatcher = Dispatcher(works, cards=studio, load_seconds=LOADS)
    bound = dispatcher.lower_bound()
    assert max(slot.ends for slot in simulate(studio, dispatcher)) >= bound - 1e-6


@settings(max_examples=25)
@given(sheets())
def test_higher_priority_is_never_taken_later_by_the_same_card(
    night: tuple[list[Card], list[Work]],
) -> None:
    """Among shots that wait for nothing, a card takes the higher priority first."""
    studio, works = night
    free = [Work(id=w.id, model=w.model, seconds=w.seconds, priority=w.priority) for w in works]
    book = simulate(studio[:1], Dispatcher(free, cards=studio[:1], load_seconds=LOADS))
    order = [slot.work.priority for slot in book]
    assert order == sorted(order, reverse=True)


@pytest.mark.slow
@settings(max_examples=25)
@given(sheets())
def test_equal_nights_are_equal(night: tuple[list[Card], list[Work]]) -> None:
    """The order follows from cards and shots alone."""
    studio, works = night
    books = [simulate(studio, Dispatcher(works, cards=studio, load_seconds=LOADS)) for _ in "ab"]
    assert books[0] == books[1]


@settings(max_examples=examples(50))
@given(st.lists(st.tuples(st.floats(1, 100), st.floats(1, 2000)), min_size=1, max_size=12))
def test_deadlines_that_one_card_can_keep_are_kept(dated: list[tuple[float, float]]) -> None:
    """Where taking the earliest first would keep all with some room, none is missed, though long
    shots without a deadline are there too."""
    lengths = [length for length, _ in dated]
    longest = max(lengths)
    ends, due = 0.0, []
    for length, slack in sorted(dated, key=lambda each: each[1]):
        ends += length
        due.append(1.3 * ends + 2 * longest + slack)
    works = [
        _work(f"d{n}", seconds=length, deadline=deadline)
        for n, ((length, _), deadline) in enumerate(
            zip(sorted(dated, key=lambda each: each[1]), due, strict=True)
        )
    ]
    works += [_work(f"u{n}", seconds=longest) for n in range(10)]
    book = forecast(Dispatcher(works, cards=ONE[:1]), cards=ONE[:1], loads={})
    for slot in book:
        assert slot.work.deadline is None or slot.ends <= slot.work.deadline


@pytest.mark.slow
@settings(max_examples=25)
@given(sheets(), st.data())
def test_what_is_dropped_is_never_taken_nor_what_comes_after_it(
    night: tuple[list[Card], list[Work]], data: st.DataObject
) -> None:
    """All others are, and nobody waits for ever."""
    studio, works = night
    dispatcher = Dispatcher(works, cards=studio, load_seconds=LOADS)
    line = [data.draw(st.sampled_from([work.id for work in works]))]
    gone = set[str]()
    while line:
        if (name := line.pop()) not in gone:
            gone.add(name)
            line += dispatcher.drop(name)
    behind = {work.id for work in works if gone & set(work.after)}
    assert behind <= gone
    book = simulate(studio, dispatcher)
    assert {slot.work.id for slot in book} == {work.id for work in works} - gone
    assert dispatcher.waiting == 0
    with pytest.raises(KeyError):
        dispatcher.drop(next(iter(gone)))


@pytest.mark.slow
@settings(max_examples=25)
@given(sheets(), cards)
def test_cards_may_change_while_the_night_runs(
    night: tuple[list[Card], list[Work]], others: list[Card]
) -> None:
    """Whatever cards there are in the end take what is left, each shot once."""
    studio, works = night
    dispatcher = Dispatcher(works, cards=studio, load_seconds=LOADS)
    taken = []
    while len(taken) < len(works) // 2 and (first := dispatcher.pull(studio[0].name, 0.0)):
        taken.append(first.id)
        dispatcher.done(first.id)
    dispatcher.set_cards(others)
    book = simulate(others, dispatcher)
    assert sorted([*taken, *(slot.work.id for slot in book)]) == sorted(w.id for w in works)


TWINS = [Card(name="x", memory=80), Card(name="y", memory=80)]
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


def test_a_shot_on_two_cards_takes_both_and_less_time() -> None:
    """The other card is not asked for anything until it is done; both hold its model then."""
    works = [_work("hero", seconds=175.0, cards=2, priority=1), _work("one"), _work("two")]
    dispatcher = Dispatcher(works, cards=TWINS, load_seconds={"a": 10.0})
    hero, *rest = forecast(dispatcher, cards=TWINS, loads={"a": 10.0})
    assert (hero.work.id, hero.begins, hero.ends) == ("hero", 0.0, 110.0)
    assert {hero.card, *hero.others} == {"x", "y"}
    assert {(slot.begins, slot.ends, slot.loads) for slot in rest} == {(110.0, 170.0, False)}


def test_a_shot_on_two_cards_waits_for_the_second() -> None:
    """The card that took it stands idle meanwhile: that is what it costs."""
    works = [
        _work("long", seconds=90.0, priority=2),
        _work("short", seconds=30.0, priority=2),
        _work("hero", seconds=70.0, cards=2, priority=1),
        _work("last"),
    ]
    book = forecast(Dispatcher(works, cards=TWINS), cards=TWINS, loads={})
    times = {slot.work.id: (slot.begins, slot.ends) for slot in book}
    assert times["hero"] == (90.0, 130.0)
    assert times["last"] == (130.0, 190.0)


def test_where_there_are_fewer_cards_than_a_shot_wants_it_gets_those() -> None:
    """One card, or two hosts of one each: it takes as long as on one; more cards that come later
    are counted again."""
    apart = [Card(name="x", memory=80, group="a"), Card(name="y", memory=80, group="b")]
    hero = _work("hero", seconds=70.0, cards=4)
    for studio in (ONE[:1], apart):
        (slot,) = forecast(Dispatcher([hero], cards=studio), cards=studio, loads={})
        assert (slot.ends, slot.others) == (70.0, ())
    dispatcher = Dispatcher([hero], cards=ONE[:1])
    dispatcher.set_cards(TWINS)
    (slot,) = forecast(dispatcher, cards=TWINS, loads={})
    assert slot.ends == 40.0


def test_when_cards_leave_what_comes_before_a_shot_on_several_is_due_sooner() -> None:
    """That takes longer on those that stay, and its own deadline stays."""
    works = [
        _work("short", seconds=20.0, deadline=150.0),
        _work("first", seconds=20.0),
        _work("hero", seconds=175.0, cards=2, deadline=300.0, after=("first",)),
    ]
    dispatcher = Dispatcher(works, cards=TWINS)
    dispatcher.set_cards(TWINS[:1])
    book = forecast(dispatcher, cards=TWINS[:1], loads={})
    assert [slot.work.id for slot in book] == ["first", "short", "hero"]


def test_a_card_that_has_work_in_hand_leaves_the_last_shot_to_one_that_is_free_sooner() -> None:
    """What it took now it would begin later than the others end everything."""
    dispatcher = Dispatcher([_work("first"), _work("last")], cards=TWINS)
    assert dispatcher.pull("x", 0.0) is not None
    busy = {"x": 61.0, "y": 0.0}
    assert dispatcher.pull("x", 0.0, free_in=busy.__getitem__) is None
    assert dispatcher.pull("y", 0.0, free_in=busy.__getitem__) is not None


def test_a_slow_card_takes_the_last_shot_where_the_fast_one_is_busy_for_longer() -> None:
    """It ends it in four minutes; the other would begin it in ten."""
    studio = [Card(name="fast", memory=80), Card(name="slow", memory=80, speed=0.25)]
    dispatcher = Dispatcher([_work("first"), _work("last")], cards=studio)
    assert dispatcher.pull("fast", 0.0) is not None
    assert dispatcher.pull("slow", 0.0, free_in={"fast": 60.0, "slow": 0.0}.__getitem__) is None
    busy = {"fast": 600.0, "slow": 0.0}
    assert dispatcher.pull("slow", 0.0, free_in=busy.__getitem__) is not None


def test_a_large_card_leaves_small_takes_to_small_cards() -> None:
    """While large work is scarce of cards, the large card takes nothing else, also if longer."""
    small = [_work(f"s{i}", memory=10, seconds=90.0) for i in range(3)]
    dispatcher = Dispatcher([*small, *(_work(f"l{i}", memory=60) for i in range(10))], cards=ONE)
    taken = dispatcher.pull("big", 0.0)
    assert taken is not None
    assert taken.memory == 60


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


def test_a_shot_that_others_wait_for_is_as_urgent_as_they_are() -> None:
    """Priority and deadline reach back along a chain."""
    works = [
        _work("long", seconds=500.0),
        _work("first"),
        _work("second", after=("first",), priority=3),
    ]
    assert _first(works) == "first"
    dated = [
        _work("long", seconds=90.0),
        _work("first"),
        _work("second", after=("first",), deadline=200.0),
    ]
    assert _first(dated) == "first"
    assert _first([*dated[:2], _work("second", after=("first",), seconds=10.0)]) == "long"


def test_what_is_too_late_comes_behind_what_is_not() -> None:
    """A deadline that cannot be kept any more costs nobody else his."""
    works = [_work("late", deadline=30.0), _work("just", deadline=70.0), _work("free")]
    dispatcher = Dispatcher(works, cards=ONE[:1])
    taken = [dispatcher.pull("big", 0.0), dispatcher.pull("big", 60.0)]
    assert [work and work.id for work in taken] == ["just", "late"]


def _first(works: list[Work]) -> str:
    taken = Dispatcher(works, cards=ONE[:1]).pull("big", 0.0)
    assert taken is not None
    return taken.id


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
