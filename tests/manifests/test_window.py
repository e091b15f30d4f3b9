"""The night's hours: in every zone, on every date, also when the clocks change."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from manifests.window import EVERY_DAY, Hours, Overrun, Weekday, Window, may_start

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",  # changed at midnight
    "Australia/Lord_Howe",  # changes by half an hour
    "Asia/Kathmandu",
    "Africa/Casablanca",
    "Pacific/Apia",  # skipped 2011-12-30
    "Pacific/Kwajalein",
    "Antarctica/Troll",  # changes by two hours
)
clocks = st.times(max_value=time(23, 59)).map(lambda t: t.replace(second=0, microsecond=0))
dates = st.dates(min_value=date(1995, 1, 10), max_value=date(2037, 12, 1))
days = st.sets(st.sampled_from(list(Weekday)), min_size=1).map(list)
instants = st.integers(790_000_000, 2_140_000_000).map(lambda s: datetime.fromtimestamp(s, UTC))
windows = st.builds(
    lambda start, end, zone, chosen: Window(start=start, end=end, timezone=zone, days=chosen),
    clocks,
    clocks,
    st.sampled_from(ZONES),
    days,
)


def berlin(**changes: object) -> Window:
    """A studio in Berlin that leaves at ten and comes at seven."""
    given: dict[str, object] = {"start": "22:00", "end": "07:00", "timezone": "Europe/Berlin"}
    return Window(**{**given, **changes})  # type: ignore[arg-type]


def at(text: str, fold: int = 0) -> datetime:
    """An instant on the wall clock of Berlin."""
    local = datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold)
    return local.astimezone(UTC)


def test_a_night_goes_over_midnight() -> None:
    """At three in the morning it is still the night of yesterday's date."""
    hours = berlin().now(at("2026-11-21T03:00"))
    assert hours is not None
    assert hours.evening == date(2026, 11, 20)
    assert hours.seconds_left(at("2026-11-21T03:00")) == 4 * 3600


@pytest.mark.parametrize(
    ("instant", "on"),
    [("2026-11-20T21:59", False), ("2026-11-20T22:00", True), ("2026-11-21T07:00", False)],
)
def test_the_night_holds_its_start_and_not_its_end(instant: str, on: bool) -> None:
    """The minute of opening belongs to the night, the minute of closing does not."""
    assert (berlin().now(at(instant)) is not None) is on


@pytest.mark.parametrize(("evening", "hours"), [("2026-03-28", 8), ("2026-10-24", 10)])
def test_the_nights_when_clocks_change(evening: str, hours: int) -> None:
    """In spring the night is an hour shorter, in autumn an hour longer."""
    night = berlin().night(date.fromisoformat(evening))
    assert night is not None
    assert night.closes - night.opens == timedelta(hours=hours)


def test_a_start_that_is_shown_twice_opens_once() -> None:
    """A window from 02:30 in the autumn night opens at the first 02:30 and not again."""
    window = berlin(start="02:30", end="05:00")
    first = window.night(date(2026, 10, 25))
    assert first is not None
    assert first.opens == at("2026-10-25T02:30", fold=0)
    assert window.next(first.opens).evening == date(2026, 10, 26)


def test_a_start_that_is_skipped_opens_all_the_same() -> None:
    """A window from 02:30 to 03:15 in the spring night, when 02:30 does not exist."""
    night = berlin(start="02:30", end="03:15").night(date(2026, 3, 29))
    assert night is not None
    assert night.closes - night.opens == timedelta(minutes=45)


def test_a_night_ends_where_the_next_begins_though_its_end_was_skipped() -> None:
    """From 03:05 to 02:50, which does not exist in the spring night: read as summer time it would
    lie 45 minutes inside the night that follows."""
    window = berlin(start="03:05", end="02:50")
    before, after = window.night(date(2026, 3, 28)), window.night(date(2026, 3, 29))
    assert before is not None
    assert after is not None
    assert before.closes == after.opens == at("2026-03-29T03:05")


def test_the_night_before_a_day_that_its_zone_left_out_goes_on_behind_it() -> None:
    """On Samoa the 29th of December 2011 was followed by the 31st."""
    zone = ZoneInfo("Pacific/Apia")
    window = Window(start="22:00", end="06:00", timezone="Pacific/Apia")  # type: ignore[arg-type]
    hours = window.now(datetime(2011, 12, 31, 1, tzinfo=zone).astimezone(UTC))
    assert hours is not None
    assert hours.evening == date(2011, 12, 29)
    assert hours.closes - hours.opens == timedelta(hours=8)


