"""A shot in the plan of a night."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from manifests.noise import share_of_noise
from manifests.sequence import shot_key
from manifests.shot import Shot
from manifests.stage import Stage
from reports.take import ShotStatus
from tasks.estimate import Estimate
from tasks.plan_memory import ShotMemory

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
    chosen: bool = False
    """It is held because finishing its approved take failed: the next night tries again."""
    memory: ShotMemory | None = None
    """What it needs on each card; None: not looked at (a CPU), or not known."""
    postponed: bool = False
    """A night before ended too soon for it: it is first in line among those of its priority."""
    waits: str | None = None
    """Why nothing is done on it tonight, whatever becomes of the others; None: it has its turn."""
    begins: datetime | None = None
    """UTC, expected: when a card takes it. None: not tonight, or beyond what can be foreseen."""
    ends: datetime | None = None
    """UTC, expected: when its first take is rendered."""
    late: str | None = None
    """That it will, or may, miss its deadline, in words."""

    @property
    def key(self) -> str:
        """Its name among all sheets: `sheet/shot`."""
        return shot_key(self.manifest, self.shot.id)

    @property
    def budget(self) -> float:
        """Seconds after which a render of this shot is taken for stuck."""
        return max(LEAST_BUDGET, BUDGET_FACTOR * self.estimate.seconds)

    @property
    def is_open(self) -> bool:
        """Whether the night has work on it: neither approved nor waiting for a person."""
        return self.chosen or self.status not in (ShotStatus.APPROVED, ShotStatus.HELD)

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
            "seconds_low": round(self.estimate.low, 1),
            "seconds_high": round(self.estimate.high, 1),
            "basis": self.estimate.basis,
            "deadline": _text(self.shot.deadline),
            "after": list(self.shot.after),
            "start_from": self.shot.start_from,
            "begins": _text(self.begins),
            "ends": _text(self.ends),
            "waits": self.waits,
            "late": self.late,
            "disk_bytes": self.disk_bytes,
            "memory": [] if self.memory is None else self.memory.to_dict(),
            "snaps": list(self.shot.snaps),
            "warnings": list(self.warnings),
        }


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
