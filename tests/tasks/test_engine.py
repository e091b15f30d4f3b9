"""The engine under the pool, without workers: when one that was killed counts as gone."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import in_time

from tasks.engine import Engine

NAME = "card-0"
SLOW = 0.4
"""Seconds that a killed process needs to be cleared away: a driver's, of a card."""


class Nanny:
    """Keeps one process, as distributed's does: it notices its end when the system tells."""

    def __init__(self) -> None:
        sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
        self.process = subprocess.Popen(sleeper)
        self.cleared = False

    @property
    def pid(self) -> int | None:
        """Of the process while it is there; None between two."""
        return None if self.cleared else self.process.pid

    async def notice(self) -> None:
        """Wait for the end, and for the card to be cleared."""
        while self.process.poll() is None:
            await asyncio.sleep(0.01)
        await asyncio.sleep(SLOW)
        self.cleared = True


class Scheduler:
    """Knows a worker by its connection, which ends with the kill."""

    workers: dict[str, object] = {}  # noqa: RUF012

    def __init__(self, nanny: Nanny) -> None:
        self._nanny = nanny

    @property
    def aliases(self) -> dict[str, str]:
        """Addresses by name."""
        return {NAME: "tcp://127.0.0.1:1"} if self._nanny.process.poll() is None else {}


class Cluster:
    """One worker and its scheduler."""

    def __init__(self) -> None:
        self.nanny = Nanny()
        self.workers = {NAME: self.nanny}
        self.scheduler = Scheduler(self.nanny)


@pytest.mark.slow
def test_a_killed_worker_is_gone_when_its_process_is(tmp_path: Path) -> None:
    """Its connection ends at once, its process when the card is cleared: only then is it restarted
    for who asked, or the process that comes after it would be taken for the one before."""

    async def killed() -> None:
        engine, cluster = Engine([], scratch=tmp_path, listener=lambda progress: None), Cluster()
        engine._cluster = cluster
        noticing = asyncio.create_task(cluster.nanny.notice())
        try:
            await engine.restart(NAME)
            assert engine.pids() == {}
        finally:
            cluster.nanny.process.kill()
            await noticing

    in_time(killed())
