"""One orchestrator a ledger: a lock that the system frees when its holder dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reports.errors import LedgerBusy, LedgerUnwritable


@contextmanager
def sole_writer(ledger: Path) -> Iterator[None]:
    """Hold `<ledger>.lock` for the block. Raises LedgerBusy, naming the holder's process id.

    It is freed by the system however the process ends, so a kill -9 leaves nothing to clean up.
    Child processes do not inherit it across exec.
    """
    path = ledger.with_name(f"{ledger.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise LedgerUnwritable(f"{path}: {error}; make the folder writable") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise LedgerBusy(
                f"{ledger}: another night runs on this ledger (process {holder}); "
                "wait for it, end it, or name another output folder"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)
