"""The ledger's schema as numbered steps: never edit one that was shipped, add the next.

`PRAGMA user_version` counts the steps that were taken, `application_id` says that the file is ours.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlite_utils import Database
from sqlite_utils.db import Table

APPLICATION_ID = 0x52555348
"""`RUSH` in ASCII, in the header of every ledger."""


def m001_initial(db: Database) -> None:
    """Nights, shots, takes and their append-only history."""
    _nights_and_shots(db)
    _takes(db)
    _history(db)
    for table in ("transitions", "receipts", "scorecards", "verdicts", "deliveries", "events"):
        _append_only(db, table)
    _chained(db)


def m002_gpus(db: Database) -> None:
    """How many cards a sheet asks for a shot."""
    _table(db, "shots").add_column("gpus", int, not_null_default=1)


def m003_order(db: Database) -> None:
    """When a shot is due, what it comes after, and from which shot's last frame it starts."""
    shots = _table(db, "shots")
    for column in ("deadline", "after", "start_from"):
        shots.add_column(column, str)


MIGRATIONS: list[Callable[[Database], None]] = [m001_initial, m002_gpus, m003_order]


def _nights_and_shots(db: Database) -> None:
    _table(db, "nights").create(
        {
            "id": str,
            "started": str,
            "arguments_key": str,
            "arguments": str,
            "flow_run_id": str,
        },
        pk="id",
        not_null={"started", "arguments_key", "arguments"},
        strict=True,
    )
    shots = _table(db, "shots")
    shots.create(
        {
            "id": int,
            "manifest": str,
            "shot": str,
            "fingerprint": str,
            "row": int,
            "priority": int,
            "recipe": str,
            "finish": str,
            "source": str,
            "title": str,
            "style": str,
            "notes": str,
            "snaps": str,
            "warnings": str,
        },
        pk="id",
        not_null={"manifest", "shot", "fingerprint", "row", "priority", "recipe", "finish"},
        strict=True,
    )
    shots.create_index(["manifest", "shot", "fingerprint"], unique=True)
    night_shots = _table(db, "night_shots")
    night_shots.create(
        {"night": str, "shot_id": int, "position": int},
        pk=("night", "shot_id"),
        not_null={"position"},
        foreign_keys=[("night", "nights", "id"), ("shot_id", "shots", "id")],
        strict=True,
    )
    night_shots.create_index(["shot_id"])


def _takes(db: Database) -> None:
    takes = _table(db, "takes")
    takes.create(
        {
            "id": int,
            "shot_id": int,
            "number": int,
            "take_id": str,
            "recipe": str,
            "recipe_fingerprint": str,
            "remedy_words": str,
            "remedy": str,
        },
        pk="id",
        not_null={"shot_id", "number", "take_id", "recipe", "recipe_fingerprint", "remedy_words"},
        foreign_keys=[("shot_id", "shots", "id")],
        strict=True,
    )
    takes.create_index(["take_id"], unique=True)
    takes.create_index(["shot_id", "number"], unique=True)
    transitions = _table(db, "transitions")
    transitions.create(
        {
            "id": int,
            "take": int,
            "at": str,
            "before": str,
            "after": str,
            "night": str,
            "words": str,
        },
        pk="id",
        not_null={"take", "at", "after", "night", "words"},
        foreign_keys=[("take", "takes", "id"), ("night", "nights", "id")],
        strict=True,
    )
    transitions.create_index(["take", "id"])
    transitions.create_index(["night"])


def _history(db: Database) -> None:
    for name in ("receipts", "scorecards", "verdicts"):
        _table(db, name).create(
            {"take": int, "json": str},
            pk="take",
            not_null={"json"},
            foreign_keys=[("take", "takes", "id")],
            strict=True,
        )
    deliveries = _table(db, "deliveries")
    deliveries.create(
        {
            "id": int,
            "shot_id": int,
            "take": int,
            "version": int,
            "path": str,
            "sha256": str,
            "sidecar": str,
            "json": str,
            "night": str,
            "at": str,
        },
        pk="id",
        not_null={"shot_id", "take", "version", "path", "sha256", "sidecar", "json", "night", "at"},
        foreign_keys=[
            ("shot_id", "shots", "id"),
            ("take", "takes", "id"),
            ("night", "nights", "id"),
        ],
        strict=True,
    )
    deliveries.create_index(["shot_id"])
    deliveries.create_index(["path"], unique=True)
    events = _table(db, "events")
    events.create(
        {
            "id": int,
            "at": str,
            "night": str,
            "shot_id": int,
            "take": int,
            "kind": str,
            "words": str,
            "data": str,
        },
        pk="id",
        not_null={"at", "night", "kind", "words", "data"},
        foreign_keys=[
            ("night", "nights", "id"),
            ("shot_id", "shots", "id"),
            ("take", "takes", "id"),
        ],
        strict=True,
    )
    events.create_index(["night", "kind"])
    events.create_index(["shot_id"])


def _append_only(db: Database, table: str) -> None:
    for verb in ("UPDATE", "DELETE"):
        db.execute(
            f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )


def _chained(db: Database) -> None:
    """A transition starts where the one before it ended, whoever writes it."""
    db.execute(
        "CREATE TRIGGER transitions_chained BEFORE INSERT ON transitions "
        "WHEN NEW.before IS NOT "
        "(SELECT after FROM transitions WHERE take = NEW.take ORDER BY id DESC LIMIT 1) "
        "BEGIN SELECT RAISE(ABORT, 'a transition starts where the one before it ended'); END"
    )


def _table(db: Database, name: str) -> Table:
    return db.table(name)
