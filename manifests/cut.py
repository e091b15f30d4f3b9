"""Where a split stage starts and ends, when its preset names a noise level instead of a step.

A level cuts a schedule before the first step that starts below it: that step begins the next
window. So experts change at a model's boundary whatever the steps, the schedule and the shift.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from manifests.refusal import Refusal
from manifests.schedules import sigmas
from manifests.stage import Stage

BOUNDARY: Final = "boundary"
"""The word for the noise level at which the experts of the model change."""

Level = float | Literal["boundary"]
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The ends of a window that are given as noise levels."""

    start: Level | None = None
    """None: the stage's `start_step` holds."""
    end: Level | None = None
    """None: the stage's `end_step` holds."""

    @property
    def at_boundary(self) -> bool:
        """It asks for a model with two experts."""
        return BOUNDARY in (self.start, self.end)


def lay_out(stage: Stage, cut: Cut, *, boundary: float | None) -> Stage:
    """The stage with its window in steps, for a model whose experts change at `boundary`.

    Raises Refusal where a level lies outside the schedule, the window is empty, or the boundary
    is asked of a model with one transformer.
    """
    if cut.start is not None:
        stage = replace(stage, start_step=_step_below(cut.start, stage, boundary))
    if cut.end is not None:
        stage = replace(stage, end_step=_step_below(cut.end, stage, boundary))
    if cut != Cut() and stage.end_step is not None and stage.start_step >= stage.end_step:
        raise Refusal(
            f"runs from step {stage.start_step} to {stage.end_step}: nothing",
            "use more steps, or cut the schedule elsewhere",
        )
    return stage


def _step_below(cut: Level, stage: Stage, boundary: float | None) -> int:
    """The first step of the stage's schedule that starts below `cut`."""
    level = boundary if cut == BOUNDARY else float(cut)
    if level is None:
        raise Refusal(
            "is cut at the boundary of two experts, and the model has one transformer",
            "choose another preset, or a model with transformer_2",
        )
    levels = sigmas(
        schedule=stage.schedule,
        steps=stage.steps,
        shift=stage.shift,
        noise=stage.noise,
        sampler=stage.sampler,
    )
    step = next(i for i, sigma in enumerate(levels) if sigma < level - _ROUNDING)
    if not 0 < step < len(levels) - 1:
        raise Refusal(
            f"is cut at sigma {level:g}, and the steps of its schedule start at "
            f"{levels[0]:.3f} to {levels[-2]:.3f}: none on one side",
            "use more steps, another shift, or cut between these levels",
        )
    return step
