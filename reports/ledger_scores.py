"""The scores of judged takes, for calibration: one query over all nights that have ended."""

from __future__ import annotations

import json

from qc.cells import Cell, Clip, Measured
from reports.ledger_file import LedgerFile
from reports.records import EventKind
from reports.take import TakeStatus

JUDGED = (TakeStatus.APPROVED, TakeStatus.REJECTED, TakeStatus.HELD)
"""Where a take's scorecard says something about limits."""


class LedgerScores(LedgerFile):
    """What calibration learns from."""

    def judged_clips(self) -> list[Clip]:
        """Every take that was measured and judged in a night that has ended, oldest verdict first.

        A night that runs, or was cut short and can be taken up again, is left out: no clip helps
        to make the limits that its own night is judged by.
        """
        rows = self._rows(
            "SELECT takes.take_id AS take_id, takes.recipe ->> 'preset' AS preset, "
            "takes.recipe ->> 'width' AS width, takes.recipe ->> 'height' AS height, "
            "takes.recipe ->> 'fps' AS fps, last.after AS after, "
            "scorecards.json -> 'metrics' AS metrics, scorecards.json -> 'versions' AS versions, "
            "scorecards.json ->> 'backbone' AS backbone "
            "FROM takes JOIN scorecards ON scorecards.take = takes.id "
            "JOIN transitions AS last ON last.id = "
            "(SELECT max(id) FROM transitions WHERE take = takes.id) "
            "WHERE last.after IN (?, ?, ?) AND last.night IN "
            "(SELECT night FROM events WHERE kind = ?) ORDER BY last.id",
            *(status.value for status in JUDGED),
            EventKind.ENDED.value,
        )
        return [
            Clip(
                take_id=row["take_id"],
                cell=Cell(
                    preset=row["preset"],
                    width=int(row["width"]),
                    height=int(row["height"]),
                    fps=float(row["fps"]),
                ),
                approved=row["after"] == TakeStatus.APPROVED,
                metrics=json.loads(row["metrics"]),
                measured=Measured.of(json.loads(row["versions"]), row["backbone"]),
            )
            for row in rows
        ]
