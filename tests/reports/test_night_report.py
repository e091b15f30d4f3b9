from __future__ import annotations

from datetime import timedelta

import pytest

from reports.errors import NotInLedger
from reports.night_report import build_night_report
from reports.records import EventKind
from reports.take import ShotStatus, TakeStatus
from reports.words import duration, night_name, refused_line, verdict_line


def test_the_headline_counts_shots_takes_and_retakes(night):
    """Two of four are approved, one of them after a retake; two of four were retaken."""
    headline = build_night_report(night.ledger, night.id).headline
    assert headline.shots == 4
    assert headline.approved == 2
    assert (headline.first_take, headline.after_retake) == (1, 1)
    assert headline.by_status[ShotStatus.HELD] == headline.by_status[ShotStatus.FAILED] == 1
    assert (headline.takes, headline.retakes, headline.retake_rate) == (5, 2, 0.5)


def test_machine_seconds_are_the_sum_of_receipts_and_deliveries(night):
    """Every phase of every take is counted once, the finish too."""
    report = build_night_report(night.ledger, night.id)
    seconds = {phase.phase: phase.seconds for phase in report.headline.phases}
    assert list(seconds) == ["load", "encode", "stage 1", "stage 2", "decode", "finish"]
    assert seconds["stage 1"] == pytest.approx(5 * 18 * 0.2)
    assert seconds["stage 2"] == pytest.approx(5 * 25 * 0.2)
    assert seconds["finish"] == pytest.approx(2 * 1.3)
    assert report.headline.machine_seconds == pytest.approx(sum(seconds.values()))


def test_what_needs_a_person_is_told_with_what_to_do(night):
    """Held, failed and refused are listed in that order; approved shots are not."""
    report = build_night_report(night.ledger, night.id)
    assert [need.title for need in report.needs] == [
        "seq010_sh0030",
        "001",
        "shots.csv row 9, column fps (seq010_sh0090)",
    ]
    held, failed, refused = report.needs
    assert "none of 2 takes was good enough" in held.words
    assert "flickers" in held.words
    assert "out of memory three times" in failed.words
    assert refused.words == "refused: 'twentyfour' is not a number"
    assert refused.remedy == "Write 24 or 23.976. Then run again."
    assert all(need.remedy for need in report.needs)


def test_a_shot_tells_its_takes_in_order_with_reasons_and_remedies(night):
    """Take 1 was rejected for flicker, a new seed was taken, take 2 is the one delivered."""
    report = build_night_report(night.ledger, night.id)
    line = report.shots[1]
    assert [take.record.status for take in line.takes] == ["rejected", "approved"]
    assert line.takes[0].reasons[0].startswith("flickers: 0.011")
    assert line.takes[1].record.remedy_words == "new seed"
    assert line.retaken
    assert line.best is line.takes[1]
    assert line.takes[0].strip is not None
    assert line.takes[0].preview is not None
    assert [phase.phase for phase in line.takes[0].phases][2:4] == ["stage 1", "stage 2"]


def test_machine_failures_are_told_by_class_and_try(night):
    """The class is named once, not again in the words."""
    (failure,) = build_night_report(night.ledger, night.id).shots[0].takes[0].failures
    assert (failure.error, failure.attempt, failure.words) == ("OutOfMemory", 1, "the card is full")


def test_for_a_still_that_went_nobody_is_sent_to_the_machine(night):
    """What is to be done for a shot that failed is what its last failure asks for."""
    ledger, shot = night.ledger, night.shots["001"]

    def remedy():
        needs = build_night_report(ledger, night.id).needs
        return next(need.remedy for need in needs if need.shot_id == shot)

    again = "then run the same sheets again; no take is lost."
    assert remedy() == f"See to the machine, {again}"
    take = ledger.takes_of(shot)[-1].take_id
    words = "SourceUnreadable: cat.png cannot be read; put the still back and run again"
    ledger.event(kind=EventKind.MACHINE_FAILURE, words=words, night=night.id, take_id=take)
    assert remedy() == f"Put its still back, {again}"


def test_the_best_of_failed_takes_is_the_one_that_the_policy_named(night):
    """Without a note the least bad take is shown; a note decides."""
    shot = night.shots["seq010_sh0030"]
    line = build_night_report(night.ledger, night.id).shots[2]
    assert line.best is not None
    assert line.best.record.number == 1
    named = line.takes[1].record.take_id
    night.ledger.event(
        kind=EventKind.NOTE,
        words="the best one is take 2",
        night=night.id,
        shot_id=shot,
        data={"best_take": named},
    )
    line = build_night_report(night.ledger, night.id).shots[2]
    assert line.best is line.takes[1]
    assert "the best one is take 2" in line.notes


