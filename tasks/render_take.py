"""Render a take. Prefect retries what the machine failed, never what the picture failed."""

from __future__ import annotations

from prefect import runtime

from manifests.remedy import load_remedies
from manifests.stage import Recipe
from qc.scorecard import FailureClass, Verdict
from render.errors import (
    CardsBlocked,
    MachineFailure,
    NonFinite,
    NonFiniteFrames,
    OutOfHours,
    OutOfMemory,
    TakeDoomed,
)
from reports.records import EventKind
from reports.take import TakeStatus
from tasks.attribution import Attribution, StageScore
from tasks.desk import Desk, Job, desk
from tasks.early import note_stopped
from tasks.judge_take import conclude
from tasks.machine_task import MACHINE_RETRIES, machine_task
from tasks.night_book import note_postponed
from tasks.retake import gives_up
from tasks.take_order import render_order
from tasks.unmeasured import memory_verdict, nan_verdict


@machine_task("render")
async def render_take(shot_id: int, number: int) -> str:
    """Render take `number` of a shot; returns how it ended. Raises RenderError."""
    night = desk()
    attempt = runtime.task_run.run_count or 1
    return await render_once(night, night.jobs[shot_id], number, attempt=attempt)


async def render_once(night: Desk, job: Job, number: int, *, attempt: int) -> str:
    """One try. Goes on from the take's checkpoints, and writes down how it ended."""
    take = night.ledger.takes_of(job.shot_id)[number - 1]
    if take.status is TakeStatus.QUEUED:
        night.ledger.move(take.take_id, TakeStatus.RENDERING, night=night.night_id, words="")
    order = render_order(night, job, take)
    if number == 1 and job.memory is not None and not job.memory.anywhere:
        # The plan said so: only a smaller take can be made here, and its recipe concedes one.
        conclude(night, job, number, None, memory_verdict(job.memory.best.words))
        return FailureClass.MEMORY
    try:
        receipt = await night.pool.render(
            order, budget=job.budget, place=night.lanes.place(job.key, job.number)
        )
    except CardsBlocked as error:
        if not (error.memory and gives_up(take.recipe, load_remedies())):
            raise
        conclude(night, job, number, None, memory_verdict(str(error)))
        return FailureClass.MEMORY
    except NonFinite as error:
        # NaN is a failed picture without a clip: it is judged here, and the policy has its say.
        decoded = isinstance(error, NonFiniteFrames)
        failure = FailureClass.NAN_FRAMES if decoded else FailureClass.NAN
        conclude(night, job, number, None, nan_verdict(failure, str(error)))
        return failure
    except TakeDoomed as error:
        # Judged by a look after its first stage: the rest would have been rendered for nothing.
        verdict = Verdict.from_dict(error.told)
        conclude(night, job, number, None, verdict, by_stage=_blamed(error, verdict))
        note_stopped(night, take.take_id, order.folder, error)
        return error.failure
    except OutOfHours as error:
        # Nothing failed: it goes on from its checkpoint, first in line in the next night.
        night.ledger.move(take.take_id, TakeStatus.QUEUED, night=night.night_id, words=str(error))
        note_postponed(night, job, str(error))
        return TakeStatus.QUEUED
    except MachineFailure as error:
        night.ledger.event(
            kind=EventKind.MACHINE_FAILURE,
            words=f"{type(error).__name__}: {error}",
            night=night.night_id,
            take_id=take.take_id,
            data={"error": type(error).__name__, "attempt": attempt},
        )
        if attempt > MACHINE_RETRIES and _asks_too_much(error, take.recipe):
            # What the ladder could not mend only another format can: the policy decides.
            conclude(night, job, number, None, memory_verdict(str(error)))
            return FailureClass.MEMORY
        raise
    night.ledger.rendered(take.take_id, receipt, night=night.night_id)
    return TakeStatus.RENDERED


def _blamed(error: TakeDoomed, verdict: Verdict) -> Attribution | None:
    """The stage that a stop is the fault of: stage 1 where it was seen after it. A remedy that
    changes only later stages would be stopped at the same latents."""
    if error.stage > 0:
        return None
    failing = verdict.findings[0]
    assert failing.failure is not None, "a take is stopped for the worst finding"
    score = StageScore(stage=1, value=failing.value, failed=True)
    return Attribution(
        failure=failing.failure,
        metric=failing.metric,
        limit=failing.limit,
        scores=(score,),
        stage=1,
    )


def _asks_too_much(error: MachineFailure, recipe: Recipe) -> bool:
    """Whether the take ran out of memory on every rung, and its recipe lets it be smaller."""
    return (
        isinstance(error, OutOfMemory) and bool(error.phase) and gives_up(recipe, load_remedies())
    )
