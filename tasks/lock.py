"""One orchestrator on one root at a time, held by the kernel: a dead one lets go by itself."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reports.errors import LedgerBusy


@contextmanager
def night_lock(state_dir: Path) -> Iterator[None]:
    """Hold the root for this process. Raises LedgerBusy, with the holder's pid, when it is held.

    NOTE: an flock belongs to the open file, so that kill -9 releases it; a pid file would not.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    path = state_dir / "night.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            raise LedgerBusy(
                f"{state_dir.parent}: another night is running here (process {holder}); "
                "wait for it, or stop it, and start again"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)
