"""What renders have taken: for estimates."""

from __future__ import annotations

import json
from dataclasses import dataclass

from manifests.stage import Recipe
from render.order import Receipt
from reports.ledger_file import LedgerFile


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
