"""The lines of a night report: plain values, no layout."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from manifests.shot import Shot
from qc.scorecard import FailureClass, Finding
from render.order import Spent
from reports.records import DeliveryRecord, NightRecord, ShotRecord, TakeRecord
from reports.take import ShotStatus
from reports.timing import Headline, PhaseSeconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A try that the machine failed."""

    error: str
    """Class of the error: `OutOfMemory`."""
    attempt: int | None
    """1-based; None where it was not told."""
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeLine:
    """One take as it is told."""

    record: TakeRecord
    failures: tuple[Failure, ...]
    """In order; machine failures of this take and of its finish."""
    strip: Path | None
    """Contact strip; None when it is not on disk."""
    preview: Path | None
    """Small H.264 preview; None when it is not on disk."""
    phases: tuple[PhaseSeconds, ...]
    """Where the time went; empty without a receipt."""
    stage_strips: tuple[Path | None, ...] = ()
    """One for each stage of the receipt: a rough picture of what it left; None when not on disk."""
    spent: Spent | None = None
    """What it had used when it was stopped after an early stage; None for any other take."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Worst first; empty until it is judged."""
        return () if self.record.verdict is None else self.record.verdict.findings

    @property
    def reasons(self) -> tuple[str, ...]:
        """Every failure and warning in words, worst first."""
        return () if self.record.verdict is None else self.record.verdict.reasons

    @property
    def failure(self) -> FailureClass | None:
        """Class of the worst failure."""
        return None if self.record.verdict is None else self.record.verdict.failure


@dataclass(frozen=True, slots=True, kw_only=True)
class ShotLine:
    """One shot as it is told."""

    record: ShotRecord
    status: ShotStatus
    takes: tuple[TakeLine, ...]
    delivery: DeliveryRecord | None
    best: TakeLine | None
    """The delivered take, else the approved one, else the best of those judged."""
    carried: bool
    """It was approved and delivered in an earlier night; this one had nothing to do."""
    strip: Path | None
    """Contact strip to show: of the delivered file, else of `best`; None when not on disk."""
    film: Path | None
    """The delivered file; None when there is none on disk."""
    notes: tuple[str, ...]
    """What a person should know, from the sheet, the plan, the worker and the night."""
    waits: str = ""
    """Why nothing was done on it: `waits for sh0020, which is held`; empty where it had a turn."""

    @property
    def shot(self) -> Shot:
        """The shot as the sheet asked for it."""
        return self.record.shot

    @property
    def finish(self) -> tuple[PhaseSeconds, ...]:
        """The time of the delivered file's finish; empty without one."""
        if self.delivery is None:
            return ()
        return (PhaseSeconds(phase="finish", seconds=self.delivery.delivery.seconds),)

    @property
    def seconds(self) -> float:
        """Machine seconds of all its takes, by their phases, and of its finish."""
        phases = [phase for take in self.takes for phase in take.phases]
        return sum(phase.seconds for phase in (*phases, *self.finish))

    @property
    def retaken(self) -> bool:
        """A take failed as a picture and another one followed."""
        return any(take.record.was_rejected for take in self.takes[:-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Something that waits for a person."""

    shot_id: int | None
    """The shot's id in the ledger; None for a refused line."""
    title: str
    """Shot id, or where the refused line stands."""
    words: str
    """What happened."""
    remedy: str
    """What to do."""
    command: str = ""
    """For a held shot: what delivers its best take as it is."""

    @property
    def told(self) -> str:
        """What happened and what to do, on one line."""
        chosen = f" Good enough as it is? {self.command}" if self.command else ""
        return f"{self.title}: {self.words}. {self.remedy}{chosen}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class NightReport:
    """A night, told."""

    night: NightRecord
    made: datetime
    """UTC; when this report was read from the ledger."""
    headline: Headline
    shots: tuple[ShotLine, ...]
    """In the night's order."""
    needs: tuple[Need, ...]
    """What waits for a person; empty is good."""
    refused: tuple[dict[str, Any], ...]
    """Faults of refused lines, as `manifests.errors.Fault.to_dict`."""
    notes: tuple[str, ...]
    """Notes of the night that belong to no shot."""
    client_safe: bool = False
    """Prompts, machine names and paths are taken out."""

    @property
    def finished(self) -> bool:
        """The night came to its end."""
        return self.night.ended is not None
