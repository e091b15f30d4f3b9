"""What a night's report says of shots that several nights worked on, and of several sheets."""

from __future__ import annotations

from reports.night_report import build_night_report
from reports.take import TakeStatus

FIRST, SECOND = "2026-11-20", "2026-11-21"


def test_a_shot_that_two_nights_worked_on_is_carried_over_in_neither(maker):
    """The first night rejected it, the second delivered it: the retake is the second's alone."""
    with maker.ledger() as ledger:
        shot, first = maker.shot(), maker.begin(ledger, FIRST)
        maker.run(ledger, shot, first, TakeStatus.REJECTED)
        ledger.end_night(first, "cancelled")
        second = maker.begin(ledger, SECOND)
        maker.run(ledger, shot, second, TakeStatus.APPROVED)
        ledger.end_night(second, "1 approved")
        before, after = (build_night_report(ledger, night) for night in (first, second))
    assert not before.shots[0].carried
    assert not after.shots[0].carried
    assert (before.headline.takes, before.headline.retakes) == (1, 0)
    assert (after.headline.takes, after.headline.retakes) == (1, 1)
    assert (before.headline.retake_rate, after.headline.retake_rate) == (0.0, 1.0)


def test_what_a_person_approved_is_no_first_take(maker):
    """Its only take was held: without the person it would not have been delivered."""
    with maker.ledger() as ledger:
        night = maker.begin(ledger)
        shot_id = maker.run(ledger, maker.shot(), night, TakeStatus.HELD)
        (take,) = ledger.takes_of(shot_id)
        ledger.approved_by_hand(take.take_id, night=night, words="approved by a person")
        maker.deliver(ledger, take, night)
        headline = build_night_report(ledger, night).headline
    assert headline.approved == 1
    assert (headline.first_take, headline.after_retake) == (0, 1)


def test_shots_of_several_sheets_stand_sheet_by_sheet(maker):
    """Each in its own rows' order, whichever sheet the night took first."""
    with maker.ledger() as ledger:
        night = maker.begin(ledger)
        for position, (sheet, row) in enumerate([("b", 2), ("a", 3), ("b", 4), ("a", 5)]):
            ledger.record_shot(night, sheet, maker.shot(f"{sheet}{row}", row=row), position)
        report = build_night_report(ledger, night)
    assert [line.shot.id for line in report.shots] == ["a3", "a5", "b2", "b4"]


def test_the_command_for_a_held_shot_can_be_typed_as_it_stands(maker):
    """Also where the sheet's name holds a blank, at which a shell would part it."""
    with maker.ledger() as ledger:
        night, shot = maker.begin(ledger), maker.shot("sh0010")
        shot_id = ledger.record_shot(night, "monday night", shot, 0).id
        take = maker.add(ledger, shot_id, night)
        maker.render(ledger, take, night)
        maker.judge(ledger, take, night, TakeStatus.HELD)
        (need,) = build_night_report(ledger, night).needs
    assert need.command == "rushes approve 'monday night/sh0010' 1"
