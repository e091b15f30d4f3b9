"""From a failed or passed verdict to the ledger: the policy's word is part of the same write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from manifests.remedy import load_remedies
from manifests.stage import Recipe
from qc.judge import rank
from qc.scorecard import Decision, FailureClass, Scorecard, Verdict
from reports.outcomes import outcomes
from reports.records import EventKind, TakeRecord
from reports.take import TakeStatus
from tasks.attribution import Attribution
from tasks.desk import Desk, Job
from tasks.preset_change import note_preset_change, ranges_of
from tasks.remedy_choice import Tally
from tasks.retake import Attempt, Hold, Retake, decide
from tasks.retake_purse import Purse

LATEST = 200
"""Outcomes of a class on a preset that the policy looks at; older ones are forgotten."""


def conclude(
    night: Desk,
    job: Job,
    number: int,
    card: Scorecard | None,
    verdict: Verdict,
    *,
    by_stage: Attribution | None = None,
) -> Verdict:
    """Write the verdict over take `number` down; HOLD where the policy allows no other take.

    What the policy says is recorded with the verdict, so that a night that is killed here goes on
    with that very take. `by_stage` is what its stages showed.
    """
    takes = night.ledger.takes_of(job.shot_id)[:number]
    take = replace(takes[-1], scorecard=card, verdict=verdict)
    takes[-1] = take
    step: Retake | Hold | None = None
    events: list[tuple[EventKind, str, Mapping[str, Any]]] = []
    if verdict.decision is Decision.APPROVE:
        after, words = TakeStatus.APPROVED, "; ".join(verdict.reasons) or "nothing to object to"
    else:
        step = _next_step(night, job, takes, by_stage)
        after, words = TakeStatus.REJECTED, step.words
        if by_stage is not None:
            events.append((EventKind.ATTRIBUTED, by_stage.words, by_stage.to_dict()))
        if isinstance(step, Hold):
            after, verdict = TakeStatus.HELD, replace(verdict, decision=Decision.HOLD)
        else:
            data = {"recipe": step.recipe.to_dict(), "remedy": step.remedy.name}
            events.append((EventKind.RETAKE, step.words, data))
    night.ledger.judged(
        take.take_id,
        scorecard=card,
        verdict=verdict,
        after=after,
        night=night.night_id,
        words=words,
        events=events,
    )
    note_preset_change(night, job)
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


def next_recipe(night: Desk, job: Job, takes: list[TakeRecord]) -> tuple[Recipe, str, str]:
    """What follows the last, rejected take: recipe, words, name of the remedy.

    As it was said with the verdict; asked anew only where an older Rushes did not write it down.
    """
    kind = EventKind.RETAKE
    said = night.ledger.events_of(take_id=takes[-1].take_id, kind=kind)
    if said:
        return Recipe.from_dict(said[-1].data["recipe"]), said[-1].words, said[-1].data["remedy"]
    step = decide(
        _attempts(takes),
        remedies=load_remedies(),
        ranges=ranges_of(night, job.shot.recipe),
        max_takes=night.studio.max_takes,
        asked=job.shot.recipe,
    )
    assert not isinstance(step, Hold), "a rejected take is one that the policy lets follow"
    return step.recipe, step.words, step.remedy.name


def _next_step(
    night: Desk, job: Job, takes: list[TakeRecord], by_stage: Attribution | None
) -> Retake | Hold:
    """What the policy says after these takes; those that the machine failed do not count."""
    attempts = _attempts(takes)
    step = decide(
        attempts,
        remedies=load_remedies(),
        ranges=ranges_of(night, job.shot.recipe),
        max_takes=night.studio.max_takes,
        asked=job.shot.recipe,
        blamed=None if by_stage is None else by_stage.blamed,
        evidence=_evidence(night, job.shot.recipe, attempts[-1].failure),
        purse=_purse(night, job),
    )
    if by_stage is None or isinstance(step, Hold):
        return step
    return replace(step, words=f"{step.words}; {by_stage.words}")


def _attempts(takes: list[TakeRecord]) -> list[Attempt]:
    return [
        Attempt(recipe=take.recipe, failure=take.verdict.failure, remedies=_names(take.remedy))
        for take in takes
        if take.verdict is not None and take.verdict.failure is not None
    ]


def _names(remedy: Mapping[str, Any] | None) -> tuple[str, ...]:
    if remedy is None:
        return ()
    return tuple(map(str, remedy.get("names", [remedy["name"]])))


def _evidence(night: Desk, recipe: Recipe, failure: FailureClass) -> dict[str, Tally]:
    pairs = night.ledger.retake_pairs(
        family=recipe.family, preset=recipe.preset, failure=failure, most=LATEST
    )
    return {each.remedy: Tally(tried=each.tried, better=each.better) for each in outcomes(pairs)}


def _purse(night: Desk, job: Job) -> Purse:
    """What the night has left for retakes; one that is still to be made counts as expected."""
    studio = night.studio
    spent = night.ledger.spendings(night.night_id)
    expected = {known.shot_id: known.seconds for known in night.jobs.values()}
    return Purse(
        takes=studio.retake_takes,
        seconds=None if studio.retake_minutes is None else 60 * studio.retake_minutes,
        spent_takes=len(spent),
        spent_seconds=sum(
            expected.get(each.shot_id, 0.0) if each.seconds is None else each.seconds
            for each in spent
        ),
        next_seconds=job.seconds,
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
