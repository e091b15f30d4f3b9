"""The plan of a night: what is rendered in which order, how, how long, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from manifests.errors import Fault
from manifests.noise import share_of_noise
from manifests.schedules import stage_sigmas
from manifests.settings import Studio
from manifests.shot import Manifest, Shot
from manifests.stage import Stage
from reports.fingerprint import shot_fingerprint
from reports.ledger_reads import LedgerReads
from reports.records import EventKind
from reports.take import ShotStatus
from tasks.control import read_control, shot_key
from tasks.estimate import Estimate, disk_bytes, estimate, start_words
from tasks.gpus import count_cards
from tasks.plan_memory import UNSEEN, ShotMemory, look_at_memory

BUDGET_FACTOR = 20.0
"""A render is taken for stuck after this many times its estimate ..."""
LEAST_BUDGET = 1800.0
"""... but never before this many seconds: a first take loads its model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanStage:
    """A stage as the plan shows it."""

    stage: Stage
    start_sigma: float
    """Noise level it starts from, in its model's own measure."""
    steps: int
    """Model steps it runs."""

    @property
    def start_share(self) -> float:
        """Share of noise it starts from, 0..1: what decides how much it changes."""
        return share_of_noise(self.start_sigma, self.stage.noise)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanLine:
    """A shot in the plan."""

    manifest: str
    shot: Shot
    stages: tuple[PlanStage, ...]
    estimate: Estimate
    disk_bytes: int
    """Of one take, at most."""
    status: ShotStatus
    """As the ledger has it: what is approved is not rendered again."""
    warnings: tuple[str, ...]
    memory: ShotMemory | None = None
    """What it needs on each card; None: not looked at (a CPU), or not known."""
    postponed: bool = False
    """A night before ended too soon for it: it is first in line among those of its priority."""

    @property
    def budget(self) -> float:
        """Seconds after which a render of this shot is taken for stuck."""
        return max(LEAST_BUDGET, BUDGET_FACTOR * self.estimate.seconds)

    @property
    def is_open(self) -> bool:
        """Whether the night has work on it: neither approved nor waiting for a person."""
        return self.status not in (ShotStatus.APPROVED, ShotStatus.HELD)

    def to_dict(self) -> dict[str, Any]:
        """The line as plain data, for `--json`."""
        recipe = self.shot.recipe
        return {
            "manifest": self.manifest,
            "shot": self.shot.id,
            "row": self.shot.row,
            "status": self.status.value,
            "preset": recipe.preset,
            "model": recipe.model,
            "size": [recipe.width, recipe.height],
            "frames": recipe.frames,
            "fps": recipe.fps,
            "seed": recipe.seed,
            "recipe_fingerprint": recipe.fingerprint,
            "stages": [
                {
                    "kind": planned.stage.kind.value,
                    "steps": planned.steps,
                    "cfg": planned.stage.cfg,
                    "denoise": planned.stage.denoise,
                    "sampler": planned.stage.sampler.value,
                    "schedule": planned.stage.schedule.value,
                    "shift": planned.stage.shift,
                    "start_sigma": round(planned.start_sigma, 6),
                    "start_share": round(planned.start_share, 6),
                    "expert": planned.stage.expert.value,
                }
                for planned in self.stages
            ],
            "seconds": round(self.estimate.seconds, 1),
            "basis": self.estimate.basis,
            "disk_bytes": self.disk_bytes,
            "memory": [] if self.memory is None else self.memory.to_dict(),
            "snaps": list(self.shot.snaps),
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A night before it runs."""

    lines: tuple[PlanLine, ...]
    """In the order in which they are rendered."""
    refused: tuple[Fault, ...]
    """What of the sheets will not run."""
    disk_free: int
    """Bytes free where takes are written."""

    @property
    def open_lines(self) -> tuple[PlanLine, ...]:
        """The shots that there is work on."""
        return tuple(line for line in self.lines if line.is_open)

    @property
    def seconds(self) -> float:
        """Of the open shots, one take each."""
        return sum(line.estimate.seconds for line in self.open_lines)

    @property
    def disk_bytes(self) -> int:
        """Of the open shots, one take each."""
        return sum(line.disk_bytes for line in self.open_lines)

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain data, for `--json`."""
        return {
            "shots": [line.to_dict() for line in self.lines],
            "refused": [fault.to_dict() for fault in self.refused],
            "open": len(self.open_lines),
            "seconds": round(self.seconds, 1),
            "disk_bytes": self.disk_bytes,
            "disk_free": self.disk_free,
        }


def make_plan(sheets: Sequence[Manifest], *, studio: Studio, ledger: LedgerReads | None) -> Plan:
    """Plan these sheets. `ledger` is None where no night has run yet. Raises BadInput.

    Order: priority (high first; a person's word over the sheet's), what a night before postponed,
    then by model (loading one is minutes), then as in the sheets.
    """
    cards = count_cards(studio.device, studio.placement, rules=studio.cards)
    lines = [
        _line(sheet.name, shot, ledger=ledger, cards=cards)
        for sheet in sheets
        for shot in sheet.shots
    ]
    said = read_control(studio.state_dir)
    models = list(dict.fromkeys(line.shot.recipe.model for line in lines))
    lines.sort(
        key=lambda line: (
            -said.priority_of(shot_key(line.manifest, line.shot.id), line.shot.priority),
            not line.postponed,
            models.index(line.shot.recipe.model),
        )
    )
    return Plan(
        lines=tuple(lines),
        refused=tuple(fault for sheet in sheets for fault in sheet.faults),
        disk_free=shutil.disk_usage(_nearest(studio.root)).free,
    )


def with_memory(plan: Plan, studio: Studio, *, card_gb: float | None = None) -> Plan:
    """The plan with the memory of every open shot; one that fits on no card is refused, with what
    would fit. Quick on a CPU, where nothing is measured."""
    looked_at = [line for line in plan.lines if line.is_open]
    shots = [(line.manifest, line.shot) for line in looked_at]
    verdicts = dict(
        zip(map(id, looked_at), look_at_memory(shots, studio=studio, card_gb=card_gb), strict=True)
    )
    lines, faults = [], []
    for line in plan.lines:
        verdict = verdicts.get(id(line), UNSEEN)
        if verdict.fault is not None:
            faults.append(verdict.fault)
            continue
        warnings = (*line.warnings, *verdict.warnings)
        lines.append(replace(line, memory=verdict.memory, warnings=warnings))
    return replace(plan, lines=tuple(lines), refused=(*plan.refused, *faults))


def with_disk(plan: Plan, studio: Studio) -> Plan:
    """The plan, with the fault that the disk is too small for it among what is refused."""
    fault = disk_fault(plan, studio)
    return plan if fault is None else replace(plan, refused=(*plan.refused, fault))


def disk_fault(plan: Plan, studio: Studio) -> Fault | None:
    """The fault that the disk is too small for the plan; None when it is not."""
    needed = plan.disk_bytes + int(studio.stop_disk_gb * 1e9)
    if plan.disk_free >= needed:
        return None
    return Fault(
        file=studio.root,
        problem=(
            f"{plan.disk_free / 1e9:.1f} GB are free, the night may write "
            f"{plan.disk_bytes / 1e9:.1f} GB and {studio.stop_disk_gb:g} GB are to stay free"
        ),
        remedy="free some space, or give --root on a larger disk",
    )


def _line(manifest: str, shot: Shot, *, ledger: LedgerReads | None, cards: int | None) -> PlanLine:
    stages = tuple(_planned(stage) for stage in shot.recipe.stages)
    sigma_warnings = (
        start_words(planned.stage, index, planned.start_sigma)
        for index, planned in enumerate(stages)
    )
    status, postponed = _history(manifest, shot, ledger)
    return PlanLine(
        manifest=manifest,
        shot=shot,
        stages=stages,
        estimate=estimate(shot.recipe, ledger=ledger),
        disk_bytes=disk_bytes(shot.recipe),
        status=status,
        postponed=postponed,
        warnings=(
            *shot.warnings,
            *(words for words in sigma_warnings if words),
            *_card_words(shot, cards),
        ),
    )


def _card_words(shot: Shot, cards: int | None) -> tuple[str, ...]:
    """A warning where more cards are asked for than render here; None: not known here."""
    if cards is None or shot.gpus <= cards:
        return ()
    here = "one card renders" if cards == 1 else f"{cards} cards render"
    return (f"gpus {shot.gpus}: {here} here, so the shot takes longer, and is the same",)


def _planned(stage: Stage) -> PlanStage:
    sigmas = stage_sigmas(stage)
    return PlanStage(stage=stage, start_sigma=sigmas[0], steps=len(sigmas) - 1)


def _history(manifest: str, shot: Shot, ledger: LedgerReads | None) -> tuple[ShotStatus, bool]:
    """Where the shot stands, and whether a night before had no time for it."""
    if ledger is None:
        return ShotStatus.WAITING, False
    known = ledger.find_shot(manifest, shot.id, shot_fingerprint(shot))
    if known is None:
        return ShotStatus.WAITING, False
    events = ledger.events_of(shot_id=known.id, kind=EventKind.POSTPONED)
    return ledger.shot_status(known.id), bool(events)


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest parent that exists."""
    while not folder.exists():
        folder = folder.parent
    return folder
