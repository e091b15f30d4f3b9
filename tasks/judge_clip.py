"""Measure a clip of a take and hold it against the limits: the same for takes and for stages."""

from __future__ import annotations

import re
from pathlib import Path

from manifests.stage import Recipe
from qc.judge import judge
from qc.scorecard import Scorecard, Verdict
from tasks.desk import Desk, Job
from tasks.limits import limits_for
from tasks.score_order import score_order

SCORE_BUDGET = 1800.0
"""Seconds after which measuring a clip is taken for stuck."""

_STILL = re.compile(r"\b(static|locked[- ]off|still camera|no camera move(ment)?|tripod)\b", re.I)


def expects_motion(recipe: Recipe) -> bool:
    """Whether the shot is to move: not where its prompt asks for a static camera."""
    return _STILL.search(recipe.prompt) is None


async def judge_clip(
    night: Desk, job: Job, recipe: Recipe, clip: Path
) -> tuple[Scorecard, Verdict]:
    """Scorecard and verdict of a clip that `recipe` made. Raises QCError, or WorkerLost."""
    card = await night.pool.score(score_order(night, job, recipe, clip), budget=SCORE_BUDGET)
    verdict = judge(
        card,
        thresholds=limits_for(card, recipe=recipe, studio=night.studio, learned=night.learned),
        expects_motion=expects_motion(recipe),
    )
    return card, verdict
