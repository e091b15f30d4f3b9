"""What a ledger and a driver say of such a night."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from reports.ledger_reads import LedgerReads
from reports.records import EventKind, TakeRecord


def news(root: Path) -> list[tuple[float, str]]:
    """What became of cards and hosts: (seconds since the epoch, words)."""
    with LedgerReads(root / "rushes.db", must_exist=True) as ledger:
        events = ledger.events_of(kind=EventKind.CARD)
    return [(event.at.timestamp(), event.words) for event in events]


def told(root: Path, words: str, *, after: float = 0.0) -> float | None:
    """When news with these words came, the first after a moment; None: not yet."""
    if not (root / "rushes.db").exists():
        return None
    moments = [at for at, said in news(root) if words in said and at > after]
    return min(moments, default=None)


def takes(root: Path) -> list[TakeRecord]:
    """Every take of every night of the root; none while there is no ledger."""
    if not (root / "rushes.db").exists():
        return []
    with LedgerReads(root / "rushes.db", must_exist=True) as ledger:
        shots = [shot.id for night in ledger.nights() for shot in ledger.shot_records(night.id)]
        return [take for shot in dict.fromkeys(shots) for take in ledger.takes_of(shot)]


def summary(root: Path) -> dict[str, Any]:
    """Shots by status, takes, failures by class, and files that were delivered."""
    with LedgerReads(root / "rushes.db", must_exist=True) as ledger:
        (night,) = ledger.nights()
        shots = ledger.shot_records(night.id)
        statuses = Counter(ledger.shot_status(shot.id).value for shot in shots)
        failures = Counter(
            str(event.data["error"]) for event in ledger.events_of(kind=EventKind.MACHINE_FAILURE)
        )
    made = takes(root)
    files = sorted(path.name for path in (root / "delivered").rglob("*.mp4"))
    return {
        "shots": dict(statuses),
        "takes": len(made),
        "receipts": sum(take.receipt is not None for take in made),
        "machine_failures": dict(failures),
        "delivered": len(files),
        "delivered_twice": len(files) - len({name.partition("_v")[0] for name in files}),
    }


def on_card(made: Iterable[TakeRecord], card: str, begun: float, ended: float) -> list[TakeRecord]:
    """Takes that worked on the card, by its UUID, at some moment between two."""
    return [
        take
        for take in made
        if take.receipt is not None
        and take.receipt.card == card
        and any(s.on_card and s.begun < ended and s.ended > begun for s in take.receipt.timeline)
    ]


def first_on_card(made: Iterable[TakeRecord], card: str, begun: float) -> float | None:
    """When a take first began to work on the card after a moment."""
    spans = (
        span.begun
        for take in made
        if take.receipt is not None and take.receipt.card == card
        for span in take.receipt.timeline
        if span.on_card and span.begun > begun
    )
    return min(spans, default=None)


class Driver:
    """Looks at the cards four times a second, beside the night and by itself, until it is ended."""

    def __init__(self, cards: Iterable[str], ours: Callable[[], Iterable[int]]) -> None:
        """`cards` by UUID; `ours` are the processes of the night at this moment."""
        self._cards, self._ours = tuple(cards), ours
        self.samples: list[tuple[float, str, frozenset[int], frozenset[int], int]] = []
        """(moment, card, processes of the night, other processes, bytes in use)."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join()

    def clear_of_us(self, card: str, after: float) -> float | None:
        """When no process of the night was on the card any more, after a moment at which one
        was."""
        seen = [(at, ours) for at, uuid, ours, _, _ in self.samples if uuid == card]
        if not any(ours for at, ours in seen if at <= after):
            return None
        return min((at for at, ours in seen if at > after and not ours), default=None)

    def in_use(self, card: str, moment: float) -> int | None:
        """Bytes in use at the first look after a moment."""
        return next((used for at, u, _, _, used in self.samples if u == card and at > moment), None)

    def _watch(self) -> None:
        import pynvml

        pynvml.nvmlInit()
        while not self._stop.wait(0.25):
            ours = frozenset(self._ours())
            for uuid in self._cards:
                with suppress(pynvml.NVMLError):
                    handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
                    running = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
                    pids = frozenset(int(process.pid) for process in running)
                    used = int(pynvml.nvmlDeviceGetMemoryInfo(handle).used)
                    self.samples.append((time.time(), uuid, pids & ours, pids - ours, used))