def test_a_finish_that_failed_for_good_is_held_and_told(maker):
    """An approved take whose LUT is gone waits for a person, with the reason."""
    with maker.ledger() as ledger:
        name = maker.begin(ledger)
        shot = ledger.record_shot(name, "shots", maker.shot(), 0).id
        take = maker.add(ledger, shot, name)
        maker.render(ledger, take, name)
        maker.judge(ledger, take, name, TakeStatus.APPROVED)
        words = "LutUnreadable: warm.cube is gone"
        ledger.event(kind=EventKind.ABANDONED, words=words, night=name, take_id=take.take_id)
        ledger.end_night(name, "1 held")
        report = build_night_report(ledger, name)
    (need,) = report.needs
    assert need.words == "approved, but finishing it failed: warm.cube is gone"
    assert verdict_line(report) == "The one shot needs you."


def test_a_night_that_runs_is_not_told_as_ended(maker):
    """Open shots of an open night need nobody yet; of an ended night they do."""
    with maker.ledger() as ledger:
        name = maker.begin(ledger)
        maker.run(ledger, maker.shot("a"), name, TakeStatus.APPROVED)
        maker.run(ledger, maker.shot("b"), name, position=1)
        report = build_night_report(ledger, name)
        assert not report.finished
        assert report.needs == ()
        assert verdict_line(report) == "Not finished: 1 of 2 shots approved so far."
        ledger.end_night(name, "")
        report = build_night_report(ledger, name)
        assert [need.title for need in report.needs] == ["b"]
        assert verdict_line(report) == "1 of 2 shots approved, 1 needs you."


def test_wall_time_leaves_out_the_stop_before_a_resume(maker):
    """A night that lay dead for six hours does not count them."""
    with maker.ledger() as ledger:
        name = maker.begin(ledger)
        maker.run(ledger, maker.shot(), name, TakeStatus.APPROVED)
        before = build_night_report(ledger, name).headline.wall_seconds
        maker.clock.now += timedelta(hours=6)
        ledger.resume_night(name)
        ledger.end_night(name, "")
        headline = build_night_report(ledger, name).headline
    assert headline.resumed == 1
    assert before <= headline.wall_seconds < before + 60


def test_a_shot_of_an_earlier_night_is_told_as_carried_over(maker):
    """The second night found it done: no take, no retake, no machine time of its own."""
    with maker.ledger() as ledger:
        maker.run(ledger, maker.shot(), maker.begin(ledger), TakeStatus.APPROVED)
        again = maker.begin(ledger, "2026-11-20-2")
        ledger.record_shot(again, "shots", maker.shot(), 0)
        ledger.end_night(again, "1 approved")
        report = build_night_report(ledger, again)
    assert report.shots[0].carried
    assert (report.headline.carried, report.headline.takes) == (1, 0)
    assert report.headline.machine_seconds == 0
    assert verdict_line(report) == "The one shot is approved."


def test_shots_stand_as_in_the_sheet_whatever_order_the_night_took(maker):
    """By row, though the night took the last row first."""
    with maker.ledger() as ledger:
        night = maker.begin(ledger)
        for position, row in enumerate((4, 2, 3)):
            shot = maker.shot(f"sh{row}", row=row)
            maker.run(ledger, shot, night, TakeStatus.APPROVED, position=position)
        assert [record.shot.row for record in ledger.shot_records(night)] == [4, 2, 3]
        report = build_night_report(ledger, night)
    assert [line.shot.id for line in report.shots] == ["sh2", "sh3", "sh4"]


def test_a_night_without_shots_says_so(maker):
    """Nothing was asked, nothing is claimed."""
    with maker.ledger() as ledger:
        name = maker.begin(ledger)
        ledger.end_night(name, "no shots")
        report = build_night_report(ledger, name)
        assert verdict_line(report) == "Nothing was asked of this night."
        assert (report.headline.retake_rate, report.needs) == (0.0, ())
        with pytest.raises(NotInLedger):
            build_night_report(ledger, "1999-01-01")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (750, "12 min 30 s"),
        (1799, "29 min"),
        (3599.9, "1 h"),
        (8040, "2 h 14 min"),
    ],
)
def test_durations_read_as_a_person_says_them(seconds, words):
    """No `60 s`, no `1 h 0 min`."""
    assert duration(seconds) == words


def test_nights_are_named_by_their_day(night):
    """The second night of a day says so; a foreign id is shown as it is."""
    assert night_name("2026-11-20") == "Friday 20 November 2026"
    assert night_name("2026-11-20-2") == "Friday 20 November 2026, night 2"
    assert night_name("pilot") == "pilot"
    report = build_night_report(night.ledger, night.id)
    assert refused_line(report) == "1 line of the sheet was refused"
