"""The deadline cell: `2026-11-25`, `2026-11-25 18:00`, or with an offset of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from manifests.numbers import cell_text
from manifests.refusal import Refusal, quoted

_FORM = re.compile(
    r"(2[0-9]{3}-[0-9]{2}-[0-9]{2})"
    r"(?:[ T]([0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?) ?(Z|[+-][0-9]{2}:[0-9]{2})?)?"
)
_REMEDY = "write 2026-11-25, or 2026-11-25 18:00"


@dataclass(frozen=True, slots=True)
class Deadline:
    """A deadline as a cell gives it."""

    given: date | datetime | None
    """A day, a wall-clock time, or an instant with its offset. None: the defaults' is taken back.
    """

    def at(self, zone: tzinfo | None) -> datetime | None:
        """The instant, UTC: a day lasts until its end, wall clock is read in `zone`.

        `zone` None is this machine's. A time that the clocks show twice is the first of the two,
        one that they skip is read as if they had not been put forward yet.
        """
        if self.given is None:
            return None
        moment = self.given
        if not isinstance(moment, datetime):
            moment = datetime.combine(moment + timedelta(days=1), time())
        if moment.tzinfo is None and zone is not None:
            moment = moment.replace(tzinfo=zone)
        return moment.astimezone(UTC)

    def __str__(self) -> str:
        """The cell that reads back as this."""
        if self.given is None:
            return "none"
        if isinstance(self.given, datetime):
            return self.given.isoformat(sep=" ")
        return self.given.isoformat()


def read_deadline(value: object) -> Deadline | None:
    """The deadline of a cell; None stays None, `none` takes one back. Raises Refusal."""
    if value is None or isinstance(value, Deadline):
        return value
    text = cell_text(value)
    if text.lower() == "none":
        return Deadline(None)
    match = _FORM.fullmatch(text)
    if match is None:
        raise Refusal(f"{quoted(text)} is no date", _REMEDY)
    day, clock, offset = match.groups()
    try:
        if clock is None:
            return Deadline(date.fromisoformat(day))
        full = f"{day}T{clock.zfill(5 if clock.count(':') == 1 else 8)}{offset or ''}"
        return Deadline(datetime.fromisoformat(full))
    except ValueError as error:
        raise Refusal(f"{quoted(text)} is no date ({error})", _REMEDY) from None


def passed_words(deadline: datetime, *, now: datetime, zone: tzinfo | None) -> str | None:
    """A warning where a deadline lies behind `now`; None where it does not."""
    if deadline > now:
        return None
    return f"deadline {moment_words(deadline, zone)} has passed"


def moment_words(moment: datetime, zone: tzinfo | None) -> str:
    """An instant as a person in `zone` (None: of this machine) reads it, with the zone's name."""
    there = moment.astimezone(zone)
    return f"{there:%Y-%m-%d %H:%M} {there.tzname()}"
