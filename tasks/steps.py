"""The steps of a shot between Prefect's tasks: what is next, and how a failure is written down."""

from __future__ import annotations

from manifests.secret import error_words
from reports.records import EventKind, TakeRecord, decisive
from reports.take import TakeStatus
from tasks.desk import Desk, Job
from tasks.judge_take import next_recipe
from tasks.naming import take_id
from tasks.next_action import Action, next_action
from tasks.night_book import note
from tasks.preset_change import first_recipe
from tasks.unmeasured import unscored_verdict

_APPROVALS = "approvals"
"""In the data of an abandoned finish: how often its take had been approved."""


def action_for(night: Desk, job: Job) -> tuple[Action, int]:
    """What the shot needs next, and the number of the take it is about (0: none yet)."""
    takes = night.ledger.takes_of(job.shot_id)
    last = takes[-1] if takes else None
    action = next_action(
        [take.status for take in takes],
        delivered=night.ledger.delivery_of(job.shot_id) is not None,
        abandoned=bool(takes) and _is_abandoned(night, decisive(takes)),
        failed_tonight=last is not None and last.transitions[-1].night == night.night_id,
    )
    return action, decisive(takes).number if takes else 0


def _is_abandoned(night: Desk, take: TakeRecord) -> bool:
    """Whether finishing it failed for good in this night. A take that was approved anew since is
    not: that a person took the first approval back and gave another says that something changed."""
    failed = night.ledger.events_of(
        night=night.night_id, take_id=take.take_id, kind=EventKind.ABANDONED
    )
    now = take.approvals
    return any(event.data.get(_APPROVALS, now) == now for event in failed)


def add_take(night: Desk, job: Job, *, again: bool) -> None:
    """Put the shot's next take into the ledger, queued.

    The first take is what the sheet asks for, under what was changed of its preset tonight;
    `again` repeats a recipe that the machine failed; otherwise it is what the policy said.
    """
    takes = night.ledger.takes_of(job.shot_id)
    if takes and again:
        recipe, remedy = takes[-1].recipe, takes[-1].remedy
        words = "the same recipe again: the machine failed it before"
    elif takes:
        recipe, words, name = next_recipe(night, job, takes)
        remedy = {"name": name}
    else:
        recipe, words, remedy = first_recipe(night, job)
    number = len(takes) + 1
    night.ledger.add_take(
        job.shot_id,
        take_id=take_id(job.manifest, job.shot.id, job.fingerprint, number),
        number=number,
        recipe=recipe,
        remedy_words=words,
        remedy=remedy,
        night=night.night_id,
    )


def give_up(night: Desk, job: Job, action: Action, error: Exception) -> str:
    """Write down that a step failed for good, so that the shot rests; returns the words.

    A take that could not be made is none: the shot stands where it stood.
    """
    words = error_words(error)
    if action in (Action.NEW_TAKE, Action.AGAIN):
        _note_not_made(night, job, words)
        return words
    take = decisive(night.ledger.takes_of(job.shot_id))
    match action:
        case Action.RENDER:
            # An error before the first try leaves the take queued; only a started one fails.
            if take.status is TakeStatus.QUEUED:
                night.ledger.move(
                    take.take_id, TakeStatus.RENDERING, night=night.night_id, words=""
                )
            night.ledger.move(take.take_id, TakeStatus.FAILED, night=night.night_id, words=words)
        case Action.SCORE:
            _hold_unscored(night, take, words)
        case _:
            night.ledger.event(
                kind=EventKind.ABANDONED,
                words=words,
                night=night.night_id,
                take_id=take.take_id,
                data={_APPROVALS: take.approvals},
            )
    return words


def _note_not_made(night: Desk, job: Job, words: str) -> None:
    """Once, however often it is tried."""
    words = f"its next take could not be made: {words}"
    told = night.ledger.events_of(night=night.night_id, shot_id=job.shot_id, kind=EventKind.NOTE)
    if words not in {event.words for event in told}:
        note(night, job, words)


def _hold_unscored(night: Desk, take: TakeRecord, words: str) -> None:
    verdict = unscored_verdict(words)
    night.ledger.judged(
        take.take_id,
        scorecard=None,
        verdict=verdict,
        after=TakeStatus.HELD,
        night=night.night_id,
        words=verdict.findings[0].words,
    )
