"""Who serves a root: one process, known to every other command by a lock that it holds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from manifests.errors import RushesError
from manifests.secret import without_user
from manifests.shares import Mounts, mounted
from reports.lock import is_held, on_own_disk, try_hold

NAME = "serve.lock"


class AlreadyServed(RushesError):
    """Another `rushes serve` holds this root; the message names it."""


@dataclass(frozen=True, slots=True)
class Serving:
    """The process that serves a root now."""

    pid: int
    url: str
    """Of its Prefect server; empty until that answers."""


@contextmanager
def sole_server(state_dir: Path, *, mounts: Mounts = mounted) -> Iterator[Callable[[str], None]]:
    """Hold the root for the block; what it gives is told the server's address once it is known.

    The system frees the lock however the process ends. Raises AlreadyServed, LedgerOnShare.
    """
    on_own_disk(state_dir, mounts=mounts)
    state_dir.mkdir(parents=True, exist_ok=True)
    path = state_dir / NAME
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def tell(url: str) -> None:
        # Shorter than a block, so that a reader sees all of it or what was there before.
        text = f"{os.getpid()}\n{url}\n".encode()
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text, 0)

    try:
        if not try_hold(descriptor):
            holder = _read(path)
            at = f", {without_user(holder.url)}" if holder.url else ""
            raise AlreadyServed(
                f"{state_dir.parent} is served by process {holder.pid}{at}; "
                "stop that one first, or give another --root"
            )
        tell("")
        yield tell
    finally:
        os.close(descriptor)


def serving(state_dir: Path) -> Serving | None:
    """Who serves this root now; None where nobody does."""
    path = state_dir / NAME
    return _read(path) if is_held(path) else None


def _read(path: Path) -> Serving:
    pid, _, url = path.read_text(encoding="ascii", errors="replace").strip().partition("\n")
    return Serving(int(pid) if pid.isdigit() else 0, url.strip())
