"""Other people's work on our cards: artists go first.

Every few seconds the driver is asked which processes compute on each card. Somebody else's makes
us leave the card, and we come back once it has been quiet for a minute.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil

from tasks.nvml import driver


@dataclass(frozen=True, slots=True, kw_only=True)
class Courtesy:
    """How quickly we make room. Seconds."""

    every: float = 5.0
    """Between looks at the cards."""
    stays: float = 10.0
    """Who computes for so long makes us leave; shorter visits are not worth a take's last steps."""
    quiet: float = 60.0
    """We come back to a card that nobody else has used for so long."""


COURTESY = Courtesy()


class Manners:
    """When to leave one card and when to come back to it."""

    def __init__(
        self, courtesy: Courtesy = COURTESY, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock` gives seconds that never go back."""
        self._courtesy, self._clock = courtesy, clock
        self._first = True
        self._since: float | None = None
        """Since when what is seen differs from where we are."""
        self.away = False

    def look(self, *, others: bool) -> bool:
        """Whether we are to be away from the card, now that others are seen on it or not.

        At the first look nothing of ours is lost: it is left at once.
        """
        now, first, self._first = self._clock(), self._first, False
        if others == self.away:
            self._since = None
            return self.away
        if self._since is None:
            self._since = now
        wait = self._courtesy.quiet if self.away else 0.0 if first else self._courtesy.stays
        if now - self._since >= wait:
            self.away, self._since = others, None
        return self.away


SLIGHT = 2**30
"""Bytes of a card that others may hold without being counted: a desktop, a context."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What others do on one card."""

    others: frozenset[int]
    """Processes that compute on it."""
    room: int | None
    """Bytes that they leave of its memory; None: all of it, or nobody can tell."""


class Neighbours:
    """The processes that compute on the cards and are not ours. Asked from one thread at a time."""

    def __init__(
        self,
        library: Any = None,
        *,
        exists: Callable[[int], bool] = psutil.pid_exists,
        courtesy: Courtesy = COURTESY,
    ) -> None:
        """`library` speaks to the driver, `pynvml` unless another is given."""
        self.courtesy = courtesy
        self._library, self._exists = library, exists
        self._ours: set[int] = set()

    def look(self, uuids: Collection[str], ours: Collection[int]) -> Mapping[str, Use]:
        """What others do on each of these cards; a card that cannot be asked is left out.

        `ours` are our processes now: their children are ours too, and so is what was ours at an
        earlier look, since a process that was killed is on its card a moment longer. A process that
        this machine's process table does not show (we are in a container of our own, say) is not
        counted: it cannot be told from ours.
        """
        self._ours |= {*ours, *(child for pid in ours for child in _children(pid))}
        found: dict[str, Use] = {}
        with driver(self._library) as nvml:
            for uuid in () if nvml is None else uuids:
                with suppress(nvml.NVMLError):
                    found[uuid] = self._use(nvml, nvml.nvmlDeviceGetHandleByUUID(uuid))
        return found

    def _use(self, nvml: Any, handle: Any) -> Use:
        running = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
        pids = {int(process.pid) for process in running} - self._ours
        others = frozenset(pid for pid in pids if self._exists(pid))
        return Use(others=others, room=self._room(nvml, handle, running))

    def _room(self, nvml: Any, handle: Any, running: Sequence[Any]) -> int | None:
        """See `Use.room`. Who only draws (a desktop, a viewer) holds memory too and is no reason to
        leave the card, so what is in use and not ours is counted, whoever has it."""
        try:
            memory = nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2)
        except nvml.NVMLError:
            return None
        held = int(memory.used)
        for process in running:
            pid, bytes_used = int(process.pid), process.usedGpuMemory
            if pid not in self._ours and self._exists(pid):
                continue
            if bytes_used is None or pid not in self._ours:
                return None  # ours, or one that cannot be told from ours, and nobody says how much
            held -= int(bytes_used)
        return None if held < SLIGHT else int(memory.total) - held


def _children(pid: int) -> list[int]:
    with suppress(psutil.Error):
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    return []
