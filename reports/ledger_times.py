"""What renders have taken: for estimates."""

from __future__ import annotations

import json
from dataclasses import dataclass

from manifests.stage import Recipe
from render.order import Receipt
from reports.ledger_file import LedgerFile

REMEMBERED_NIGHTS = 7
"""With takes of a kind on a card, after which a rung of memory that one was forced to is forgotten:
to meet it again costs one take some seconds, to keep it costs every take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A take that was rendered: what was asked, and what it took."""

    recipe: Recipe
    receipt: Receipt


class TimeReads(LedgerFile):
    """Each one query; nothing here changes anything."""

    def latest_rendered(self, most: int) -> list[Rendered]:
        """The takes that were rendered last, newest first."""
        rows = self._rows(
            "SELECT takes.recipe AS recipe, receipts.json AS receipt FROM takes "
            "JOIN receipts ON receipts.take = takes.id ORDER BY takes.id DESC LIMIT ?",
            most,
        )
        return [
            Rendered(
                recipe=Recipe.from_dict(json.loads(row["recipe"])),
                receipt=Receipt.from_dict(json.loads(row["receipt"])),
            )
            for row in rows
        ]

    def rungs(
        self, *, model_id: str, width: int, height: int, frames: int
    ) -> dict[str, tuple[str, ...]]:
        """Rungs of the memory ladder that such takes were forced to, by device in words.

        Of each device, what the last `REMEMBERED_NIGHTS` nights with such takes there were forced
        to: then it is forgotten, and the next take shows whether it is still needed.
        """
        rows = self._rows(
            """
            SELECT receipts.json ->> 'device' AS device, transitions.night AS night,
                   COALESCE(receipts.json ->> 'forced', receipts.json ->> 'rungs', '[]') AS forced
            FROM takes
            JOIN receipts ON receipts.take = takes.id
            JOIN transitions ON transitions.take = takes.id AND transitions.after = 'rendered'
            WHERE takes.recipe ->> 'model_id' = ? AND takes.recipe ->> 'width' = ?
              AND takes.recipe ->> 'height' = ? AND takes.recipe ->> 'frames' = ?
            ORDER BY transitions.id DESC
            """,
            *(model_id, width, height, frames),
        )
        nights: dict[str, set[str]] = {}
        found: dict[str, set[str]] = {}
        for row in rows:
            seen = nights.setdefault(row["device"], set())
            if row["night"] in seen or len(seen) < REMEMBERED_NIGHTS:
                seen.add(row["night"])
                found.setdefault(row["device"], set()).update(json.loads(row["forced"]))
        return {device: tuple(sorted(rungs)) for device, rungs in found.items() if rungs}
