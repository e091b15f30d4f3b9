"""The queue before the lanes: its order, pauses, cancels, and that no lane is ever lost."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.errors import BadInput
from tasks.control import Control, Said, cancel_shots, change_control, read_control
from tasks.lanes import Lanes, Place


def place(name: str, *, priority: int = 0, position: int = 0) -> Place:
    return Place(shot=name, priority=priority, position=position)


class Night:
    """A night of shots that take no time, and the order in which they came."""

    def __init__(self, lanes: int, control: Control | None = None) -> None:
        self.control = control or Control()
        self.lanes = Lanes(lanes, night="n", control=lambda: self.control, look_every=0.001)
        self.order: list[str] = []
        self.refused: dict[str, str] = {}
        self.most = self._inside = 0

    async def shot(self, where: Place) -> None:
        async with self.lanes.lane(where) as words:
            if words is not None:
                self.refused[where.shot] = words
                return
            self._inside += 1
            self.most = max(self.most, self._inside)
            self.order.append(where.shot)
            await asyncio.sleep(0)
            self._inside -= 1


async def _all(night: Night, places: list[Place]) -> None:
    await asyncio.gather(*(night.shot(each) for each in places))


@settings(max_examples=40)
@given(
    st.integers(1, 3),
    st.lists(st.tuples(st.integers(-2, 2), st.integers(0, 5)), min_size=1, max_size=12),
)
def test_priority_then_the_plans_order(lanes: int, ranks: list[tuple[int, int]]) -> None:
    """Once the lanes are full, who waits comes by priority, then by the plan; never too many."""
    night = Night(lanes)
    places = [
        place(str(number), priority=priority, position=position)
        for number, (priority, position) in enumerate(ranks)
    ]
    asyncio.run(_all(night, places))
    assert sorted(night.order) == sorted(each.shot for each in places)
    assert night.most <= lanes
    late = [places[int(name)] for name in night.order[lanes:]]
    ranks_seen = [(-each.priority, each.position) for each in late]
    assert ranks_seen == sorted(ranks_seen)


def test_a_priority_given_while_it_waits_holds_at_once() -> None:
    """The order is looked up when a lane becomes free."""

    async def run(night: Night) -> None:
        first = asyncio.create_task(night.shot(place("a/1")))
        others = [asyncio.create_task(night.shot(place(f"a/{n}", position=n))) for n in (2, 3)]
        night.control = Control(priority={"a/3": 9})
        await asyncio.gather(first, *others)

    night = Night(1)
    asyncio.run(run(night))
    assert night.order == ["a/1", "a/3", "a/2"]


def test_a_pause_holds_the_queue_until_it_is_taken_back() -> None:
    """Nothing starts while the night is paused; then everything does."""

    async def run(night: Night) -> None:
        shots = [asyncio.create_task(night.shot(place(str(n)))) for n in range(3)]
        await asyncio.sleep(0.02)
        assert night.order == []
        night.control = Control()
        await asyncio.gather(*shots)

    night = Night(2, Control(paused=True))
    asyncio.run(run(night))
    assert len(night.order) == 3


def test_what_is_cancelled_gets_no_lane_even_in_a_pause() -> None:
    """A cancelled shot leaves the queue with the reason; the others wait on."""

    async def run(night: Night) -> None:
        shots = [asyncio.create_task(night.shot(place(name))) for name in ("a/1", "a/2")]
        await asyncio.sleep(0)
        night.control = cancel_shots(night.control, frozenset({"a/2"}), night="n")
        await asyncio.sleep(0.02)
        assert night.refused == {"a/2": "cancelled for this night"}
        night.control = replace(night.control, ended="n")
        await asyncio.gather(*shots)

    night = Night(1, Control(paused=True))
    asyncio.run(run(night))
    assert night.refused["a/1"] == "the night was cancelled"
    assert night.order == []


def test_a_shot_that_gives_up_waiting_takes_no_lane_with_it() -> None:
    """However many are interrupted while they wait or have just been let in, lanes are whole."""

    async def run(night: Night) -> None:
        for _ in range(20):
            shots = [asyncio.create_task(night.shot(place(str(n)))) for n in range(4)]
            await asyncio.sleep(0)
            for each in shots[::2]:
                each.cancel()
            await asyncio.gather(*shots, return_exceptions=True)
        assert night.lanes._taken == 0

    asyncio.run(run(Night(2)))


def test_what_was_said_is_kept_whole(tmp_path: Path) -> None:
    """Two changes after one another both hold; another night's cancels are forgotten."""
    change_control(tmp_path, lambda control: replace(control, paused=True))
    change_control(tmp_path, lambda control: replace(control, priority={"a/1": 5}))
    change_control(tmp_path, lambda c: cancel_shots(c, frozenset({"a/1"}), night="one"))
    held = change_control(tmp_path, lambda c: cancel_shots(c, frozenset({"a/2"}), night="two"))
    assert read_control(tmp_path) == held
    assert held.paused
    assert held.priority_of("a/1", 0) == 5
    assert held.stops("a/1", night="one") is None
    assert held.stops("a/2", night="two") == "cancelled for this night"


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"paused": 1', '{"paused": 0, "ended": null}'])
def test_a_damaged_file_changes_nothing_and_is_told_once(tmp_path: Path, text: str) -> None:
    """What held before holds on; the complaint names the file and the remedy."""
    change_control(tmp_path, lambda control: replace(control, paused=True))
    told: list[str] = []
    said = Said(tmp_path, complain=told.append)
    assert said().paused
    (tmp_path / "control.json").write_text(text)
    assert said().paused
    assert said().paused
    assert len(told) == 1
    assert "control.json: cannot be read" in told[0]
    with pytest.raises(BadInput, match="remove it"):
        read_control(tmp_path)
