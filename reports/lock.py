"""One orchestrator a ledger: a lock that the system frees when its holder dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from manifests.shares import Mounts, mounted, share_of
from reports.errors import LedgerBusy, LedgerOnShare, LedgerUnwritable

_TRIES = 5
"""Who asks whether a lock is held holds it for an instant: try again before it counts."""


@contextmanager
def sole_writer(ledger: Path, *, mounts: Mounts = mounted) -> Iterator[None]:
    """Hold `<ledger>.lock` for the block.

    Raises LedgerBusy, naming the holder's process id, and LedgerOnShare.

    It is freed by the system however the process ends, so a kill -9 leaves nothing to clean up.
    Child processes do not inherit it across exec.
    """
    on_own_disk(ledger, mounts=mounts)
    path = ledger.with_name(f"{ledger.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise LedgerUnwritable(f"{path}: {error}; make the folder writable") from error
    try:
        if not try_hold(descriptor):
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise LedgerBusy(
                f"{ledger}: another night runs on this ledger (process {holder}); "
                "wait for it, end it, or name another output folder"
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def on_own_disk(path: Path, *, mounts: Mounts = mounted) -> None:
    """Raise LedgerOnShare where `path` lies on another machine's disk.

    Also for reading: SQLite's readers write into memory that they share, through a file.
    """
    share = share_of(path, mounts)
    if share is not None:
        raise LedgerOnShare(
            f"{path} lies on a share ({share}), where the ledger's locks do not hold between "
            "machines: do this on the machine whose disk it is (others may `rushes join` its "
            "nights), or move the root to a disk of this one"
        )


def ledger_is_held(ledger: Path) -> bool:
    """Whether a night runs on the ledger now. It may have ended or begun when you read this."""
    return is_held(ledger.with_name(f"{ledger.name}.lock"))


def try_hold(descriptor: int) -> bool:
    """Take the lock of an open file; False where another process holds it."""
    for tries in range(_TRIES):
        if tries:
            time.sleep(0.05)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        return True
    return False


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock of that file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)
