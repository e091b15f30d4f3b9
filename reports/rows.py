"""Between the ledger's columns and the records: the only place that knows both."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from manifests.shot import Shot, Source
from manifests.stage import Recipe
from qc.scorecard import Scorecard, Verdict
from render.order import Delivery, Receipt
from reports.errors import LedgerDamaged
from reports.fingerprint import canonical_json, finish_from_dict, finish_to_dict
from reports.records import (
    DeliveryRecord,
    EventKind,
    EventRecord,
    NightRecord,
    RetakePair,
    ShotRecord,
    ShotStanding,
    TakeRecord,
    Transition,
)
from reports.take import TakeStatus, shot_status

Row = dict[str, Any]
Parsed = TypeVar("Parsed")


def moment_text(moment: datetime) -> str:
    """UTC, ISO 8601 with microseconds: sorts as text. Raises ValueError without a time zone."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone; give datetime.now(UTC)")
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def shot_columns(shot: Shot) -> Row:
    """The columns of `shot` that its fingerprint does not decide, and those that it does."""
    return {
        "row": shot.row,
        "priority": shot.priority,
        "gpus": shot.gpus,
        "deadline": None if shot.deadline is None else moment_text(shot.deadline),
        "after": json.dumps(shot.after),
        "start_from": shot.start_from,
        "recipe": canonical_json(shot.recipe.to_dict()),
        "finish": canonical_json(finish_to_dict(shot.finish)),
        "source": None if shot.source is None else _source_json(shot.source),
        "title": shot.title,
        "style": shot.style,
        "notes": shot.notes,
        "snaps": json.dumps(shot.snaps),
        "warnings": json.dumps(shot.warnings),
    }


def shot_record(row: Row) -> ShotRecord:
    """The shot of a row of `shots`."""
    with _readable("shots", row["id"]):
        shot = Shot(
            id=row["shot"],
            row=row["row"],
            recipe=Recipe.from_dict(json.loads(row["recipe"])),
            source=None if row["source"] is None else _source(json.loads(row["source"])),
            finish=finish_from_dict(json.loads(row["finish"])),
            priority=row["priority"],
            gpus=row["gpus"],
            deadline=None if row["deadline"] is None else datetime.fromisoformat(row["deadline"]),
            after=tuple(json.loads(row["after"] or "[]")),
            start_from=row["start_from"],
            title=row["title"] or "",
            style=row["style"],
            notes=row["notes"] or "",
            snaps=tuple(json.loads(row["snaps"] or "[]")),
            warnings=tuple(json.loads(row["warnings"] or "[]")),
        )
        return ShotRecord(
            id=row["id"], manifest=row["manifest"], fingerprint=row["fingerprint"], shot=shot
        )


def shot_standing(rows: Sequence[Row]) -> ShotStanding:
    """The standing of a shot from its rows, one for each take in order, or one without a status."""
    first = rows[0]
    with _readable("shots", first["id"]):
        takes = [TakeStatus(row["status"]) for row in rows if row["status"] is not None]
        return ShotStanding(
            id=first["id"],
            manifest=first["manifest"],
            shot=first["shot"],
            priority=first["priority"],
            status=shot_status(
                takes, delivered=bool(first["delivered"]), abandoned=bool(first["abandoned"])
            ),
            is_chosen=TakeStatus.APPROVED in takes,
        )


def night_record(row: Row) -> NightRecord:
    """The night of a row of `nights` joined with its end (`ended`, `words`)."""
    with _readable("nights", row["id"]):
        return NightRecord(
            id=row["id"],
            started=datetime.fromisoformat(row["started"]),
            arguments_key=row["arguments_key"],
            arguments=json.loads(row["arguments"]),
            flow_run_id=row["flow_run_id"],
            ended=None if row["ended"] is None else datetime.fromisoformat(row["ended"]),
            words=row["words"] or "",
        )


def take_record(row: Row, transitions: list[Row]) -> TakeRecord:
    """The take of a row of `takes` joined with its receipt, scorecard and verdict."""
    with _readable("takes", row["id"]):
        return TakeRecord(
            id=row["id"],
            shot_id=row["shot_id"],
            number=row["number"],
            take_id=row["take_id"],
            recipe=Recipe.from_dict(json.loads(row["recipe"])),
            recipe_fingerprint=row["recipe_fingerprint"],
            remedy_words=row["remedy_words"],
            remedy=None if row["remedy"] is None else json.loads(row["remedy"]),
            transitions=tuple(_transition(item) for item in transitions),
            receipt=_parsed(Receipt.from_dict, row["receipt"]),
            scorecard=_parsed(Scorecard.from_dict, row["scorecard"]),
            verdict=_parsed(Verdict.from_dict, row["verdict"]),
        )


def retake_pair(row: Row) -> RetakePair:
    """The pair of a row of takes joined with both verdicts and both scorecards."""
    with _readable("takes", row["id"]):
        return RetakePair(
            family=row["family"],
            preset=row["preset"],
            remedy=row["remedy"],
            before=Verdict.from_dict(json.loads(row["before"])),
            before_card=_parsed(Scorecard.from_dict, row["before_card"]),
            after=Verdict.from_dict(json.loads(row["after"])),
            after_card=_parsed(Scorecard.from_dict, row["after_card"]),
        )


def delivery_record(row: Row) -> DeliveryRecord:
    """The delivery of a row of `deliveries` joined with its `take_id`."""
    with _readable("deliveries", row["id"]):
        return DeliveryRecord(
            id=row["id"],
            shot_id=row["shot_id"],
            take_id=row["take_id"],
            version=row["version"],
            night=row["night"],
            at=datetime.fromisoformat(row["at"]),
            delivery=Delivery.from_dict(json.loads(row["json"])),
            sidecar=Path(row["sidecar"]),
        )


def event_record(row: Row) -> EventRecord:
    """The event of a row of `events` joined with its `take_id`."""
    with _readable("events", row["id"]):
        return EventRecord(
            id=row["id"],
            at=datetime.fromisoformat(row["at"]),
            night=row["night"],
            shot_id=row["shot_id"],
            take_id=row["take_id"],
            kind=EventKind(row["kind"]),
            words=row["words"],
            data=json.loads(row["data"]),
        )


def _transition(row: Row) -> Transition:
    return Transition(
        at=datetime.fromisoformat(row["at"]),
        before=None if row["before"] is None else TakeStatus(row["before"]),
        after=TakeStatus(row["after"]),
        night=row["night"],
        words=row["words"],
    )


def _parsed(parse: Callable[[dict[str, Any]], Parsed], text: str | None) -> Parsed | None:
    return None if text is None else parse(json.loads(text))


def _source_json(source: Source) -> str:
    return json.dumps({**asdict(source), "path": str(source.path)})


def _source(data: dict[str, Any]) -> Source:
    return Source(**{**data, "path": Path(data["path"]), "notes": tuple(data["notes"])})


@contextmanager
def _readable(table: str, key: object) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise LedgerDamaged(
            f"table {table}, id {key}: cannot be read ({type(error).__name__}: {error}); "
            "restore the ledger from a backup, or move it aside: delivered files stay"
        ) from error
