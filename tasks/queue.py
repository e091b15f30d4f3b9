"""What of a night is still to come, in the order of what a person has said: for people to see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.ledger_reads import LedgerReads
from reports.records import EventKind, ShotRecord, ShotStanding
from reports.take import ShotStatus
from tasks.control import Control, shot_key


@dataclass(frozen=True, slots=True, kw_only=True)
class ToCome:
    """The shots of a night that are not over."""

    waiting: Sequence[ShotStanding]
    """They wait for their turn: by priority, then as they were planned."""
    begun: Sequence[ShotStanding]
    """A take of theirs is in work, or waits for its card, its verdict or its finish."""


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


def shots_to_come(ledger: LedgerReads, night: str, control: Control) -> ToCome:
    """The shots of a night that wait or are in work; what is left out tonight is in neither."""
    with ledger.snapshot():
        shots = ledger.standings(night)
        out = left_out(ledger, night)
    waiting = [
        shot
        for shot in shots
        if shot.status is ShotStatus.WAITING
        and shot.id not in out
        and control.stops(shot.key, night=night) is None
    ]
    waiting.sort(key=lambda shot: -control.priority_of(shot.key, shot.priority))
    begun = [shot for shot in shots if shot.status is ShotStatus.WORKING]
    return ToCome(waiting=waiting, begun=begun)
