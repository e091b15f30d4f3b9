"""The night's hours: when a studio's machines are Rushes', in the zone that the studio lives in.

A night is named by the date of its evening. Its hours are wall-clock times, so in the two nights
a year when clocks change it is an hour shorter or longer; it is never run twice and never skipped.
Times are compared as instants: aware `datetime`s of any zone may be given.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict

from manifests.refusal import Refusal, quoted
from manifests.text import suggest

_CLOCK = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")
_DAY = timedelta(days=1)
_SEARCH_DAYS = 21
"""Days looked ahead for a night; days of the week repeat after seven."""


class Overrun(StrEnum):
    """What becomes of a take that would not end before the night does."""

    FINISH = "finish"
    """It is started all the same, and runs over."""
    CHECKPOINT = "checkpoint"
    """It is not started; one that runs over stops at its next checkpoint and goes on next night."""
    ABORT = "abort"
    """It is not started; one that runs over is stopped at once, from its last checkpoint."""


class Weekday(StrEnum):
    """Days of the week, Monday first, as `date.weekday()` counts them."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


EVERY_DAY = tuple(Weekday)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """One night's hours, as instants."""

    evening: date
    """Date that names the night, where the studio is."""
    opens: datetime
    """UTC; the night holds this instant."""
    closes: datetime
    """UTC, after `opens`; the night does not hold this instant."""

    def holds(self, now: datetime) -> bool:
        """Whether the night is on at `now`."""
        return self.opens <= now < self.closes

    def seconds_left(self, now: datetime) -> float:
        """Seconds from `now` to the end; negative after it."""
        return (self.closes - now).total_seconds()


def _clock(value: Any) -> time:
    """`22:00` as a time. Raises Refusal.

    NOTE: YAML 1.1 reads an unquoted 22:00 as the number 1320, minutes in base 60.
    """
    if isinstance(value, time):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 24 * 60:
        return time(value // 60, value % 60)
    found = _CLOCK.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise Refusal(f"{quoted(value)} is no time of day", 'write hours and minutes: "22:00"')
    return time(int(found[1]), int(found[2]))


def _zone(value: Any) -> ZoneInfo:
    if isinstance(value, ZoneInfo):
        return value
    try:
        return ZoneInfo(str(value))
    except (KeyError, OSError, ValueError):  # an unknown key, or one that is no name at all
        raise Refusal(
            f"there is no time zone {quoted(value)}", "write one like Europe/Berlin or UTC"
        ) from None


def _days(value: Any) -> tuple[Weekday, ...]:
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list | tuple) or not listed:
        raise Refusal(f"{quoted(value)} names no days", "write [mon, tue, wed, thu, fri]")
    short = {str(item).strip().lower()[:3]: item for item in listed}
    for key, item in short.items():
        if key not in list(Weekday):
            raise Refusal(f"there is no day {quoted(item)}", suggest(str(item), list(Weekday)))
    return tuple(day for day in Weekday if day in short)


class Window(BaseModel):
    """The hours of every night, as studio.yaml gives them under `window:`."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    start: Annotated[time, BeforeValidator(_clock)]
    """Wall clock of the evening."""
    end: Annotated[time, BeforeValidator(_clock)]
    """Wall clock at which the machines are given back: of the next day unless it is after
    `start`; equal to `start` it means the whole day."""
    timezone: Annotated[ZoneInfo, BeforeValidator(_zone)]
    """IANA name; never taken from the machine, which may be set to another one."""
    days: Annotated[tuple[Weekday, ...], BeforeValidator(_days)] = EVERY_DAY
    """Evenings on which there is a night."""
    overrun: Overrun = Overrun.CHECKPOINT

    def now(self, instant: datetime) -> Hours | None:
        """The night that is on at `instant`; None outside the hours."""
        return next((hours for hours in self._around(instant) if hours.holds(instant)), None)

    def next(self, instant: datetime) -> Hours:
        """The first night that opens after `instant`."""
        evening = instant.astimezone(self.timezone).date() - 2 * _DAY
        for ahead in range(_SEARCH_DAYS):
            hours = self.night(evening + ahead * _DAY)
            if hours is not None and hours.opens > instant:
                return hours
        raise AssertionError("a window has at least one day of the week")

    def night(self, evening: date) -> Hours | None:
        """The hours of the night of that date; None where the date has none.

        A time that the clocks skip is read as if they had not been put forward yet, one that they
        show twice is the first of the two. Where the same instants would belong to two dates (a
        zone that skipped a whole day), they belong to the later one.
        """
        if Weekday(list(Weekday)[evening.weekday()]) not in self.days:
            return None
        hours, after = self._plain(evening), self._plain(evening + _DAY)
        if hours.opens >= after.opens:
            return None
        return Hours(evening=evening, opens=hours.opens, closes=min(hours.closes, after.opens))

    def _around(self, instant: datetime) -> Iterator[Hours]:
        today = instant.astimezone(self.timezone).date()
        # NOTE: two days back, for zones that put their clocks by a day.
        for back in (0, 1, 2):
            hours = self.night(today - back * _DAY)
            if hours is not None:
                yield hours

    def _plain(self, evening: date) -> Hours:
        opens = self._instant(evening, self.start)
        closes = self._instant(evening + _DAY if self.end <= self.start else evening, self.end)
        if closes <= opens:
            # The clocks skipped the beginning: the night is as long as on any other date.
            closes = opens + self._length()
        return Hours(evening=evening, opens=opens, closes=closes)

    def _instant(self, day: date, clock: time) -> datetime:
        return datetime.combine(day, clock, tzinfo=self.timezone).astimezone(UTC)

    def _length(self) -> timedelta:
        start, end = (timedelta(hours=t.hour, minutes=t.minute) for t in (self.start, self.end))
        return end - start if end > start else end - start + _DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Whether a take may be started now."""

    open: bool
    words: str
    """Why not, in words; empty when it may."""


def may_start(hours: Hours, now: datetime, *, seconds: float, overrun: Overrun) -> Gate:
    """Whether a take of about `seconds` may be started at `now` of the night `hours`.

    Outside the hours nothing is started; inside them all that ends in time, and the rest where
    the policy is `finish`.
    """
    left = hours.seconds_left(now)
    if not hours.holds(now):
        return Gate(open=False, words="waits for the next night: this one is over")
    if overrun is not Overrun.FINISH and seconds > left:
        needs = f"it needs about {_minutes(seconds)}"
        return Gate(open=False, words=f"waits for the next night: {_minutes(left)} left, {needs}")
    return Gate(open=True, words="")


def _minutes(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
