"""The ledger: the truth about the work. Every public write is one transaction.

Only `tasks` writes; a report needs no more than `LedgerReads`. Hold `reports.lock.sole_writer`
while a night runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from manifests.shot import Shot
from manifests.stage import Recipe
from qc.scorecard import Scorecard, Verdict
from render.order import Delivery, Receipt
from reports.errors import IllegalTransition, LedgerConflict, NotInLedger
from reports.fingerprint import canonical_json, shot_fingerprint
from reports.ledger_reads import LedgerReads
from reports.records import DeliveryRecord, EventKind, NightRecord, ShotRecord, TakeRecord
from reports.rows import moment_text, shot_columns, shot_record
from reports.take import BY_HAND, ShotStatus, TakeStatus, check_transition


class Ledger(LedgerReads):
    """The writing half of the ledger: killed at any moment, a write is whole or not there."""

    def begin_night(
        self,
        *,
        night_id: str,
        arguments_key: str,
        arguments: Mapping[str, Any],
        at: datetime | None = None,
        flow_run_id: str | None = None,
    ) -> NightRecord:
        """Record a new night. Raises LedgerConflict when the id is taken."""
        with self._write():
            self._insert(
                "nights",
                {
                    "id": night_id,
                    "started": moment_text(at or self.clock()),
                    "arguments_key": arguments_key,
                    "arguments": canonical_json(dict(arguments)),
                    "flow_run_id": flow_run_id,
                },
            )
            return self.night(night_id)

    def resume_night(self, night_id: str, *, flow_run_id: str | None = None) -> NightRecord:
        """Record that an open night goes on. Raises LedgerConflict when it has ended."""
        with self._write():
            night = self._open(night_id)
            words = "taken up again after it had stopped without an end"
            data = {"flow_run_id": flow_run_id}
            self.event(kind=EventKind.RESUMED, words=words, night=night_id, data=data)
            return night

    def end_night(self, night_id: str, words: str) -> None:
        """Record how the night ended. Raises LedgerConflict when it has ended already."""
        with self._write():
            self._open(night_id)
            self.event(kind=EventKind.ENDED, words=words, night=night_id)

    def record_shot(self, night: str, manifest_name: str, shot: Shot, position: int) -> ShotRecord:
        """The shot's record, made if its fingerprint is new; and its place in the night.

        Idempotent. The words of a known shot (title, notes, row ...) become those of now. A shot
        of which it is now known what it starts from takes the place in the night that it had as
        one that waits.
        """
        key = (manifest_name, shot.id, shot_fingerprint(shot))
        columns = shot_columns(shot)
        with self._write():
            if shot.start_from is not None and shot.is_bound:
                self._leave_night(night, manifest_name, shot.unbound())
            known = self.find_shot(*key)
            if known is None:
                names = dict(zip(("manifest", "shot", "fingerprint"), key, strict=True))
                shot_id = self._insert("shots", {**names, **columns})
            else:
                shot_id = known.id
                self._db.table("shots").update(shot_id, columns)
            self._rows(
                "INSERT INTO night_shots (night, shot_id, position) VALUES (?, ?, ?) "
                "ON CONFLICT (night, shot_id) DO UPDATE SET position = excluded.position "
                "RETURNING position",
                *(night, shot_id, position),
            )
            row = self._row("SELECT * FROM shots WHERE id = ?", shot_id)
            assert row is not None
            return shot_record(row)

    def add_take(
        self,
        shot_id: int,
        *,
        take_id: str,
        number: int,
        recipe: Recipe,
        remedy_words: str,
        remedy: Mapping[str, Any] | None,
        night: str,
    ) -> TakeRecord:
        """Record a new take, queued.

        Raises LedgerConflict when the id is taken or the number does not follow the last one.
        """
        with self._write():
            row = self._row("SELECT count(*) AS n FROM takes WHERE shot_id = ?", shot_id)
            expected = (row["n"] if row else 0) + 1
            if number != expected:
                raise LedgerConflict(f"take {take_id}: number {number}, but {expected} is next")
            take = self._insert(
                "takes",
                {
                    "shot_id": shot_id,
                    "number": number,
                    "take_id": take_id,
                    "recipe": canonical_json(recipe.to_dict()),
                    "recipe_fingerprint": recipe.fingerprint,
                    "remedy_words": remedy_words,
                    "remedy": None if remedy is None else canonical_json(dict(remedy)),
                },
            )
            check_transition(None, TakeStatus.QUEUED)
            words = f"asked for: {remedy_words}" if remedy_words else "asked for by the sheet"
            self._append(take, None, TakeStatus.QUEUED, night, words)
            return self.take(take_id)

    def move(self, take_id: str, after: TakeStatus, *, night: str, words: str) -> None:
        """Move a take on where no data comes with it: queued, rendering, failed.

        Raises IllegalTransition, also for the statuses that come with data (`rendered`, `judged`).
        """
        if after not in (TakeStatus.QUEUED, TakeStatus.RENDERING, TakeStatus.FAILED):
            raise IllegalTransition(
                f"take {take_id}: {after} comes with data; call rendered() or judged()"
            )
        with self._write():
            self._step(take_id, after, night, words)

    def rendered(self, take_id: str, receipt: Receipt, night: str) -> None:
        """A take's clip is whole on disk: its receipt, and the step to rendered."""
        words = f"rendered in {receipt.seconds:.1f} s on {receipt.device}"
        if receipt.reused:
            words += f", with {', '.join(receipt.reused)} from the store"
        with self._write():
            take = self._step(take_id, TakeStatus.RENDERED, night, words)
            self._insert("receipts", {"take": take, "json": canonical_json(receipt.to_dict())})

    def judged(
        self,
        take_id: str,
        scorecard: Scorecard | None,
        verdict: Verdict,
        after: TakeStatus,
        night: str,
        words: str,
        events: Sequence[tuple[EventKind, str, Mapping[str, Any]]] = (),
    ) -> None:
        """A take's scores and verdict, and the step to approved, rejected or held.

        `scorecard` is None for a take that turned to NaN: there is no clip to measure. `events`
        (kind, words, data) belong to the verdict: they are recorded with it or not at all.
        """
        if after not in (TakeStatus.APPROVED, TakeStatus.REJECTED, TakeStatus.HELD):
            raise IllegalTransition(f"take {take_id}: a verdict does not make a take {after}")
        with self._write():
            take = self._step(take_id, after, night, words)
            if scorecard is not None:
                self._insert("scorecards", {"take": take, "json": json.dumps(scorecard.to_dict())})
            self._insert("verdicts", {"take": take, "json": json.dumps(verdict.to_dict())})
            for kind, said, data in events:
                self.event(kind=kind, words=said, night=night, take_id=take_id, data=data)

    def approved_by_hand(self, take_id: str, *, night: str, words: str) -> None:
        """A person approves a take that its verdict did not. The verdict stays as it was.

        Raises IllegalTransition where the shot is not held, another take of it is approved (and
        its finish failed), or the take has no clip.
        """
        with self._write():
            take = self.take(take_id)
            status, all_takes = self.shot_status(take.shot_id), self.takes_of(take.shot_id)
            chosen = any(each.status is TakeStatus.APPROVED for each in all_takes)
            waits = status is ShotStatus.HELD and not chosen
            if not waits or take.status not in BY_HAND or not take.receipt:
                also = ", with an approved take" if chosen else ""
                raise IllegalTransition(
                    f"take {take_id} is {take.status} and its shot {status}{also}: a person "
                    "approves a take with a clip of a shot that is held without one"
                )
            self._append(take.id, take.status, TakeStatus.APPROVED, night, words)

    def taken_back(self, take_id: str, *, night: str, words: str) -> None:
        """A person takes back what was `approved_by_hand`: the take is what it was before.

        Raises IllegalTransition where no person approved it, or it was delivered.
        """
        with self._write():
            take = self.take(take_id)
            before = take.transitions[-1].before
            if take.by_hand is None or before is None:
                raise IllegalTransition(f"take {take_id} was not approved by a person")
            delivery = self.delivery_of(take.shot_id)
            if delivery is not None and delivery.take_id == take_id:
                raise IllegalTransition(
                    f"take {take_id} is delivered, and nothing delivered is taken back"
                )
            self._append(take.id, TakeStatus.APPROVED, before, night, words)

    def delivered(
        self,
        shot_id: int,
        take_id: str,
        delivery: Delivery,
        version: int,
        sidecar: Path,
        *,
        night: str,
    ) -> DeliveryRecord:
        """Record a delivered version of an approved take.

        Raises IllegalTransition when the take is not approved, LedgerConflict when it is another
        shot's or the version or path is taken: nothing published is overwritten.
        """
        with self._write():
            take = self.take(take_id)
            if take.shot_id != shot_id:
                raise LedgerConflict(f"take {take_id} is not a take of shot {shot_id}")
            if take.status is not TakeStatus.APPROVED:
                raise IllegalTransition(
                    f"take {take_id} is {take.status}: only an approved take is delivered"
                )
            self._check_version(shot_id, version)
            self._insert(
                "deliveries",
                {
                    "shot_id": shot_id,
                    "take": take.id,
                    "version": version,
                    "path": str(delivery.path),
                    "sha256": delivery.sha256,
                    "sidecar": str(sidecar),
                    "json": canonical_json(delivery.to_dict()),
                    "night": night,
                    "at": moment_text(self.clock()),
                },
            )
            record = self.delivery_of(shot_id)
            assert record is not None
            return record

    def event(
        self,
        *,
        kind: EventKind,
        words: str,
        night: str,
        shot_id: int | None = None,
        take_id: str | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        """Record what happened beside the takes' status. A take's event is its shot's too."""
        with self._write():
            take = None if take_id is None else self.take(take_id)
            self._insert(
                "events",
                {
                    "at": moment_text(self.clock()),
                    "night": night,
                    "shot_id": shot_id if take is None else take.shot_id,
                    "take": None if take is None else take.id,
                    "kind": str(EventKind(kind)),
                    "words": words,
                    "data": canonical_json(dict(data or {})),
                },
            )

    def recover(self, night: str) -> list[str]:
        """Put takes that a dead process left rendering back into the queue; returns their ids.

        Call it only while holding `sole_writer`: a living process's takes look the same.
        """
        with self._write():
            rows = self._rows(
                "SELECT take_id FROM takes WHERE (SELECT after FROM transitions "
                "WHERE take = takes.id ORDER BY id DESC LIMIT 1) = ? ORDER BY id",
                TakeStatus.RENDERING,
            )
            found = [str(row["take_id"]) for row in rows]
            for take_id in found:
                words = "recovered: the process that rendered it had ended"
                self._step(take_id, TakeStatus.QUEUED, night, words)
            return found

    def _leave_night(self, night: str, manifest_name: str, shot: Shot) -> None:
        known = self.find_shot(manifest_name, shot.id, shot_fingerprint(shot))
        if known is not None:
            self._rows(
                "DELETE FROM night_shots WHERE night = ? AND shot_id = ? RETURNING shot_id",
                *(night, known.id),
            )

    def _step(self, take_id: str, after: TakeStatus, night: str, words: str) -> int:
        row = self._row(
            "SELECT takes.id, transitions.after FROM takes "
            "JOIN transitions ON transitions.take = takes.id "
            "WHERE takes.take_id = ? ORDER BY transitions.id DESC LIMIT 1",
            take_id,
        )
        if row is None:
            raise NotInLedger(f"{self.path}: no take {take_id!r}; add_take records it first")
        before = TakeStatus(row["after"])
        try:
            check_transition(before, after)
        except IllegalTransition as error:
            raise IllegalTransition(f"take {take_id}: {error}") from None
        self._append(row["id"], before, after, night, words)
        return int(row["id"])

    def _append(
        self, take: int, before: TakeStatus | None, after: TakeStatus, night: str, words: str
    ) -> None:
        self._insert(
            "transitions",
            {
                "take": take,
                "at": moment_text(self.clock()),
                "before": None if before is None else str(before),
                "after": str(after),
                "night": night,
                "words": words,
            },
        )

    def _open(self, night_id: str) -> NightRecord:
        night = self.night(night_id)
        if night.ended is not None:
            raise LedgerConflict(f"night {night_id} ended at {night.ended:%Y-%m-%d %H:%M} UTC")
        return night

    def _check_version(self, shot_id: int, version: int) -> None:
        row = self._row("SELECT manifest, shot FROM shots WHERE id = ?", shot_id)
        if row is None:
            raise NotInLedger(f"{self.path}: no shot with id {shot_id}; record_shot makes it")
        expected = self.next_version(row["manifest"], row["shot"])
        # NOTE: it may be later than the next one: files of a lost ledger keep their numbers.
        if version < expected:
            raise LedgerConflict(
                f"shot {row['shot']}: version {version} cannot be written, {expected} is next"
            )
