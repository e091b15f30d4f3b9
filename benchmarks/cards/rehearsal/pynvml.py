"""A driver for rehearsals: two cards, whose foreign processes are files in a folder.

It stands before the real library on the path of every process of a rehearsal. A process that has
ended is on no card any more.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
from fake_driver import FakeDriver

UUIDS = ("GPU-rehearsed-0", "GPU-rehearsed-1")
TOTAL = 140 * 2**30
"""Bytes of each card."""


class FilesDriver(FakeDriver):
    """Others are files named by their process, which hold how many bytes they have."""

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[SimpleNamespace]:  # noqa: N802
        """Those that live."""
        files = Path(os.environ["CARDS_REHEARSAL"], handle).glob("[0-9]*")
        return [
            SimpleNamespace(pid=int(file.name), usedGpuMemory=int(file.read_text() or 0))
            for file in files
            if psutil.pid_exists(int(file.name))
        ]

    def nvmlDeviceGetMemoryInfo(self, handle: str, version: int = 1) -> SimpleNamespace:  # noqa: N802
        """What they hold is in use."""
        running = self.nvmlDeviceGetComputeRunningProcesses(handle)
        used = sum(process.usedGpuMemory for process in running)
        return SimpleNamespace(total=TOTAL, used=used)


_driver = FilesDriver(dict.fromkeys(UUIDS, ()), total=TOTAL)


def __getattr__(name: str) -> Any:
    return getattr(_driver, name)
