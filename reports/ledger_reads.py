"""What the ledger can be asked. Statuses are derived while reading, never stored."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from itertools import groupby
from operator import itemgetter
from typing import Any

from reports.errors import NotInLedger
from reports.ledger_policy import PolicyReads
from reports.ledger_times import TimeReads
from reports.records import (
    DeliveryRecord,
    EventKind,
    EventRecord,
    NightRecord,
    ShotRecord,
    ShotStanding,
    TakeRecord,
)
from reports.rows import (
    delivery_record,
    event_record,
    night_record,
    shot_record,
    shot_standing,
    take_record,
)
from reports.take import ShotStatus, TakeStatus
from reports.take import shot_status as derive_status

_NIGHTS = """
    SELECT nights.*, ending.at AS ended, ending.words AS words
    FROM nights LEFT JOIN events AS ending
      ON ending.night = nights.id AND ending.kind = 'ended'
"""
_TAKES = """
    SELECT takes.*, receipts.json AS receipt, scorecards.json AS scorecard, verdicts.json AS verdict
    FROM takes
    LEFT JOIN receipts ON receipts.take = takes.id
    LEFT JOIN scorecards ON scorecards.take = takes.id
    LEFT JOIN verdicts ON verdicts.take = takes.id
"""
_DELIVERIES = """
    SELECT deliveries.*, takes.take_id FROM deliveries JOIN takes ON takes.id = deliveries.take
"""
_EVENTS = "SELECT events.*, takes.take_id FROM events LEFT JOIN takes ON takes.id = events.take"

_STANDINGS = """
    SELECT shots.id, shots.manifest, shots.shot, shots.priority,
      (SELECT after FROM transitions WHERE take = takes.id ORDER BY id DESC LIMIT 1) AS status,
      EXISTS (SELECT 1 FROM deliveries WHERE shot_id = shots.id) AS delivered,
      EXISTS (SELECT 1 FROM events WHERE shot_id = shots.id AND kind = ?) AS abandoned
    FROM night_shots JOIN shots ON shots.id = night_shots.shot_id
    LEFT JOIN takes ON takes.shot_id = shots.id
    WHERE night_shots.night = ?
    ORDER BY night_shots.position, shots.id, takes.number
