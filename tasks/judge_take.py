"""From a failed or passed verdict to the ledger: the policy's word is part of the same write."""

from __future__ import annotations

from dataclasses import replace

from manifests.preset import load_preset
from manifests.remedy import load_remedies
from qc.judge import rank
from qc.scorecard import Decision, Scorecard, Verdict
from reports.records import EventKind, TakeRecord
from reports.take import TakeStatus
from tasks.desk import Desk, Job
from tasks.retake import Attempt, Hold, Retake, decide


def conclude(
    night: Desk, job: Job, number: int, card: Scorecard | None, verdict: Verdict
) -> Verdict:
    """Write the verdict over take `number` down; HOLD where the policy allows no other take."""
    takes = night.ledger.takes_of(job.shot_id)[:number]
    take = replace(takes[-1], scorecard=card, verdict=verdict)
    takes[-1] = take
    step: Retake | Hold | None = None
    if verdict.decision is Decision.APPROVE:
        after, words = TakeStatus.APPROVED, "; ".join(verdict.reasons) or "nothing to object to"
    else:
        step = after_failure(night, job, takes)
        after, words = TakeStatus.REJECTED, step.words
        if isinstance(step, Hold):
            after, verdict = TakeStatus.HELD, replace(verdict, decision=Decision.HOLD)
    night.ledger.judged(
        take.take_id,
        scorecard=card,
        verdict=verdict,
        after=after,
        night=night.night_id,
        words=words,
    )
    if isinstance(step, Hold):
        best = best_take(takes)
        night.ledger.event(
            kind=EventKind.NOTE,
            words=f"{step.words}; the best one is take {best.number}",
            night=night.night_id,
            take_id=take.take_id,
            data={"best_take": best.take_id},
        )
    return verdict


def after_failure(night: Desk, job: Job, takes: list[TakeRecord]) -> Retake | Hold:
    """What the policy says after these takes; those that the machine failed do not count."""
    attempts = [
        Attempt(
            recipe=take.recipe,
            failure=take.verdict.failure,
            remedy=None if take.remedy is None else str(take.remedy["name"]),
        )
        for take in takes
        if take.verdict is not None and take.verdict.failure is not None
    ]
    family, _, name = job.shot.recipe.preset.partition("/")
    return decide(
        attempts,
        remedies=load_remedies(),
        ranges=load_preset(family, name, night.studio, with_loras=False).ranges,
        max_takes=night.studio.max_takes,
    )


def best_take(takes: list[TakeRecord]) -> TakeRecord:
    """The best judged take: hard gates first, then fails, then the worst severity."""
    judged = [
        (rank(take.scorecard, take.verdict), take.number)
        for take in takes
        if take.scorecard is not None and take.verdict is not None
    ]
    number = min(judged)[1] if judged else takes[-1].number
    return next(take for take in takes if take.number == number)
