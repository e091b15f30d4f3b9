"""What a shot needs next."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reports.take import TRANSITIONS, TakeStatus
from tasks.next_action import Action, next_action

T = TakeStatus


def act(*takes: TakeStatus, delivered=False, abandoned=False, tonight=False) -> Action:
    return next_action(takes, delivered=delivered, abandoned=abandoned, failed_tonight=tonight)


def test_each_status_of_the_last_take_has_its_next_step() -> None:
    """The whole table: nothing, again, render, score, finish, new take."""
    assert act() is Action.NEW_TAKE
    assert act(T.QUEUED) is Action.RENDER
    assert act(T.RENDERING) is Action.RENDER
    assert act(T.RENDERED) is Action.SCORE
    assert act(T.REJECTED) is Action.NEW_TAKE
    assert act(T.REJECTED, T.APPROVED) is Action.FINISH
    assert act(T.REJECTED, T.HELD) is Action.NOTHING


def test_a_machine_failure_is_tried_again_in_another_night_only() -> None:
    """Failed tonight: rest. Failed in an earlier night: the same recipe again."""
    assert act(T.FAILED, tonight=True) is Action.NOTHING
    assert act(T.FAILED, tonight=False) is Action.AGAIN


def test_an_abandoned_finish_rests() -> None:
    """A finish that failed for good is not begun again in the same night."""
    assert act(T.APPROVED, abandoned=True) is Action.NOTHING


@given(st.lists(st.sampled_from(list(T)), max_size=5))
def test_a_delivered_shot_needs_nothing(takes: list[TakeStatus]) -> None:
    """Whatever its takes say, what is delivered is done."""
    assert act(*takes, delivered=True) is Action.NOTHING


@given(st.sampled_from(list(T)))
def test_every_step_can_move_the_take_on(status: TakeStatus) -> None:
    """A step on a take is asked for only where its status can change, or a take can follow."""
    action = act(status)
    if action in (Action.RENDER, Action.SCORE):
        assert TRANSITIONS[status]


def test_an_approved_take_decides_wherever_it_stands() -> None:
    """A person may approve an earlier take of a held shot: it is finished."""
    assert act(T.APPROVED, T.REJECTED, T.HELD) is Action.FINISH
    assert act(T.APPROVED, T.HELD, abandoned=True) is Action.NOTHING
