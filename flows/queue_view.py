"""What the queue's page shows: the shots to come, found by what is looked for, page by page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from manifests.settings import load_studio
from reports.ledger_reads import LedgerReads
from reports.records import ShotStanding
from tasks.control import Control, read_control
from tasks.queue import shots_to_come

PER_PAGE = 100
"""Rows at once: each is a form of its own, and a browser is slow with thousands of them."""
MOST_LOOKED_FOR = 200
"""Characters of what is looked for; the rest is not read."""


class Standing(StrEnum):
    """Where a shot of the queue stands."""

    WAITING = "waiting"
    IN_WORK = "in work"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One shot on the page."""

    key: str
    """`sheet/shot`."""
    name: str
    sheet: str
    place: int | None
    """Among those that wait, by priority and as planned, from 1; None: it has begun."""
    typed: int
    """Priority in its sheet."""
    holds: int
    """Priority that holds."""

    @property
    def changed(self) -> bool:
        """Whether a person has set another than its sheet's."""
        return self.typed != self.holds

    @property
    def status(self) -> Standing:
        """Where it stands."""
        return Standing.IN_WORK if self.place is None else Standing.WAITING


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """The shots of the latest night that are not over."""

    night: str | None
    """None: no night has run here."""
    rows: tuple[Row, ...] = ()

    def count(self, status: Standing) -> int:
        """How many stand there."""
        return Counter(row.status for row in self.rows)[status]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A part of the queue, as many rows as people look through."""

    rows: tuple[Row, ...]
    looked_for: str
    """Empty: all of them."""
    found: int
    """Rows that have it, on all pages."""
    number: int
    """From 1."""
    pages: int
    """At least 1."""

    @property
    def first(self) -> int:
        """Place of its first row among those found, from 1."""
        return (self.number - 1) * PER_PAGE + 1


def queue_of(root: Path) -> Queue:
    """The shots of the latest night that wait, by priority and as planned, then those begun.

    Raises BadInput where the settings, or what people have said, cannot be read, and what the
    ledger raises where that cannot be.
    """
    studio = load_studio(root)
    if not studio.ledger_path.exists():
        return Queue(night=None)
    control = read_control(studio.state_dir)
    with LedgerReads(studio.ledger_path) as ledger:
        nights = ledger.nights()
        if not nights:
            return Queue(night=None)
        night = nights[-1].id
        to_come = shots_to_come(ledger, night, control)
    rows = [_row(shot, control, place) for place, shot in enumerate(to_come.waiting, start=1)]
    rows += [_row(shot, control, None) for shot in to_come.begun]
    return Queue(night=night, rows=tuple(rows))


def page_of(rows: Sequence[Row], looked_for: str, number: str) -> Page:
    """The page `number` of the rows in which every word of `looked_for` is found.

    Both are as a person typed them. Words are looked for in sheet, shot and status, whatever their
    case; a number that is none, or beyond the pages, leads to the nearest page there is.
    """
    looked_for = " ".join(looked_for[:MOST_LOOKED_FOR].split())
    words = looked_for.casefold().split()
    found = [row for row in rows if _has(row, words)]
    pages = max(1, -(-len(found) // PER_PAGE))
    wanted = int(number) if number.isascii() and number.isdigit() and len(number) < 10 else 1
    at = min(max(1, wanted), pages)
    shown = found[(at - 1) * PER_PAGE : at * PER_PAGE]
    return Page(rows=tuple(shown), looked_for=looked_for, found=len(found), number=at, pages=pages)


def _has(row: Row, words: Sequence[str]) -> bool:
    text = f"{row.key} {row.status}".casefold()
    return all(word in text for word in words)


def _row(shot: ShotStanding, control: Control, place: int | None) -> Row:
    return Row(
        key=shot.key,
        name=shot.shot,
        sheet=shot.manifest,
        place=place,
        typed=shot.priority,
        holds=control.priority_of(shot.key, shot.priority),
    )
