"""The ledger in sums, over all nights: what a monitoring system asks every few seconds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from reports.ledger_file import LedgerFile
from reports.take import TakeStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Time spent on one kind of work, over all nights."""

    what: str
    """`take`, `load`, `encode`, `decode` or `stage 1`, `stage 2` ..."""
    model: str
    count: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class InHand:
    """A take that is being rendered."""

    take_id: str
    shot: str
    since: datetime
    """UTC."""


class LedgerCounts(LedgerFile):
    """Counts that only grow, as long as the ledger lives; each one query."""

    def takes_by_end(self) -> dict[tuple[str, TakeStatus], int]:
        """How often a take of a preset came to a status: (preset, status) -> number."""
        rows = self._rows(
            "SELECT takes.recipe ->> 'preset' AS preset, transitions.after AS after, "
            "count(*) AS number FROM transitions JOIN takes ON takes.id = transitions.take "
            "GROUP BY 1, 2"
        )
        return {(row["preset"], TakeStatus(row["after"])): row["number"] for row in rows}

    def verdicts(self) -> dict[tuple[str, str], int]:
        """(decision, failure class or the empty text) -> number."""
        rows = self._rows(
            "SELECT json ->> 'decision' AS decision, coalesce(json ->> 'failure', '') AS failure, "
            "count(*) AS number FROM verdicts GROUP BY 1, 2"
        )
        return {(row["decision"], row["failure"]): row["number"] for row in rows}

    def retakes(self) -> int:
        """Takes after the first of their shot."""
        row = self._row("SELECT count(*) AS number FROM takes WHERE number > 1")
        return 0 if row is None else int(row["number"])

    def events(self) -> dict[str, int]:
        """Kind of event -> number."""
        rows = self._rows("SELECT kind, count(*) AS number FROM events GROUP BY kind")
        return {row["kind"]: row["number"] for row in rows}

    def spent(self) -> list[Spent]:
        """Seconds of takes and of their parts, by model; what was resumed is left out."""
        parts = {"take": "seconds", "load": "load_seconds", "decode": "decode_seconds"}
        found = []
        for what, key in parts.items():
            rows = self._rows(
                "SELECT takes.recipe ->> 'model' AS model, count(*) AS number, "
                "total(receipts.json ->> ?) AS seconds "
                "FROM receipts JOIN takes ON takes.id = receipts.take GROUP BY 1",
                key,
            )
            found += [_spent(what, row) for row in rows]
        rows = self._rows(
            "SELECT 'stage ' || (stage.key + 1) AS what, takes.recipe ->> 'model' AS model, "
            "count(*) AS number, total(stage.value ->> 'seconds') AS seconds "
            "FROM receipts JOIN takes ON takes.id = receipts.take "
            "JOIN json_each(receipts.json, '$.stages') AS stage "
            "WHERE NOT (stage.value ->> 'resumed') GROUP BY 1, 2"
        )
        return found + [_spent(row["what"], row) for row in rows]

    def in_hand(self) -> list[InHand]:
        """Takes whose last transition was into rendering, oldest first."""
        rows = self._rows(
            "SELECT takes.take_id AS take_id, shots.shot AS shot, last.at AS since "
            "FROM takes JOIN shots ON shots.id = takes.shot_id "
            "JOIN transitions AS last ON last.id = "
            "(SELECT max(id) FROM transitions WHERE take = takes.id) "
            "WHERE last.after = ? ORDER BY last.id",
            TakeStatus.RENDERING.value,
        )
        return [
            InHand(
                take_id=row["take_id"],
                shot=row["shot"],
                since=datetime.fromisoformat(row["since"]),
            )
            for row in rows
        ]


def _spent(what: str, row: dict[str, object]) -> Spent:
    return Spent(
        what=what,
        model=str(row["model"]),
        count=int(str(row["number"])),
        seconds=float(str(row["seconds"])),
    )
