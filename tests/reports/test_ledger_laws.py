"""Laws: replay equals state, and a kill between any two statements leaves no half step."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reports.errors import IllegalTransition
from reports.ledger import Ledger
from reports.take import TRANSITIONS, TakeStatus
from reports.take import shot_status as derive_status

ENDS = (TakeStatus.REJECTED, TakeStatus.APPROVED)


def _night(maker, ledger: Ledger) -> None:
    """A night that goes on from whatever the ledger holds: two shots, one is retaken."""
    night = ledger.open_night("key of 2026-11-20")
    if night is None:
        maker.begin(ledger)
    else:
        ledger.recover(night.id)
    for position, ends in enumerate((ENDS, ENDS[1:])):
        shot = maker.shot(f"sh{position}")
        shot_id = ledger.record_shot("2026-11-20", "shots", shot, position).id
        for number, end in enumerate(ends, start=1):
            _go_on(maker, ledger, shot_id, number, end)
        if ledger.delivery_of(shot_id) is None:
            maker.deliver(ledger, ledger.takes_of(shot_id)[-1], "2026-11-20")
    ledger.end_night("2026-11-20", "all approved")


def _go_on(maker, ledger: Ledger, shot_id: int, number: int, end: TakeStatus) -> None:
    takes = ledger.takes_of(shot_id)
    take = takes[number - 1] if number <= len(takes) else maker.add(ledger, shot_id, "2026-11-20")
    if take.status is TakeStatus.QUEUED:
        maker.render(ledger, take, "2026-11-20")
        take = ledger.take(take.take_id)
    if take.status is TakeStatus.RENDERED:
        maker.judge(ledger, take, "2026-11-20", end)


def _killed_at(maker, path: Path, statement: int) -> bool:
    """Run the night in a child that dies before its nth SQL statement; whether it died."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            ledger = Ledger(path, clock=maker.clock)
            left = [statement]

            def trace(_: str) -> None:
                left[0] -= 1
                if left[0] == 0:
                    os._exit(9)

            ledger._connection.set_trace_callback(trace)
            _night(maker, ledger)
            status = 0
        finally:
            os._exit(status)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9), "the child failed by itself"
    return code == 9


def _check_whole(ledger: Ledger) -> None:
    judged = {TakeStatus.APPROVED, TakeStatus.REJECTED, TakeStatus.HELD}
    for night in ledger.nights():
        for record in ledger.shot_records(night.id):
            for take in ledger.takes_of(record.id):
                steps = [None, *(step.after for step in take.transitions)]
                assert [step.before for step in take.transitions] == steps[:-1]
                has_clip = TakeStatus.RENDERED in steps
                assert (take.receipt is not None) == has_clip
                assert (take.verdict is not None) == (take.status in judged)
                assert (take.scorecard is not None) == (take.status in judged and has_clip)


def _state(ledger: Ledger) -> object:
    shots = ledger.shot_records("2026-11-20")
    takes = [[(take.take_id, take.status) for take in ledger.takes_of(s.id)] for s in shots]
    return [ledger.shot_status(shot.id) for shot in shots], takes


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(kills=st.lists(st.integers(1, 420), min_size=1, max_size=4))
@pytest.mark.slow
def test_killed_at_any_statements_the_night_is_whole_and_ends_the_same(maker, kills):
    """However often a night dies, nothing is half there, and in the end it is as if it had not."""
    path = maker.root / f"{len(list(maker.root.glob('*.db')))}.db"
    ended = False
    for statement in kills:
        ended = not _killed_at(maker, path, statement)
        if path.exists():
            with Ledger(path) as ledger:
                _check_whole(ledger)
        if ended:
            break
    with Ledger(path, clock=maker.clock) as ledger:
        if not ended:
            _night_or_done(maker, ledger)
        assert _state(ledger) == (
            ["approved", "approved"],
            [
                [("shots/1/t1", "rejected"), ("shots/1/t2", "approved")],
                [("shots/2/t1", "approved")],
            ],
        )


def _night_or_done(maker, ledger: Ledger) -> None:
    nights = ledger.nights()
    if not nights or nights[0].ended is None:
        _night(maker, ledger)


def test_the_kill_test_kills_inside_writes(maker):
    """The night is longer than the last kill drawn, so that kills really fall into it."""
    with maker.ledger() as ledger:
        count = [0]

        def trace(_: str) -> None:
            count[0] += 1

        ledger._connection.set_trace_callback(trace)
        _night(maker, ledger)
    assert 300 < count[0] < 700


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=st.lists(st.tuples(st.integers(0, 2), st.sampled_from(list(TakeStatus))), max_size=25))
def test_replay_equals_state_and_illegal_steps_change_nothing(maker, steps):
    """Whatever is tried, the ledger holds what the legal steps alone would have made."""
    path = maker.root / f"{len(list(maker.root.glob('*.db')))}.db"
    with Ledger(path, clock=maker.clock) as ledger:
        night = maker.begin(ledger)
        shot = ledger.record_shot(night, "shots", maker.shot(), 0).id
        takes = [maker.add(ledger, shot, night) for _ in range(3)]
        model = [[TakeStatus.QUEUED] for _ in takes]
        for index, after in steps:
            legal = after in TRANSITIONS[model[index][-1]]
            try:
                _try(maker, ledger, takes[index].take_id, after, night)
            except IllegalTransition:
                assert not legal
            else:
                assert legal
                model[index].append(after)
    with Ledger(path) as ledger:
        found = [[step.after for step in take.transitions] for take in ledger.takes_of(shot)]
        assert found == model
        _check_whole(ledger)
        last = [history[-1] for history in model]
        assert ledger.shot_status(shot) is derive_status(last, delivered=False, abandoned=False)
        assert [each.status for each in ledger.standings(night)] == [ledger.shot_status(shot)]


def _try(maker, ledger: Ledger, take_id: str, after: TakeStatus, night: str) -> None:
    take = ledger.take(take_id)
    if after is TakeStatus.RENDERED:
        ledger.rendered(take_id, maker.receipt(take_id, take.recipe), night)
    elif after in (TakeStatus.APPROVED, TakeStatus.REJECTED, TakeStatus.HELD):
        maker.judge(ledger, take, night, after)
    else:
        ledger.move(take_id, after, night=night, words="")


@given(moment=st.datetimes(timezones=st.just(UTC)))
def test_a_moment_survives_the_ledger(moment: datetime):
    """Text in the ledger means the same instant and sorts as time does."""
    from reports.rows import moment_text

    assert datetime.fromisoformat(moment_text(moment)) == moment


@pytest.mark.parametrize("status", list(TakeStatus))
def test_no_path_leaves_a_final_status(status):
    """Final means final: approved, rejected, held and failed lead nowhere."""
    final = {TakeStatus.APPROVED, TakeStatus.REJECTED, TakeStatus.HELD, TakeStatus.FAILED}
    assert (not TRANSITIONS[status]) == (status in final)
