"""Score a take: measure it and judge it."""

from __future__ import annotations

import re

from prefect import task
from prefect.cache_policies import NO_CACHE

from qc.judge import judge
from tasks.desk import Desk, Job, desk
from tasks.judge_take import conclude
from tasks.limits import limits_for
from tasks.render_take import MACHINE_RETRIES, retry_machine_failures
from tasks.score_order import score_order

SCORE_BUDGET = 1800.0
"""Seconds after which measuring a clip is taken for stuck."""

_STILL = re.compile(r"\b(static|locked[- ]off|still camera|no camera move(ment)?|tripod)\b", re.I)


@task(
    name="score",
    task_run_name="score take {number}",
    retries=MACHINE_RETRIES,
    retry_delay_seconds=[1, 5],
    retry_condition_fn=retry_machine_failures,
    cache_policy=NO_CACHE,
    persist_result=False,
)
async def score_take(shot_id: int, number: int) -> str:
    """Measure and judge take `number` of a shot; returns the decision. Raises QCError."""
    night = desk()
    return await score_once(night, night.jobs[shot_id], number)


async def score_once(night: Desk, job: Job, number: int) -> str:
    """One try: measured, judged and written down in one transaction."""
    take = night.ledger.takes_of(job.shot_id)[number - 1]
    assert take.receipt is not None, "only a rendered take is scored"
    recipe = take.recipe
    card = await night.pool.score(
        score_order(night, job, recipe, take.receipt.clip), budget=SCORE_BUDGET
    )
    await night.pool.picture(take.receipt.clip, budget=SCORE_BUDGET)
    verdict = judge(
        card,
        thresholds=limits_for(card, recipe=recipe, studio=night.studio, learned=night.learned),
        expects_motion=_STILL.search(recipe.prompt) is None,
    )
    return conclude(night, job, number, card, verdict).decision
