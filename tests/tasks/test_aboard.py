"""Budgets run from a take's first work; only the take that had the card is blamed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tasks.aboard import Aboard


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_waiting_for_the_card_does_not_count() -> None:
    """A take that waits for two others has its whole budget when it begins."""
    clock = Clock()
    card = Aboard(clock)
    for take, budget in (("a", 100.0), ("b", 100.0), ("c", 10.0)):
        card.enter(take, budget=budget)
    card.told("a")
    clock.now = 199.0
    assert card.seconds_left("a") < 0
    assert card.seconds_left("c") == 11.0
    card.told("c")
    assert card.seconds_left("c") == 10.0
    clock.now = 205.0
    card.told("c")
    assert card.seconds_left("c") == 4.0


def test_a_worker_that_never_begins_is_stuck_in_the_end() -> None:
    """Without any progress the budgets of those ahead and its own are all it gets."""
    clock = Clock()
    card = Aboard(clock)
    card.enter("a", budget=5.0)
    clock.now = 5.1
    assert card.seconds_left("a") < 0


@given(st.lists(st.tuples(st.sampled_from("ebld"), st.sampled_from("abc")), max_size=40))
def test_only_the_last_that_began_is_to_blame(steps: list[tuple[str, str]]) -> None:
    """Takes enter, begin and leave, workers die, in any order: of those in a worker that dies all
    but the last that began were only near, also when that one has left; where none began, nobody
    was. A take that enters after a death is not blamed for it."""
    card, aboard, last = Aboard(Clock()), dict[str, bool](), None
    for step, take in steps:
        if step == "e" and take not in aboard:
            card.enter(take, budget=1.0)
            aboard[take] = False
        elif step == "b" and take in aboard:
            card.told(take)
            last = last if aboard[take] else take
            aboard[take] = True
        elif step == "l" and take in aboard:
            card.leave(take)
            del aboard[take]
        elif step == "d":
            near = {one for one in aboard if card.lost(one)}
            assert near == ({*aboard} - {last} if last else set())
            assert near == {one for one in aboard if card.lost(one)}
            for one in list(aboard):
                card.leave(one)
            aboard.clear()
            last = None if near or last else last


def test_who_had_the_card_in_an_earlier_life_is_to_blame_for_none_later() -> None:
    """In the new worker nobody has begun: nobody is known to have been only near."""
    card = Aboard(Clock())
    card.enter("a", budget=1.0)
    card.told("a")
    assert not card.lost("a")
    card.leave("a")
    card.enter("b", budget=1.0)
    assert not card.lost("b")


def test_a_death_is_settled_once_for_all_that_it_met() -> None:
    """Those lost learn of it one by one, while others enter the new worker and begin there."""
    card = Aboard(Clock())
    for take in "abc":
        card.enter(take, budget=1.0)
    card.told("a")
    assert not card.lost("a")
    card.leave("a")
    card.enter("d", budget=1.0)
    card.told("d")
    assert card.lost("b")
    assert card.lost("c")
    assert not card.lost("d")


def test_progress_of_a_take_that_left_is_nobodys() -> None:
    """Late words of a take that was given up change nothing."""
    card = Aboard(Clock())
    card.enter("a", budget=1.0)
    card.told("gone")
    assert not card.lost("a")
