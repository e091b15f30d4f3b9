"""The turns of a night: their order, pauses, cancels, what waits, and that no lane is ever lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import examples
from waiting import in_time

from tasks.card_groups import Card
from tasks.chains import Work
from tasks.control import Control, cancel_shots
from tasks.lanes import Lanes, Queued

CARD = Card(name="card-0", memory=1)


def work(name: str, **more: object) -> Work:
    return Work(**{"id": name, "model": "m", "seconds": 1.0, **more})  # type: ignore[arg-type]


class Night:
    """A night of shots that take no time, and the order in which they came."""

    def __init__(
        self,
        lanes: int,
        works: Sequence[Work],
        *,
        control: Control | None = None,
        ends: dict[str, str] | None = None,
        cards: Sequence[Card] = (CARD,),
    ) -> None:
        """`ends` says of shots that are not approved why nothing can follow them."""
        self.works, self.cards = works, list(cards)
        self.control = control or Control()
        self.ends = ends or {}
        typed = {each.id: each.priority for each in works}
        self.lanes = Lanes(
            lanes,
            night="n",
            control=lambda: self.control,
            queued=Queued(
                works=works, rank=lambda control, key: control.priority_of(key, typed[key])
            ),
            cards=lambda: self.cards,
            clock=lambda: 0.0,
            look_every=0.001,
        )
        self.order: list[str] = []
        self.numbers: dict[str, int] = {}
        """How many had a lane before each."""
        self.asked: dict[str, str] = {}
        """The card that asked for each."""
        self.over: list[str] = []
        self.refused: dict[str, str] = {}
        self.most = self._inside = 0

    async def shot(self, name: str) -> None:
        async with self.lanes.lane(name) as lane:
            if lane.words is not None:
                self.refused[name] = lane.words
                return
            self.numbers[name], self.asked[name] = lane.number, lane.card
            self._inside += 1
            self.most = max(self.most, self._inside)
            self.order.append(name)
            await asyncio.sleep(0)
            self._inside -= 1
            lane.ended = self.ends.get(name)
            self.over.append(name)

    async def run(self) -> None:
        await asyncio.gather(*(self.shot(each.id) for each in self.works))


@settings(max_examples=examples(40))
@given(st.integers(1, 3), st.lists(st.integers(-2, 2), min_size=1, max_size=12))
def test_priority_then_the_sheets_order(lanes: int, ranks: list[int]) -> None:
    """Of shots that are equally long, by priority, then as the sheet has them; never too many."""
    night = Night(lanes, [work(str(n), priority=rank) for n, rank in enumerate(ranks)])
    asyncio.run(night.run())
    given_lanes = sorted(night.numbers, key=night.numbers.__getitem__)
    assert given_lanes == sorted(given_lanes, key=lambda name: (-ranks[int(name)], int(name)))
    assert len(night.order) == len(ranks)
    assert night.most <= lanes


@st.composite
def nights(draw: st.DrawFn) -> Night:
    """Shots that come after others, some of which are not approved, on a few cards."""
    works: list[Work] = []
    for number in range(draw(st.integers(1, 14))):
        earlier = [each.id for each in works]
        after = draw(st.sets(st.sampled_from(earlier), max_size=2)) if earlier else set()
        works.append(
            work(
                f"s/{number}",
                priority=draw(st.integers(0, 1)),
                seconds=draw(st.floats(1, 9)),
                model=draw(st.sampled_from("ab")),
                after=tuple(sorted(after)),
            )
        )
    held = draw(st.sets(st.sampled_from([each.id for each in works]), max_size=3))
    cards = [Card(name=f"c{n}", memory=1) for n in range(draw(st.integers(1, 3)))]
    shuffled = draw(st.permutations(works))
    return Night(
        draw(st.integers(1, 4)), shuffled, ends=dict.fromkeys(held, "is held"), cards=cards
    )


@settings(max_examples=examples(60), deadline=None)
@given(nights())
def test_every_shot_has_its_turn_or_hears_what_it_waits_for(night: Night) -> None:
    """None begins before all it comes after is approved; none is forgotten; no lane is lost."""
    in_time(night.run())
    assert sorted([*night.order, *night.refused]) == sorted(each.id for each in night.works)
    before = {each.id: each.after for each in night.works}
    for name in night.order:
        for first in before[name]:
            assert first in night.over
            assert night.numbers[first] < night.numbers[name]
            assert first not in night.ends
    for name, words in night.refused.items():
        assert any(b in night.ends or b in night.refused for b in before[name])
        assert words.endswith(("which is held", "which waits itself"))
    assert night.lanes._taken == 0


def test_a_shot_begins_when_the_one_before_it_is_over() -> None:
    """Not before, though a lane is free; and it hears of no more than it comes after."""
    night = Night(3, [work("s/b", after=("s/a",), seconds=9.0), work("s/a"), work("s/c")])
    asyncio.run(night.run())
    assert night.order[-1] == "s/b"


def test_what_comes_after_an_approved_shot_need_not_wait_for_its_delivery() -> None:
    """It has its turn while the lane of the first one is still taken, whatever becomes of that."""

    async def run(lanes: Lanes) -> str | None:
        async with lanes.lane("s/a") as first:
            lanes.approved("s/a")
            lanes.approved("s/a")
            async with lanes.lane("s/b") as second:
                first.ended = "is held"
                return second.words

    night = Night(2, [work("s/a"), work("s/b", after=("s/a",))])
    assert in_time(run(night.lanes)) is None
    assert night.lanes._taken == 0


def test_those_behind_a_held_shot_are_told_and_the_rest_goes_on() -> None:
    """In words that name it; a shot of another sheet by its whole name."""
    works = [
        work("s/a"),
        work("s/b", after=("s/a",)),
        work("t/c", after=("s/b",)),
        work("t/d", after=("s/a", "t/e")),
        work("t/e"),
    ]
    night = Night(1, works, ends={"s/a": "is held"})
    asyncio.run(night.run())
    assert night.order == ["s/a", "t/e"]
    assert night.refused == {
        "s/b": "waits for a, which is held",
        "t/c": "waits for s/b, which waits itself",
        "t/d": "waits for s/a, which is held",
    }


def test_equal_nights_have_equal_orders() -> None:
    """The order follows from the shots alone."""
    works = [
        work(f"s/{n}", seconds=1.0 + n % 3, model="ab"[n % 2], priority=n % 2, after=after)
        for n, after in enumerate([(), (), ("s/0",), ("s/0", "s/1"), (), ("s/2",), (), ()])
    ]
    orders = []
    for _ in range(3):
        night = Night(2, works, cards=[CARD, Card(name="card-1", memory=1, speed=0.5)])
        asyncio.run(night.run())
        orders.append(night.order)
    assert orders[0] == orders[1] == orders[2]


def test_a_priority_given_while_it_waits_holds_at_once() -> None:
    """The order is looked up when a lane becomes free; what it comes after goes first too."""

    async def run(night: Night) -> None:
        first = asyncio.create_task(night.shot("a/1"))
        others = [asyncio.create_task(night.shot(f"a/{n}")) for n in (2, 3, 4)]
        await asyncio.sleep(0)
        night.control = Control(priority={"a/4": 9})
        await asyncio.gather(first, *others)

    works = [work("a/1", seconds=9.0), work("a/2", seconds=5.0), work("a/3")]
    works.append(work("a/4", after=("a/3",)))
    night = Night(1, works)
    asyncio.run(run(night))
    assert night.order == ["a/1", "a/3", "a/4", "a/2"]


def test_where_takes_wait_for_a_card_priority_goes_before_who_came_first() -> None:
    """A place is smaller for a higher priority, then for whoever had a lane before; never below
    what is done before any take."""
    night = Night(1, [work("a/1"), work("a/2"), work("a/3", after=("a/2",), priority=3)])
    first, second = night.lanes.place("a/1", 5), night.lanes.place("a/1", 6)
    assert 0 <= night.lanes.place("a/2", 9) < first < second
    night.control = Control(priority={"a/1": 10**9})
    assert 0 <= night.lanes.place("a/1", 7) < night.lanes.place("a/2", 1)


def test_shots_of_one_model_are_asked_for_by_the_card_that_holds_it() -> None:
    """Two models, two cards: after the first shot of each, a card asks for no other model."""
    works = [work(f"s/{n}", model="ab"[n % 2], seconds=9.0) for n in range(12)]
    night = Night(4, works, cards=[CARD, Card(name="card-1", memory=1)])
    asyncio.run(night.run())
    models = {each.id: each.model for each in works}
    asked = {(models[name], card) for name, card in night.asked.items()}
    assert len(asked) == 2
    assert len({card for _, card in asked}) == 2


def test_a_shot_on_two_cards_counts_at_both() -> None:
    """While it is in work, what comes next is asked for by the third card."""

    async def run(lanes: Lanes) -> tuple[str, str]:
        async with lanes.lane("s/hero") as hero, lanes.lane("s/next") as next_one:
            return hero.card, next_one.card

    three = [Card(name=f"c{n}", memory=1) for n in range(3)]
    works = [work("s/hero", seconds=9.0, cards=2), work("s/next")]
    night = Night(3, works, cards=three)
    leader, other = asyncio.run(run(night.lanes))
    assert other not in (leader, "c1")
    assert other == "c2"
    assert not any(night.lanes._in_hand.values())


def test_time_that_quick_shots_left_over_is_not_counted_as_busy() -> None:
    """Behind many that ended sooner than expected, what is due first still counts as in time."""
    works = [work(f"s/{n}", seconds=100.0, priority=1) for n in range(20)]
    works += [
        work("s/soon", seconds=10.0, deadline=400.0),
        work("s/later", seconds=10.0, deadline=9000.0),
        work("s/long", seconds=1000.0, priority=-1),
    ]
    night = Night(2, works)
    asyncio.run(night.run())
    assert night.order[-3:] == ["s/soon", "s/later", "s/long"]


def test_a_shot_that_never_asks_keeps_no_lane() -> None:
    """Whether one was kept for it or not: once it is known to be gone the others go on, and what
    comes after it is told."""

    async def run(night: Night) -> None:
        shots = [asyncio.create_task(night.shot(name)) for name in ("s/b", "s/c", "s/d")]
        await asyncio.sleep(0.01)
        assert night.order == [], "the only lane is kept for it"
        night.lanes.gone("s/a")
        night.lanes.gone("s/a")
        await asyncio.gather(*shots)

    works = [
        work("s/a", seconds=9.0),
        work("s/b"),
        work("s/c", after=("s/a",)),
        work("s/d", after=("s/e",)),
        work("s/e", priority=-1),
    ]
    night = Night(1, works)

    async def both() -> None:
        running = asyncio.create_task(run(night))
        await asyncio.sleep(0.05)
        night.lanes.gone("s/e")
        await running

    in_time(both())
    assert night.order == ["s/b"]
    assert night.refused == {
        "s/c": "waits for a, which was not rendered",
        "s/d": "waits for e, which was not rendered",
    }
    assert night.lanes._taken == 0


def test_a_shot_that_is_not_queued_is_refused_and_nobody_else_is_held_up() -> None:
    """By name; so is one that asks twice."""

    async def run(night: Night) -> None:
        with pytest.raises(KeyError, match="s/other is not in the night's queue"):
            await night.shot("s/other")
        await night.shot("s/a")
        with pytest.raises(KeyError):
            await night.shot("s/a")
        night.control = Control(priority={"s/b": 3})
        await night.shot("s/b")

    night = Night(1, [work("s/a"), work("s/b")])
    in_time(run(night))
    assert night.order == ["s/a", "s/b"]


def test_cards_that_come_and_go_take_shots_and_leave_them_to_others() -> None:
    """While no card is here a few shots wait for one; a card that comes later is asked for more."""

    async def run(night: Night) -> None:
        shots = [asyncio.create_task(night.shot(each.id)) for each in night.works]
        await asyncio.sleep(0.01)
        night.cards = [CARD]
        await asyncio.gather(*shots)

    night = Night(2, [work(str(n)) for n in range(6)], cards=[])
    asyncio.run(run(night))
    assert len(night.order) == 6


def test_a_pause_holds_the_queue_until_it_is_taken_back() -> None:
    """Nothing starts while the night is paused; then everything does."""

    async def run(night: Night) -> None:
        shots = [asyncio.create_task(night.shot(str(n))) for n in range(3)]
        await asyncio.sleep(0.02)
        assert night.order == []
        night.control = Control()
        await asyncio.gather(*shots)

    night = Night(2, [work(str(n)) for n in range(3)], control=Control(paused=True))
    asyncio.run(run(night))
    assert len(night.order) == 3


def test_what_is_cancelled_gets_no_lane_even_in_a_pause() -> None:
    """A cancelled shot leaves the queue with the reason; the others wait on."""

    async def run(night: Night) -> None:
        shots = [asyncio.create_task(night.shot(name)) for name in ("a/1", "a/2", "a/3")]
        await asyncio.sleep(0)
        night.control = cancel_shots(night.control, frozenset({"a/2"}), night="n")
        await asyncio.sleep(0.02)
        assert night.refused == {
            "a/2": "cancelled for this night",
            "a/3": "waits for 2, which was cancelled for this night",
        }
        night.control = replace(night.control, ended="n")
        await asyncio.gather(*shots)

    works = [work("a/1"), work("a/2"), work("a/3", after=("a/2",))]
    night = Night(1, works, control=Control(paused=True))
    asyncio.run(run(night))
    assert night.refused["a/1"] == "the night was cancelled"
    assert night.order == []


def test_a_shot_that_gives_up_waiting_takes_no_lane_with_it() -> None:
    """However many are interrupted while they wait or have just been let in, lanes are whole."""

    async def run(turns: int) -> None:
        night = Night(2, [work(str(n)) for n in range(4)])
        shots = [asyncio.create_task(night.shot(str(n))) for n in range(4)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for each in shots[::2]:
            each.cancel()
        await asyncio.gather(*shots, return_exceptions=True)
        assert night.lanes._taken == 0
        assert {"1", "3"} <= set(night.order)

    for turns in range(1, 6):
        asyncio.run(run(turns))