"""


class LedgerReads(PolicyReads, TimeReads):
    """The reading half of the ledger: all that a report needs."""

    def nights(self) -> list[NightRecord]:
        """Every night in the order in which they were begun, whatever a clock that jumps says."""
        rows = self._rows(f"{_NIGHTS} ORDER BY nights.rowid")
        return [night_record(row) for row in rows]

    def night(self, night_id: str) -> NightRecord:
        """One night. Raises NotInLedger."""
        row = self._row(f"{_NIGHTS} WHERE nights.id = ?", night_id)
        if row is None:
            known = ", ".join(night.id for night in self.nights()[-5:]) or "none yet"
            raise NotInLedger(f"{self.path}: no night {night_id!r}; the latest are: {known}")
        return night_record(row)

    def open_night(self, arguments_key: str) -> NightRecord | None:
        """The latest night that was begun with these arguments and has not ended: resume it."""
        row = self._row(
            f"{_NIGHTS} WHERE arguments_key = ? AND ending.id IS NULL "
            "ORDER BY nights.rowid DESC LIMIT 1",
            arguments_key,
        )
        return None if row is None else night_record(row)

    def next_night_id(self, day: date) -> str:
        """`2026-11-21`, or `2026-11-21-2` ... when that date has nights already."""
        taken = {row["id"] for row in self._rows("SELECT id FROM nights")}
        name, count = day.isoformat(), 1
        while name in taken:
            count += 1
            name = f"{day.isoformat()}-{count}"
        return name

    def shot_records(self, night: str) -> list[ShotRecord]:
        """The shots of a night, in the night's order."""
        rows = self._rows(
            "SELECT shots.* FROM shots JOIN night_shots ON night_shots.shot_id = shots.id "
            "WHERE night_shots.night = ? ORDER BY night_shots.position, shots.id",
            night,
        )
        return [shot_record(row) for row in rows]

    def find_shot(self, manifest: str, shot: str, fingerprint: str) -> ShotRecord | None:
        """The shot recorded by any night under this name with this fingerprint."""
        row = self._row(
            "SELECT * FROM shots WHERE manifest = ? AND shot = ? AND fingerprint = ?",
            manifest,
            shot,
            fingerprint,
        )
        return None if row is None else shot_record(row)

    def latest_shot(self, manifest: str, shot: str) -> ShotRecord | None:
        """The shot of this name as the latest night that had one recorded it."""
        row = self._row(
            "SELECT shots.* FROM shots JOIN night_shots ON night_shots.shot_id = shots.id "
            "JOIN nights ON nights.id = night_shots.night WHERE manifest = ? AND shot = ? "
            "ORDER BY nights.rowid DESC, shots.id DESC LIMIT 1",
            manifest,
            shot,
        )
        return None if row is None else shot_record(row)

    def takes_of(self, shot_id: int) -> list[TakeRecord]:
        """The takes of a shot in order, each with its history."""
        with self.snapshot():
            takes = self._rows(f"{_TAKES} WHERE takes.shot_id = ? ORDER BY takes.number", shot_id)
            return self._with_transitions(takes)

    def take(self, take_id: str) -> TakeRecord:
        """One take. Raises NotInLedger."""
        with self.snapshot():
            takes = self._rows(f"{_TAKES} WHERE takes.take_id = ?", take_id)
            if not takes:
                raise NotInLedger(f"{self.path}: no take {take_id!r}; add_take records it first")
            return self._with_transitions(takes)[0]

    def shot_status(self, shot_id: int) -> ShotStatus:
        """Where the shot is, derived from its takes, events and deliveries."""
        rows = self._rows(
            "SELECT (SELECT after FROM transitions WHERE take = takes.id ORDER BY id DESC LIMIT 1) "
            "AS status FROM takes WHERE shot_id = ? ORDER BY number",
            shot_id,
        )
        return derive_status(
            [TakeStatus(row["status"]) for row in rows],
            delivered=self._any("SELECT 1 FROM deliveries WHERE shot_id = ?", shot_id),
            abandoned=self._any(
                "SELECT 1 FROM events WHERE shot_id = ? AND kind = ?", shot_id, EventKind.ABANDONED
            ),
        )

    def standings(self, night: str) -> list[ShotStanding]:
        """Where every shot of a night is, in the night's order; one query, however many."""
        rows = self._rows(_STANDINGS, EventKind.ABANDONED, night)
        grouped = groupby(rows, key=itemgetter("id"))
        return [shot_standing(list(takes)) for _, takes in grouped]

    def delivery_of(self, shot_id: int) -> DeliveryRecord | None:
        """The latest delivery of a shot."""
        row = self._row(
            f"{_DELIVERIES} WHERE deliveries.shot_id = ? ORDER BY deliveries.id DESC LIMIT 1",
            shot_id,
        )
        return None if row is None else delivery_record(row)

    def next_version(self, manifest: str, shot: str) -> int:
        """The version that the next delivery under this name gets: 1, 2, 3 ..."""
        row = self._row(
            "SELECT max(deliveries.version) AS latest FROM deliveries "
            "JOIN shots ON shots.id = deliveries.shot_id "
            "WHERE shots.manifest = ? AND shots.shot = ?",
            manifest,
            shot,
        )
        return 1 if row is None or row["latest"] is None else int(row["latest"]) + 1

    def events_of(
        self,
        *,
        night: str | None = None,
        shot_id: int | None = None,
        take_id: str | None = None,
        kind: EventKind | None = None,
    ) -> list[EventRecord]:
        """Events in the order in which they happened, narrowed by what is given."""
        wanted = {
            "events.night": night,
            "events.shot_id": shot_id,
            "takes.take_id": take_id,
            "events.kind": kind,
        }
        given = {column: value for column, value in wanted.items() if value is not None}
        where = " AND ".join(f"{column} = ?" for column in given) or "1"
        rows = self._rows(f"{_EVENTS} WHERE {where} ORDER BY events.id", *given.values())
        return [event_record(row) for row in rows]

    def _any(self, sql: str, *parameters: object) -> bool:
        return self._row(f"{sql} LIMIT 1", *parameters) is not None

    def _with_transitions(self, takes: Iterable[dict[str, Any]]) -> list[TakeRecord]:
        sql = "SELECT * FROM transitions WHERE take = ? ORDER BY id"
        return [take_record(row, self._rows(sql, row["id"])) for row in takes]
