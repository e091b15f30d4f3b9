"""Score a take: measure it and judge it."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.attribution import attribute
from tasks.desk import Desk, Job, desk
from tasks.judge_clip import SCORE_BUDGET, judge_clip
from tasks.judge_take import conclude
from tasks.render_take import MACHINE_RETRIES, retry_machine_failures


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
    card, verdict = await judge_clip(night, job, take.recipe, take.receipt.clip)
    await night.pool.picture(take.receipt.clip, budget=SCORE_BUDGET)
    by_stage = await attribute(night, job, take, verdict)
    return conclude(night, job, number, card, verdict, by_stage=by_stage).decision
