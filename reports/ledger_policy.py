"""What the retake policy asks the ledger: outcomes of remedies, and how a night goes so far."""

from __future__ import annotations

from dataclasses import dataclass

from qc.scorecard import FailureClass
from reports.ledger_file import LedgerFile
from reports.records import RetakePair
from reports.rows import retake_pair
from reports.take import TakeStatus

_JUDGED = (TakeStatus.APPROVED.value, TakeStatus.REJECTED.value, TakeStatus.HELD.value)
_PAIRS = """
    SELECT takes.id AS id, takes.recipe ->> 'family' AS family, takes.recipe ->> 'preset' AS preset,
           takes.remedy ->> 'name' AS remedy,
           verdict0.json AS before,
           json_set(card0.json, '$.curves', json('null')) AS before_card,
           verdict1.json AS after,
           json_set(card1.json, '$.curves', json('null')) AS after_card
    FROM takes
    JOIN verdicts AS verdict1 ON verdict1.take = takes.id
    JOIN takes AS earlier ON earlier.id = (
        SELECT judged.id FROM takes AS judged JOIN verdicts ON verdicts.take = judged.id
        WHERE judged.shot_id = takes.shot_id AND judged.number < takes.number
        ORDER BY judged.number DESC LIMIT 1)
    JOIN verdicts AS verdict0 ON verdict0.take = earlier.id
    LEFT JOIN scorecards AS card0 ON card0.take = earlier.id
    LEFT JOIN scorecards AS card1 ON card1.take = takes.id
    WHERE takes.remedy ->> 'name' IS NOT NULL AND takes.remedy ->> 'preset' IS NULL
      AND verdict0.json ->> 'failure' IS NOT NULL
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """A retake of a night: made, or decided on and still to be made."""

    shot_id: int
    seconds: float | None
    """Wall time of its render, model load included; None: not rendered yet."""


class PolicyReads(LedgerFile):
    """Each one query; nothing here changes anything."""

    def retake_pairs(
        self,
        *,
        family: str | None = None,
        preset: str | None = None,
        failure: FailureClass | None = None,
        most: int | None = None,
    ) -> list[RetakePair]:
        """Failed takes with the judged ones that remedies made of them, the latest `most`, newest
        first; narrowed to what is given."""
        wanted = {
            "takes.recipe ->> 'family'": family,
            "takes.recipe ->> 'preset'": preset,
            "verdict0.json ->> 'failure'": failure,
        }
        given = {column: value for column, value in wanted.items() if value is not None}
        where = "".join(f" AND {column} = ?" for column in given)
        rows = self._rows(
            f"{_PAIRS}{where} ORDER BY takes.id DESC LIMIT ?",
            *given.values(),
            -1 if most is None else most,
        )
        return [retake_pair(row) for row in rows]

    def first_failures(self, *, night: str, preset: str) -> list[FailureClass | None]:
        """How the first judged take of each shot of this preset failed that was judged in this
        night; None: it was approved."""
        rows = self._rows(
            """
            SELECT verdicts.json ->> 'failure' AS failure
            FROM night_shots
            JOIN takes ON takes.id = (
                SELECT judged.id FROM takes AS judged JOIN verdicts ON verdicts.take = judged.id
                WHERE judged.shot_id = night_shots.shot_id ORDER BY judged.number LIMIT 1)
            JOIN verdicts ON verdicts.take = takes.id
            WHERE night_shots.night = ? AND takes.recipe ->> 'preset' = ?
              AND EXISTS (SELECT 1 FROM transitions WHERE transitions.take = takes.id
                          AND transitions.night = ? AND transitions.after IN (?, ?, ?))
            ORDER BY takes.id
            """,
            *(night, preset, night, *_JUDGED),
        )
        return [None if row["failure"] is None else FailureClass(row["failure"]) for row in rows]

    def spendings(self, night: str) -> list[Spending]:
        """The retakes that this night made or has still to make."""
        made = self._rows(
            """
            SELECT takes.shot_id AS shot_id,
                   receipts.json ->> 'seconds' + receipts.json ->> 'load_seconds' AS seconds
            FROM takes
            JOIN transitions ON transitions.take = takes.id AND transitions.before IS NULL
            LEFT JOIN receipts ON receipts.take = takes.id
            WHERE transitions.night = ? AND takes.remedy IS NOT NULL
              AND takes.remedy ->> 'preset' IS NULL
            ORDER BY takes.id
            """,
            night,
        )
        to_make = self._rows(
            """
            SELECT takes.shot_id AS shot_id, NULL AS seconds
            FROM transitions JOIN takes ON takes.id = transitions.take
            WHERE transitions.night = ? AND transitions.after = ?
              AND takes.number = (SELECT max(number) FROM takes AS every
                                  WHERE every.shot_id = takes.shot_id)
            ORDER BY takes.id
            """,
            *(night, TakeStatus.REJECTED.value),
        )
        return [
            Spending(shot_id=row["shot_id"], seconds=row["seconds"]) for row in (*made, *to_make)
        ]
