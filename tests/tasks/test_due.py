"""When a night is to be started by itself: missed, cut short, or for sheets that came late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from manifests.settings import Studio, load_studio
from reports.ledger import Ledger
from reports.lock import sole_writer
from tasks.due import RESUMES, Cause, due, inbox_key, open_night

NOW = datetime.now(UTC)
LONG_AGO = NOW - timedelta(days=9)
HOURS = {
    "start": f"{(NOW - timedelta(hours=1)):%H:%M}",
    "end": f"{(NOW + timedelta(hours=1)):%H:%M}",
    "timezone": "UTC",
}


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    """A studio inside its hours, with a sheet that was taken."""
    made = load_studio(tmp_path, window=HOURS)
    made.accepted_dir.mkdir(parents=True)
    (made.accepted_dir / "shots.csv").write_text("shot\n")
    return made


def begin(studio: Studio, at: datetime, *, ended: bool = True, key: str | None = None) -> str:
    with Ledger(studio.ledger_path) as ledger:
        name = ledger.next_night_id(at.date())
        ledger.begin_night(
            night_id=name, arguments_key=key or inbox_key(studio), arguments={}, at=at
        )
        if ended:
            ledger.end_night(name, "all well")
    return name


def test_a_night_that_the_machine_slept_through_is_due(studio: Studio) -> None:
    """Inside the hours, with a sheet and no night since they began, a night is due once."""
    found = due(studio, now=NOW)
    assert found is not None
    assert found.cause is Cause.MISSED
    assert due(studio, now=NOW + timedelta(minutes=5)) == found


def test_a_night_of_an_earlier_evening_does_not_count(studio: Studio) -> None:
    """What ran before the hours began says nothing about tonight."""
    begin(studio, NOW - timedelta(hours=20))
    found = due(studio, now=NOW)
    assert found is not None
    assert found.cause is Cause.MISSED


def test_nothing_is_due_outside_the_hours(studio: Studio) -> None:
    """Neither a missed night nor one that was cut short."""
    later = NOW + timedelta(hours=3)
    assert due(studio, now=later) is None
    begin(studio, NOW, ended=False)
    assert due(studio, now=later) is None


def test_nothing_is_due_without_a_sheet(studio: Studio) -> None:
    """An empty inbox starts no night."""
    (studio.accepted_dir / "shots.csv").unlink()
    assert due(studio, now=NOW) is None


def test_a_night_that_was_cut_short_is_due_and_named(studio: Studio) -> None:
    """Open in the ledger and held by nobody: it is taken up."""
    name = begin(studio, NOW, ended=False)
    found = due(studio, now=NOW)
    assert found is not None
    assert found.cause is Cause.CUT_SHORT
    assert name in found.words
    night = open_night(studio)
    assert night is not None
    assert night.id == name


def test_a_night_that_runs_is_never_due(studio: Studio) -> None:
    """Whoever holds the ledger is at work."""
    begin(studio, NOW, ended=False)
    with sole_writer(studio.ledger_path):
        assert due(studio, now=NOW) is None
        assert open_night(studio) is None


def test_a_night_over_sheets_named_by_hand_is_left_to_that_person(studio: Studio) -> None:
    """Only the inbox's nights are taken up."""
    begin(studio, NOW, ended=False, key="another")
    assert open_night(studio) is None
    found = due(studio, now=NOW)
    assert found is not None
    assert found.cause is Cause.MISSED


def test_a_night_that_breaks_again_and_again_is_given_up(studio: Studio) -> None:
    """Taken up so often since its hours began, it waits for a person or the next evening."""
    name = begin(studio, LONG_AGO, ended=False)
    marks = set()
    for _ in range(RESUMES):
        found = due(studio, now=NOW)
        assert found is not None
        marks.add(found.mark)
        with Ledger(studio.ledger_path) as ledger:
            ledger.resume_night(name)
    assert len(marks) == RESUMES
    assert due(studio, now=NOW) is None
    assert due(studio, now=NOW + timedelta(days=1)) is not None


def test_sheets_that_come_after_the_night_are_rendered_in_the_same_hours(studio: Studio) -> None:
    """A sheet that was taken after the last night began is new work; one before is not."""
    begin(studio, datetime.now(UTC) + timedelta(seconds=1))
    assert due(studio, now=NOW) is None


def test_a_sheet_taken_later_makes_a_night_due(studio: Studio) -> None:
    """The time that counts is when the sheet was taken, not when it was written."""
    begin(studio, NOW - timedelta(minutes=30))
    found = due(studio, now=NOW)
    assert found is not None
    assert found.cause is Cause.NEW_SHEETS


def test_without_hours_only_a_cut_night_is_taken_up(studio: Studio, tmp_path: Path) -> None:
    """Nobody set hours: a person starts nights, but a power cut does not end one."""
    free = load_studio(tmp_path)
    assert due(free, now=NOW) is None
    begin(free, NOW, ended=False)
    found = due(free, now=NOW)
    assert found is not None
    assert found.cause is Cause.CUT_SHORT
