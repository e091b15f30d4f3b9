"""Worker processes that grow: seen from outside, given a new process between two takes.

Long nights die of memory that a process never gives back. After each piece of work the resident
memory of its worker is looked at (the worker has trimmed its heap by then). One that outgrew its
bounds lets nobody in any more, finishes what is inside, and is then started anew: no take is lost,
the next one loads its model again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psutil

GIB = 2**30
SETTLED = 2
"""Pieces of like work after which a process has all it needs: models, kernels, caches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How far a process may grow over its settled level."""

    least: int = 2 * GIB
    """Growth up to this many bytes is never too much ..."""
    share: float = 0.25
    """... nor is growth up to this share of the settled level."""
    slight: int = GIB // 4
    """Growth from this on is too much where the host is nearly full."""
    host_share: float = 0.85
    """Of the host's memory: with more in one process it is nearly full."""


def outgrown(levels: Sequence[int], *, bounds: Bounds, host: int) -> bool:
    """Whether a process is to be started anew.

    `levels` are its resident bytes after each piece of like work, oldest first, `host` the bytes
    of the machine. What it holds once it has settled is its own; only growth over it counts.
    """
    if len(levels) <= SETTLED:
        return False
    settled, now = levels[SETTLED - 1], levels[-1]
    grown = now - settled
    if grown > max(bounds.least, bounds.share * settled):
        return True
    return now > bounds.host_share * host and grown > bounds.slight


@dataclass(slots=True, kw_only=True)
class Piece:
    """A piece of work in a worker."""

    kind: str
    """Names what works alike: levels of different kinds are not compared. May be said more
    closely until the work is done: how a take came by its memory is known at its end."""


@dataclass(slots=True, kw_only=True)
class Life:
    """One life of a worker: its process, and its levels by kind of work."""

    pid: int
    levels: dict[str, list[int]]


def resident_bytes(pid: int) -> int | None:
    """Resident bytes of a process; None when it is gone."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return None


class Watchdog:
    """Watches one worker, and keeps its door while it is to be started anew."""

    def __init__(
        self,
        name: str,
        *,
        pid: Callable[[], int | None],
        restart: Callable[[], Awaitable[None]],
        tell: Callable[[str], None],
        bounds: Bounds | None = None,
        resident: Callable[[int], int | None] | None = None,
        host: int | None = None,
    ) -> None:
        """`pid` names the process that is up now; `tell` is told in words what was done. For a
        worker of another host `resident` says how much its process holds, and `host` how much
        memory there is (bytes)."""
        self._name, self._pid, self._restart, self._tell = name, pid, restart, tell
        self._bounds = bounds or Bounds()
        self._resident = resident or (lambda pid: resident_bytes(pid))
        self._host = psutil.virtual_memory().total if host is None else host
        self._open = asyncio.Event()
        self._open.set()
        self._inside = 0
        self._life: Life | None = None
        self._outgrown: list[int] = []
        """The levels for which the door was closed, of whichever kind of work they are."""

    @asynccontextmanager
    async def guarding(self, kind: str) -> AsyncIterator[Piece]:
        """A piece of work in the worker; waits while it is started anew."""
        while not self._open.is_set():
            await self._open.wait()
        self._inside += 1
        piece = Piece(kind=kind)
        try:
            yield piece
        finally:
            self._inside -= 1
            if self._has_outgrown(piece.kind):
                self._open.clear()
            if not self._open.is_set() and not self._inside:
                await self._renew()

    def _has_outgrown(self, kind: str) -> bool:
        pid = self._pid()
        resident = None if pid is None else self._resident(pid)
        if pid is None or resident is None:
            return False  # it is being started: there is nothing to look at yet
        if self._life is None or self._life.pid != pid:
            self._life = Life(pid=pid, levels={})
        levels = self._life.levels.setdefault(kind, [])
        levels.append(resident)
        if not outgrown(levels, bounds=self._bounds, host=self._host):
            return False
        self._outgrown = levels
        return True

    async def _renew(self) -> None:
        levels = self._outgrown
        try:
            await self._restart()
        finally:
            self._life = None
            self._open.set()
        self._tell(
            f"worker {self._name} was started anew between two takes: its memory grew from "
            f"{levels[SETTLED - 1] / GIB:.2f} to {levels[-1] / GIB:.2f} GiB over {len(levels)} "
            "pieces of work"
        )
