"""The clock that only counts hours, and the night told before it runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.window import Window
from tasks.forecast import WorkClock

HOURS = Window.model_validate({"start": "22:00", "end": "07:00", "timezone": "Europe/Berlin"})
EVENING = datetime(2026, 11, 20, 22, tzinfo=ZoneInfo("Europe/Berlin"))


@pytest.mark.parametrize(
    ("after", "seconds"),
    [
        (timedelta(hours=-1), -3600),
        (timedelta(hours=3), 3 * 3600),
        (timedelta(hours=9), 9 * 3600),
        (timedelta(hours=15), 9 * 3600),
        (timedelta(hours=25), 10 * 3600),
    ],
)
def test_between_two_nights_the_clock_stands_still(after: timedelta, seconds: float) -> None:
    """A deadline at noon leaves as many hours of work as one at the end of the night."""
    clock = WorkClock(EVENING.astimezone(UTC), HOURS)
    assert clock.seconds((EVENING + after).astimezone(UTC)) == seconds


def test_a_night_that_begins_by_day_counts_from_the_evening() -> None:
    """A plan made at noon is for the coming hours."""
    clock = WorkClock(EVENING.replace(hour=12).astimezone(UTC), HOURS)
    assert clock.moment(0.0) == EVENING
    assert clock.seconds((EVENING + timedelta(hours=1)).astimezone(UTC)) == 3600


def test_without_hours_every_second_counts() -> None:
    """And what lies beyond all that is looked at is never."""
    clock = WorkClock(EVENING, None)
    assert clock.seconds(EVENING + timedelta(days=3)) == 3 * 86400
    far = WorkClock(EVENING, HOURS)
    assert far.seconds(EVENING.replace(year=2990)) == float("inf")
    assert far.moment(1e12) is None


@given(st.floats(0, 40 * 3600), st.integers(0, 23))
def test_a_moment_and_its_seconds_belong_together(seconds: float, hour: int) -> None:
    """There and back, from any hour of the day, also over the night in which clocks change."""
    begun = datetime(2026, 10, 24, hour, tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC)
    clock = WorkClock(begun, HOURS)
    moment = clock.moment(seconds)
    assert moment is not None
    assert HOURS.now(moment - timedelta(seconds=1)) or HOURS.now(moment)
    assert clock.seconds(moment) == pytest.approx(seconds, abs=1e-3)
