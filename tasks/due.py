"""Whether a night over the inbox is to be started at this moment, from the ledger alone.

The schedule begins nights; this is the net below it: for a machine that was off when the hours
began, a night that was cut short, and sheets that came when the night was over already.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from manifests.settings import Studio
from reports.ledger_reads import LedgerReads
from reports.lock import ledger_is_held
from reports.records import EventKind, NightRecord
from tasks.inbox import accepted_sheets
from tasks.naming import arguments_key

RESUMES = 3
"""A night that was taken up so often since its hours began is not taken up again by itself."""
_NO_HOURS = timedelta(hours=12)
"""What counts as this night where a studio has no hours."""


class Cause(StrEnum):
    """Why a night is to be started."""

    MISSED = "missed"
    """The hours have begun and no night has."""
    CUT_SHORT = "cut short"
    """A night was begun and has not ended, and nobody runs it."""
    NEW_SHEETS = "new sheets"
    """Sheets were taken after the last night began, and the hours are not over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A night that is to be started."""

    cause: Cause
    words: str
    mark: str
    """Equal for the same occasion, so that it is answered once."""
    since: datetime | None = None
    """A run that began after this has answered it, also where it found nothing to do."""
    flow_run_id: str | None = None
    """Of the night that was cut short."""


def inbox_key(studio: Studio) -> str:
    """The key of the inbox's nights in the ledger."""
    return arguments_key([studio.accepted_dir / "sheet"], studio=studio)


def open_night(studio: Studio) -> NightRecord | None:
    """The inbox's night that was cut short; None where there is none, or somebody runs one."""
    if not studio.ledger_path.exists() or ledger_is_held(studio.ledger_path):
        return None
    with LedgerReads(studio.ledger_path) as ledger:
        return ledger.open_night(inbox_key(studio))


def due(studio: Studio, *, now: datetime) -> Due | None:
    """Why a night is to be started at `now`; None: there is no reason, or one runs.

    Only inside the studio's hours. Without hours nothing is started by itself, but a night that
    was cut short is taken up.
    """
    hours = None if studio.window is None else studio.window.now(now)
    if (studio.window is not None and hours is None) or ledger_is_held(studio.ledger_path):
        return None
    opened = now - _NO_HOURS if hours is None else hours.opens
    last = None
    if studio.ledger_path.exists():
        with LedgerReads(studio.ledger_path) as ledger:
            key = inbox_key(studio)
            cut = ledger.open_night(key)
            if cut is not None:
                return _take_up(ledger, cut, since=opened)
            nights = [night for night in ledger.nights() if night.arguments_key == key]
            last = nights[-1] if nights else None
    sheets = accepted_sheets(studio)
    if hours is None or not sheets:
        return None
    if last is None or last.started < opened:
        words = f"the hours of {hours.evening} have begun, and no night has"
        return Due(cause=Cause.MISSED, words=words, mark=f"missed {hours.evening}", since=opened)
    # NOTE: a rename changes the inode's time, the file's own time is the one it was written at.
    taken = datetime.fromtimestamp(max(sheet.stat().st_ctime for sheet in sheets), UTC)
    if taken <= last.started:
        return None
    words = f"sheets were taken after night {last.id} had begun"
    return Due(cause=Cause.NEW_SHEETS, words=words, mark=f"sheets {taken}", since=taken)


def _take_up(ledger: LedgerReads, night: NightRecord, *, since: datetime) -> Due | None:
    resumed = ledger.events_of(night=night.id, kind=EventKind.RESUMED)
    tonight = [event for event in resumed if event.at >= since]
    if len(tonight) >= RESUMES:
        return None
    words = f"night {night.id} was cut short"
    mark = f"cut short {night.id} {len(resumed)}"
    return Due(cause=Cause.CUT_SHORT, words=words, mark=mark, flow_run_id=night.flow_run_id)