def test_only_on_its_days() -> None:
    """The night of Friday lasts into Saturday; Saturday evening has none."""
    window = berlin(days=["mon", "tue", "wed", "thu", "fri"])
    assert window.now(at("2026-11-21T05:00")) is not None
    assert window.now(at("2026-11-21T23:00")) is None
    assert window.next(at("2026-11-21T23:00")).evening == date(2026, 11, 23)


@given(windows, dates)
def test_nights_follow_each_other(window: Window, start: date) -> None:
    """No instant belongs to two nights, and nights come in the order of their dates."""
    nights = [window.night(start + timedelta(days=n)) for n in range(9)]
    there = [night for night in nights if night is not None]
    for before, after in pairwise(there):
        assert before.opens < before.closes <= after.opens
        assert before.evening < after.evening


@given(windows, dates)
def test_no_night_is_skipped(window: Window, start: date) -> None:
    """Every chosen weekday has its night, but for a date that the zone itself left out."""
    zone = window.timezone
    if Weekday(list(Weekday)[start.weekday()]) not in window.days:
        assert window.night(start) is None
        return
    noon = datetime.combine(start, time(12), tzinfo=zone).astimezone(UTC).astimezone(zone)
    assume(noon.date() == start)  # Apia has no 2011-12-30
    assert window.night(start) is not None


@given(windows, instants)
def test_an_instant_finds_its_night(window: Window, instant: datetime) -> None:
    """`now` is a night that holds the instant; `next` one that is still to come, and the first."""
    hours, coming = window.now(instant), window.next(instant)
    assert hours is None or hours.holds(instant)
    assert coming.opens > instant
    assert hours is None or hours.closes <= coming.opens
    assert window.now(coming.opens) == coming


@given(windows, instants)
def test_the_zone_of_an_instant_does_not_matter(window: Window, instant: datetime) -> None:
    """The same instant told by another clock is in the same night."""
    elsewhere = instant.astimezone(ZoneInfo("Pacific/Auckland"))
    assert window.now(instant) == window.now(elsewhere)


def test_what_does_not_end_in_time_waits() -> None:
    """With 40 minutes left a take of 55 is not started, unless the policy lets it run over."""
    hours = berlin().night(date(2026, 11, 20))
    assert hours is not None
    now = hours.closes - timedelta(minutes=40)
    gate = may_start(hours, now, seconds=55 * 60, overrun=Overrun.CHECKPOINT)
    assert not gate.open
    assert gate.words == "waits for the next night: 40 min left, it needs about 55 min"
    assert may_start(hours, now, seconds=55 * 60, overrun=Overrun.FINISH).open
    assert may_start(hours, now, seconds=39 * 60, overrun=Overrun.ABORT).open


@given(st.floats(0, 10**6), st.floats(0, 10**6), st.sampled_from(Overrun))
def test_a_shorter_take_is_never_worse_off(one: float, two: float, overrun: Overrun) -> None:
    """What may start at some length may start at every lesser one."""
    hours = Hours(
        evening=date(2026, 1, 1),
        opens=datetime(2026, 1, 1, 22, tzinfo=UTC),
        closes=datetime(2026, 1, 2, 7, tzinfo=UTC),
    )
    now = hours.opens + timedelta(hours=3)
    longer, shorter = max(one, two), min(one, two)
    if may_start(hours, now, seconds=longer, overrun=overrun).open:
        assert may_start(hours, now, seconds=shorter, overrun=overrun).open


@pytest.mark.parametrize("overrun", Overrun)
def test_nothing_starts_outside_the_hours(overrun: Overrun) -> None:
    """After the end no take is started, whatever the policy."""
    hours = berlin().night(date(2026, 11, 20))
    assert hours is not None
    assert not may_start(hours, hours.closes, seconds=1.0, overrun=overrun).open


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"start": "25:00"}, "is no time of day"),
        ({"start": 22.5}, "is no time of day"),
        ({"timezone": "Berlin"}, "there is no time zone"),
        ({"timezone": "../../etc/passwd"}, "there is no time zone"),
        ({"days": ["funday"]}, "there is no day"),
        ({"days": []}, "names no days"),
        ({"begin": "22:00"}, "Extra inputs"),
    ],
)
def test_faults_are_said_in_words(changes: dict[str, object], said: str) -> None:
    """A wrong value is refused, with what it should be."""
    with pytest.raises(ValidationError, match=said):
        berlin(**changes)


def test_unquoted_yaml_times_are_understood() -> None:
    """YAML reads 22:00 without quotes as 1320; it still means ten in the evening."""
    assert berlin(start=1320, end=420) == berlin()
    assert berlin(days="Friday").days == (Weekday.FRI,)
    assert berlin().days == EVERY_DAY
