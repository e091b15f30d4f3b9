"""Score a take: measure it and judge it."""

from __future__ import annotations

from tasks.attribution import attribute
from tasks.desk import Desk, Job, desk
from tasks.judge_clip import SCORE_BUDGET, judge_clip
from tasks.judge_take import conclude
from tasks.machine_task import machine_task


@machine_task("score")
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
