"""A night's hours while it runs, by a timer that is set by hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from waiting import in_time

from manifests.settings import load_studio
from render.errors import OutOfHours
from tasks.hours import NightHours, within_hours

OPENS = datetime(2026, 11, 20, 22, tzinfo=UTC)


class Timer:
    now = 5000.0

    def __call__(self) -> float:
        return self.now


def _hours(
    root: Path, timer: Timer, *, overrun: str = "checkpoint", ignore: bool = False
) -> NightHours:
    """Of a night from 22 to 6 that began an hour after it opened, years from this moment."""
    window = {"start": "22:00", "end": "06:00", "timezone": "UTC", "overrun": overrun}
    begun = OPENS + timedelta(hours=1)
    return NightHours(load_studio(root, window=window), now=begun, timer=timer, ignore=ignore)


def test_the_night_ends_by_its_own_timer(tmp_path: Path) -> None:
    """Whatever the wall clock says meanwhile: seven hours are left, then none."""
    timer = Timer()
    hours = _hours(tmp_path, timer)
    assert hours.evening == date(2026, 11, 20)
    assert hours.gate(7 * 3600.0).open
    assert not hours.gate(7 * 3600.0 + 1.0).open
    timer.now += 6 * 3600.0
    assert not hours.gate(3601.0).open
    assert hours.gate(3600.0).open
    timer.now += 3600.0
    assert hours.gate(0.0).words == "waits for the next night: this one is over"


def test_takes_stop_at_the_end_unless_they_may_run_over(tmp_path: Path) -> None:
    """The moment is told by the wall clock, as the machines of the cards know it."""
    timer = Timer()
    hours = _hours(tmp_path, timer)
    timer.now += 3600.0
    stop = hours.stop_at
    assert stop is not None
    assert stop - time.time() == pytest.approx(6 * 3600.0, abs=60.0)
    assert hours.stop_keeps
    assert not _hours(tmp_path, timer, overrun="abort").stop_keeps
    assert _hours(tmp_path, timer, overrun="finish").stop_at is None
    assert _hours(tmp_path, timer, overrun="finish").gate(99 * 3600.0).open


def test_a_night_that_is_run_now_has_no_hours(tmp_path: Path) -> None:
    """Nothing waits for the next night, and nothing is stopped."""
    timer = Timer()
    hours = _hours(tmp_path, timer, ignore=True)
    timer.now += 99 * 3600.0
    assert hours.gate(1e9).open
    assert hours.stop_at is None


def test_a_seat_is_waited_for_until_the_end_and_then_kept(tmp_path: Path) -> None:
    """Who waits longer is out of hours; what is done on a seat is not cut short by them."""

    @asynccontextmanager
    async def seat(waits: float) -> AsyncIterator[str]:
        await asyncio.sleep(waits)
        yield "card-0"

    async def work() -> None:
        with pytest.raises(OutOfHours, match="while it waited for a card"):
            async with within_hours(time.time() + 0.02, seat(60.0)):
                raise AssertionError("there was no seat")
        # Time enough for a busy machine to give it, and not enough for what is done on it.
        async with within_hours(time.time() + 0.3, seat(0.0)) as got:
            await asyncio.sleep(0.4)
            assert got == "card-0"
        async with within_hours(None, seat(0.0)) as got:
            assert got == "card-0"

    in_time(work())
