"""What of a night is still to come, in the order of what a person has said: for people to see."""

from __future__ import annotations

from reports.ledger_reads import LedgerReads
from reports.records import EventKind, ShotRecord
from reports.take import ShotStatus
from tasks.control import Control, shot_key


def left_out(ledger: LedgerReads, night: str) -> dict[int, str]:
    """Why nothing is done on shots in this night, by their key in the ledger."""
    return {
        event.shot_id: event.words
        for kind in (EventKind.POSTPONED, EventKind.WAITS, EventKind.CANCELLED)
        for event in ledger.events_of(night=night, kind=kind)
        if event.shot_id is not None
    }


def key_of(record: ShotRecord) -> str:
    """The name by which a person speaks of a shot: `sheet/shot`."""
    return shot_key(record.manifest, record.shot.id)


def waiting_shots(ledger: LedgerReads, night: str, control: Control) -> list[ShotRecord]:
    """The shots of a night that wait for their turn: by priority, then as they were planned."""
    out = left_out(ledger, night)
    waiting = [
        record
        for record in ledger.shot_records(night)
        if ledger.shot_status(record.id) is ShotStatus.WAITING
        and record.id not in out
        and control.stops(key_of(record), night=night) is None
    ]
    return sorted(
        waiting,
        key=lambda record: -control.priority_of(key_of(record), record.shot.priority),
    )
