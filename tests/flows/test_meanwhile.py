"""What changes under a night: its ledger's disk is full, a preset of its shots is edited."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fake_night import ledger, night_of, statuses
from fake_pool import FakePool

from flows.watch import Watcher
from render.order import Receipt, RenderOrder
from reports.errors import LedgerBusy, LedgerUnwritable
from reports.records import EventKind
from tasks.control import PAUSED, RESUMED, change_control
from tasks.desk import desk

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.slow]

MOST = 1_073_741_823
"""Pages that SQLite lets a database have."""


def _pages(most: int) -> None:
    """Let the night's ledger have so many pages; SQLite says of more that the disk is full."""
    desk().ledger._connection.execute(f"PRAGMA max_page_count={most}")


def _reads_only(only: bool) -> None:
    """Have SQLite refuse each write to the night's ledger, or no more."""
    desk().ledger._connection.execute(f"PRAGMA query_only={int(only)}")


class Breaks(FakePool):
    """Of its first take on, something is wrong with the night's ledger."""

    def __init__(self, break_it: Callable[[], None]) -> None:
        super().__init__()
        self._break_it = break_it

    async def render(self, order: RenderOrder, *, budget: float, place: int = 0) -> Receipt:
        """As the fake; then it breaks."""
        receipt = await super().render(order, budget=budget, place=place)
        if len(self.rendered) == 1:
            self._break_it()
        return receipt


class Frees(Watcher):
    """A person who hears that the disk is full, and makes room."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def news(self, words: str) -> None:
        """Called inside the night."""
        self.heard.append(words)
        if "is full" in words:
            _pages(MOST)


def test_a_night_waits_while_its_ledger_cannot_be_written(studio: Any) -> None:
    """It says so, and goes on as soon as it can: no shot fails or is left out, none is rendered
    twice, and the ledger has the outage and its end."""
    from flows.night import WATCHER

    person, pool = Frees(), Breaks(partial(_pages, 1))
    token = WATCHER.set(person)
    try:
        counts = night_of(studio, [{"shot": f"s{n}"} for n in range(4)], pool)["shots"]
    finally:
        WATCHER.reset(token)
    assert counts["approved"] == 4
    told = [words for words in person.heard if "disk" in words]
    assert "database or disk is full" in told[0]
    assert told[1] == "there is room on the disk again"
    with ledger(studio) as book:
        kept = [event.words for event in book.events_of(kind=EventKind.CARD)]
    assert kept == told
    assert [statuses(studio, f"s{n}") for n in range(4)] == [["approved"]] * 4


class Pauses(Watcher):
    """A person who pauses such a night, resumes it, and only then sees to the ledger."""

    def news(self, words: str) -> None:
        """Called inside the night."""
        if words == RESUMED:
            _reads_only(False)
        elif words == PAUSED or "until it can be written" in words:
            pause = words != PAUSED
            state = desk().studio.state_dir
            change_control(state, lambda control: replace(control, paused=pause))


def test_a_night_whose_ledger_cannot_be_written_can_be_paused(studio: Any) -> None:
    """No shot breaks by it, and the ledger has pause and end as soon as it can be written."""
    from flows.night import WATCHER

    token = WATCHER.set(Pauses())
    try:
        counts = night_of(
            studio, [{"shot": f"s{n}"} for n in range(2)], Breaks(partial(_reads_only, True))
        )["shots"]
    finally:
        WATCHER.reset(token)
    assert counts["approved"] == 2
    with ledger(studio) as book:
        kept = [event.words for event in book.events_of(kind=EventKind.NOTE)]
    assert kept == [PAUSED, RESUMED]


class Ends(Watcher):
    """A person who hears that the ledger cannot be written, and ends the night."""

    def news(self, words: str) -> None:
        """Called inside the night."""
        if "until it can be written" in words:
            night = desk()
            ended = partial(replace, ended=night.night_id)
            change_control(night.studio.state_dir, ended)


@pytest.mark.parametrize("there", [True, False])
def test_a_night_whose_end_cannot_be_written_leaves_its_report(studio: Any, there: bool) -> None:
    """It breaks by the ledger's name and says where the report lies, or why there is none; the
    same night goes on when the ledger can be written, and ends."""
    from flows.night import WATCHER

    rows, reports = [{"shot": f"s{n}"} for n in range(2)], studio.root / "reports"
    if not there:
        reports.write_text("no folder")
    token = WATCHER.set(Ends())
    try:
        with pytest.raises(LedgerUnwritable, match="readonly database") as caught:
            night_of(studio, rows, Breaks(partial(_reads_only, True)))
    finally:
        WATCHER.reset(token)
    with ledger(studio) as book:
        (night,) = book.nights()
    assert night.ended is None
    assert f"night {night.id} has no end in it, and goes on with the next run" in str(caught.value)
    page = reports / night.id / "index.html"
    if there:
        assert str(caught.value).endswith(f"; its report, as far as it came: {page}")
        assert "still open" in page.read_text()
    else:
        assert "its report cannot be written either (" in str(caught.value)
        reports.unlink()
    (studio.root / ".rushes/control.json").unlink()
    result = night_of(studio, rows, FakePool())
    assert result["night"] == night.id
    assert result["shots"]["approved"] == 2


def test_a_night_whose_ledger_is_locked_to_the_end_leaves_its_report_too(studio: Any) -> None:
    """Another program holds it and does not let go."""
    locks: list[sqlite3.Connection] = []

    def lock() -> None:
        locks.append(sqlite3.connect(desk().ledger.path))
        locks[0].execute("BEGIN IMMEDIATE")
        desk().ledger._connection.execute("PRAGMA busy_timeout=10")

    with pytest.raises(LedgerBusy, match=r"its report, as far as it came: .*index\.html"):
        night_of(studio, [{"shot": "s0"}], Breaks(lock))
    locks[0].close()


class Edits(FakePool):
    """While its first take renders, somebody saves a preset half written."""

    def __init__(self, preset: Path) -> None:
        super().__init__({"a": [{"frozen": 1.0}]})
        self._preset = preset

    async def render(self, order: RenderOrder, *, budget: float, place: int = 0) -> Receipt:
        """As the fake."""
        self._preset.write_text("stages: [")
        return await super().render(order, budget=budget, place=place)


def test_a_preset_that_is_edited_meanwhile_holds_from_the_next_night_on(studio: Any) -> None:
    """Also one that cannot be read: takes, retakes and shots not yet begun go by what it said when
    the night began."""
    mine = studio.root / "presets/pocket/mine.yaml"
    mine.parent.mkdir(parents=True)
    bundled = Path(__file__).parents[2] / "manifests/presets/pocket/three-stage.yaml"
    mine.write_text(bundled.read_text())
    (studio.root / "studio.yaml").write_text("presets_dir: presets\n")
    rows = [{"shot": shot, "preset": "mine"} for shot in "abc"]
    assert night_of(studio, rows, Edits(mine))["shots"]["approved"] == 3
    assert statuses(studio, "a") == ["rejected", "approved"]
