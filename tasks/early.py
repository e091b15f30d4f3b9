"""Looks at a take after its first stage: whether it gets one, and what is noted of a stop."""

from __future__ import annotations

from pathlib import Path

from manifests.stage import Recipe
from render.errors import TakeDoomed
from render.order import LookOrder
from reports.records import EventKind
from tasks.desk import Desk, Job
from tasks.judge_clip import expects_motion

STRIP = "stage-*.jpg"
"""Strips of what the stages of a take left, in its folder."""


def look_order(night: Desk, job: Job, recipe: Recipe, number: int) -> LookOrder | None:
    """How take `number` is looked at after an early stage; None where nothing depends on it.

    The last take that a shot may have is looked at and never stopped: a person who is to decide
    must have a clip to look at, and a look that errs can then cost no shot its picture.
    """
    early = night.presets[job.shot.recipe.preset].early
    stops = early and number < night.studio.max_takes
    if recipe.candidates == 1 and not early:
        return None
    return LookOrder(
        source=None if job.shot.source is None else job.shot.source.path,
        expects_motion=expects_motion(recipe),
        stops=stops,
    )


def note_stopped(night: Desk, take_id: str, folder: Path, error: TakeDoomed) -> None:
    """Write down that a take was stopped, what it had used, and where its pictures are."""
    strips = sorted(folder.glob(STRIP)) + sorted(folder.glob(f"candidate-*/{STRIP}"))
    night.ledger.event(
        kind=EventKind.NOTE,
        words=str(error),
        night=night.night_id,
        take_id=take_id,
        data={"strips": [str(path) for path in strips], "spent": error.spent},
    )
