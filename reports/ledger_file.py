"""The ledger's file: one guarded connection, transactions that survive kill -9, named errors."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlite_utils import Database

from manifests.shares import Mounts, mounted
from reports.errors import (
    LedgerBusy,
    LedgerConflict,
    LedgerDamaged,
    LedgerTooNew,
    LedgerUnwritable,
    NotInLedger,
)
from reports.lock import on_own_disk
from reports.migrations import APPLICATION_ID, MIGRATIONS

BUSY_SECONDS = 10.0
"""How long a write waits for another process's write before LedgerBusy."""


def utc_now() -> datetime:
    """The clock of the ledger unless a test gives another."""
    return datetime.now(UTC)


class LedgerFile:
    """An open ledger: WAL, `synchronous=FULL`, foreign keys on, migrated to this version.

    Safe to share between the threads of one process. Closing is optional: what a public write
    did is durable when it returns.
    """

    def __init__(
        self,
        path: Path,
        *,
        must_exist: bool = False,
        clock: Callable[[], datetime] = utc_now,
        busy_seconds: float = BUSY_SECONDS,
        mounts: Mounts = mounted,
    ) -> None:
        """Open `path`, making it when it is not there (unless `must_exist`).

        Raises:
            NotInLedger: `must_exist`, and there is no such file.
            LedgerTooNew: a later Rushes wrote it.
            LedgerDamaged: it is not a ledger, or damaged.
            LedgerUnwritable, LedgerBusy, LedgerOnShare: as named.
        """
        self.path = path
        self.clock = clock
        self._lock = threading.RLock()
        self._depth = 0
        if must_exist and not path.is_file():
            raise NotInLedger(f"{path}: there is no ledger here; run `rushes run` first")
        on_own_disk(path, mounts=mounts)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LedgerUnwritable(f"{path}: {error}; name a folder that can be made") from error
        with self._named():
            self._connection = sqlite3.connect(
                path, timeout=busy_seconds, isolation_level=None, check_same_thread=False
            )
        try:
            with self._named():
                self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Everything read in the block is of one moment, whatever other processes write."""
        with self._transaction("BEGIN"):
            yield

    @contextmanager
    def _write(self) -> Iterator[None]:
        # NOTE: IMMEDIATE takes the write lock before the first read; a deferred transaction that
        # reads first fails at once, without waiting, when another process wrote in between.
        with self._transaction("BEGIN IMMEDIATE"):
            yield

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        with self._lock, self._named():
            if self._depth:
                yield
                return
            self._connection.execute(begin)
            self._depth += 1
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            finally:
                self._depth -= 1

    def _rows(self, sql: str, *parameters: object) -> list[dict[str, Any]]:
        with self._lock, self._named():
            return list(self._db.query(sql, parameters))

    def _row(self, sql: str, *parameters: object) -> dict[str, Any] | None:
        rows = self._rows(sql, *parameters)
        return rows[0] if rows else None

    def _insert(self, table: str, row: dict[str, Any]) -> int:
        """Insert inside a `_write`; returns the new rowid."""
        rowid = self._db.table(table).insert(row).last_rowid
        assert rowid is not None
        return rowid

    def _prepare(self) -> None:
        application, version, tables = (
            self._connection.execute(sql).fetchone()[0]
            for sql in (
                "PRAGMA application_id",
                "PRAGMA user_version",
                "SELECT count(*) FROM sqlite_master",
            )
        )
        if tables and application != APPLICATION_ID:
            raise LedgerDamaged(
                f"{self.path}: this database is not a ledger of Rushes; name another file"
            )
        if version > len(MIGRATIONS):
            raise LedgerTooNew(
                f"{self.path}: written by a later Rushes (schema {version}, this one knows "
                f"{len(MIGRATIONS)}); update Rushes, or name another ledger"
            )
        damage = self._connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if damage != "ok":
            raise LedgerDamaged(_damaged(self.path, damage))
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute("PRAGMA foreign_keys=ON")
        self._db = Database(self._connection, execute_plugins=False)
        if version < len(MIGRATIONS):
            self._migrate()

    def _migrate(self) -> None:
        with self._write():
            # Read again: another process may have migrated while this one waited for the lock.
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            for migrate in MIGRATIONS[version:]:
                migrate(self._db)
            self._connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            self._connection.execute(f"PRAGMA user_version={len(MIGRATIONS)}")

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._name(error) from error

    def _name(self, error: sqlite3.Error) -> Exception:
        code = getattr(error, "sqlite_errorname", "")
        if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return LedgerBusy(
                f"{self.path}: another process has been writing for over the waiting time; "
                "end the other `rushes run`, or wait for it"
            )
        if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            return LedgerDamaged(_damaged(self.path, str(error)))
        if code.startswith(("SQLITE_FULL", "SQLITE_READONLY", "SQLITE_IOERR", "SQLITE_CANTOPEN")):
            return LedgerUnwritable(
                f"{self.path}: {error}; free space or make the folder writable, then run again"
            )
        if code.startswith("SQLITE_CONSTRAINT"):
            return LedgerConflict(f"{self.path}: {error}; nothing was written")
        return error


def _damaged(path: Path, what: str) -> str:
    return (
        f"{path}: the ledger is damaged ({what}); restore it from a backup, or move it and its "
        "-wal file aside and run again: delivered files stay, shots without a record render again"
    )
