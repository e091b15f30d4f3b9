"""A night read from the ledger alone, before any layout."""

from __future__ import annotations

from pathlib import Path

from manifests.shot import Shot
from qc.judge import rank
from render.order import Spent
from reports.ledger_reads import LedgerReads
from reports.lines import Failure, NightReport, ShotLine, TakeLine
from reports.media import stage_pictures, take_pictures
from reports.needs import needs_of
from reports.records import (
    DeliveryRecord,
    EventKind,
    EventRecord,
    NightRecord,
    ShotRecord,
    TakeRecord,
)
from reports.take import TakeStatus
from reports.timing import PhaseSeconds, headline_of, phases_of, phases_spent, wall_seconds

_TOLD = (EventKind.NOTE, EventKind.POSTPONED, EventKind.WAITS, EventKind.CANCELLED)
"""Events that a shot's notes repeat."""


def build_night_report(ledger: LedgerReads, night_id: str) -> NightReport:
    """Read a night, finished or not, as one moment of the ledger. Raises NotInLedger."""
    with ledger.snapshot():
        night = ledger.night(night_id)
        events = ledger.events_of(night=night_id)
        # By sheet and row, as people look for them: the ledger has them as the night took them.
        records = sorted(
            ledger.shot_records(night_id), key=lambda each: (each.manifest, each.shot.row)
        )
        shots = tuple(_shot_line(ledger, night, record) for record in records)
    made = ledger.clock()
    refused = tuple(event.data for event in events if event.kind is EventKind.REFUSED)
    resumed = sum(event.kind is EventKind.RESUMED for event in events)
    return NightReport(
        night=night,
        made=made,
        headline=headline_of(
            night_id,
            [(line.status, line.carried, [t.record for t in line.takes]) for line in shots],
            [line.delivery for line in shots if line.delivery is not None],
            wall=wall_seconds(night, events, [t.record for s in shots for t in s.takes], made),
            resumed=resumed,
            stopped=_all_spent(events),
        ),
        shots=shots,
        needs=tuple(needs_of(night, shots, refused)),
        refused=refused,
        notes=tuple(
            event.words
            for event in events
            if event.kind in (EventKind.PRESET_CHANGED, EventKind.CARD)
            or (event.kind is EventKind.NOTE and event.shot_id is None)
        ),
    )


def _shot_line(ledger: LedgerReads, night: NightRecord, record: ShotRecord) -> ShotLine:
    events = ledger.events_of(shot_id=record.id)
    takes = tuple(_take_line(take, events) for take in ledger.takes_of(record.id))
    delivery = ledger.delivery_of(record.id)
    asked_tonight = any(
        step.night == night.id for line in takes for step in line.record.transitions
    )
    best = _best(takes, delivery, events)
    return ShotLine(
        record=record,
        status=ledger.shot_status(record.id),
        takes=takes,
        delivery=delivery,
        best=best,
        carried=delivery is not None and delivery.night != night.id and not asked_tonight,
        strip=_strip(delivery, best),
        film=_on_disk(None if delivery is None else delivery.delivery.path),
        waits=_waits(events, night),
        notes=_notes(record.shot, takes, delivery, [e for e in events if e.night == night.id]),
    )


def _waits(events: list[EventRecord], night: NightRecord) -> str:
    """For which shot it waited in this night, in the latest words."""
    kind = EventKind.WAITS
    told = [event.words for event in events if event.kind is kind and event.night == night.id]
    return told[-1] if told else ""


def _strip(delivery: DeliveryRecord | None, best: TakeLine | None) -> Path | None:
    finished = None if delivery is None else _on_disk(delivery.delivery.strip)
    return finished or (None if best is None else best.strip)


def _on_disk(path: Path | None) -> Path | None:
    return path if path is not None and path.is_file() else None


def _stopped_strips(take: TakeRecord, events: list[EventRecord]) -> tuple[Path | None, ...]:
    """Strips of a take that was stopped after its first stage, as they were noted then."""
    noted = (event.data.get("strips", ()) for event in events if event.take_id == take.take_id)
    return tuple(_on_disk(Path(path)) for paths in noted for path in paths)


def _spent(take: TakeRecord, events: list[EventRecord]) -> Spent | None:
    """What a take had used that was stopped after its first stage, as it was noted then."""
    return next(iter(_all_spent([e for e in events if e.take_id == take.take_id])), None)


def _all_spent(events: list[EventRecord]) -> list[Spent]:
    """What all takes had used that these events say were stopped."""
    noted = (event.data.get("spent") for event in events)
    return [Spent.from_dict(spent) for spent in noted if spent]


def _phases(take: TakeRecord, spent: Spent | None) -> tuple[PhaseSeconds, ...]:
    if take.receipt is not None:
        return phases_of(take.receipt)
    return () if spent is None else phases_spent(spent)


def _take_line(take: TakeRecord, events: list[EventRecord]) -> TakeLine:
    failures = tuple(
        Failure(
            error=_error_name(event),
            attempt=_attempt(event.data.get("attempt")),
            words=event.words.removeprefix(f"{_error_name(event)}: "),
        )
        for event in events
        if event.take_id == take.take_id
        and event.kind in (EventKind.MACHINE_FAILURE, EventKind.FINISH_FAILURE, EventKind.ABANDONED)
    )
    strip, preview = (None, None) if take.receipt is None else take_pictures(take.receipt.clip)
    spent = None if take.receipt is not None else _spent(take, events)
    return TakeLine(
        record=take,
        failures=failures,
        strip=strip,
        preview=preview,
        phases=_phases(take, spent),
        spent=spent,
        stage_strips=_stopped_strips(take, events)
        if take.receipt is None
        else stage_pictures(take.receipt),
    )


def _error_name(event: EventRecord) -> str:
    named, _, _ = event.words.partition(":")
    return str(event.data.get("error") or (named if named.isidentifier() else event.kind))


def _attempt(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _best(
    takes: tuple[TakeLine, ...], delivery: DeliveryRecord | None, events: list[EventRecord]
) -> TakeLine | None:
    by_id = {line.record.take_id: line for line in takes}
    if delivery is not None:
        return by_id[delivery.take_id]
    for line in takes:
        if line.record.status is TakeStatus.APPROVED:
            return line
    for event in reversed(events):
        named = by_id.get(str(event.data.get("best_take")))
        if named is not None:
            return named
    judged = [
        (rank(take.scorecard, take.verdict), line)
        for line in takes
        if (take := line.record).scorecard is not None and take.verdict is not None
    ]
    if judged:
        return min(judged, key=lambda pair: pair[0])[1]
    return takes[-1] if takes else None


def _notes(
    shot: Shot,
    takes: tuple[TakeLine, ...],
    delivery: DeliveryRecord | None,
    events: list[EventRecord],
) -> tuple[str, ...]:
    notes = [shot.notes] if shot.notes else []
    if shot.source is not None:
        notes += [f"still: {note}" for note in shot.source.notes]
    notes += [*shot.snaps, *shot.warnings]
    for line in takes:
        if line.record.receipt is not None:
            notes += [f"take {line.record.number}: {note}" for note in line.record.receipt.notes]
    notes += [event.words for event in events if event.kind in _TOLD]
    if delivery is not None and not delivery.delivery.path.is_file():
        notes.append("the delivered file is no longer where it was put")
    return tuple(dict.fromkeys(notes))


__all__ = ["NightReport", "build_night_report"]
