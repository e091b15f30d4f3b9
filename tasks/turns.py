"""One shot's turn in the night: when it comes, what it starts from, and what follows it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from manifests.errors import RushesError
from reports.take import ShotStatus
from tasks import night_book
from tasks.desk import Desk, Job
from tasks.last_frame import approved_take, make_frame
from tasks.next_action import Action
from tasks.steps import action_for
from tasks.waiting import waits_words, why_not


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What is to be done on a shot now."""

    job: Job
    """Where it starts from another's last frame: with that picture."""
    words: str | None = None
    """Why nothing is done on it tonight; None: it is its turn."""
    over: bool = False
    """It was done before."""


@asynccontextmanager
async def turn(night: Desk, job: Job) -> AsyncIterator[Turn]:
    """The turn of a shot, waited for. What it comes to in the block decides who may follow it."""
    try:
        async with _turn(night, job) as mine:
            yield mine
    finally:
        # However it ended: a lane kept for a shot that does not come would be lost to the night.
        night.lanes.gone(job.key)


@asynccontextmanager
async def _turn(night: Desk, job: Job) -> AsyncIterator[Turn]:
    if job.waits is not None:
        night_book.note_waits(night, job, job.waits)
        yield Turn(job=job, words=job.waits)
        return
    if night.ledger.shot_status(job.shot_id) is ShotStatus.APPROVED:
        yield Turn(job=job, over=True)
        return
    async with night.lanes.lane(job.key) as lane:
        if lane.words is not None:
            if night_book.cancelled(night, job) is None:
                night_book.note_waits(night, job, lane.words)
            yield Turn(job=job, words=lane.words)
            return
        made = await _begun(night, replace(job, number=lane.number, card=lane.card))
        try:
            yield made
        finally:
            lane.ended = _why_not_after(night, made)


async def _begun(night: Desk, job: Job) -> Turn:
    """The turn of a shot that has a lane."""
    words = night_book.cancelled(night, job) or night_book.postponed(night, job)
    if words is not None:
        return Turn(job=job, words=words)
    try:
        job = await _bound(night, job)
    except (RushesError, OSError) as error:
        assert job.shot.start_from is not None, "only those that start from another are bound"
        why = f"is approved, but its last frame cannot be had: {error}"
        words = waits_words(job.shot.start_from, why, sheet=job.manifest)
        night_book.note_waits(night, job, words)
        return Turn(job=job, words=words)
    night.jobs[job.shot_id] = job
    action, _ = action_for(night, job)
    return Turn(job=job, over=action is Action.NOTHING)


async def _bound(night: Desk, job: Job) -> Job:
    """The job with the picture that it starts from. Raises RushesError, OSError."""
    if job.shot.is_bound or job.shot.start_from is None:
        return job
    take = approved_take(night.ledger, _shot_id(night, job.shot.start_from))
    assert take is not None, "a lane is given only behind shots that are approved"
    shot = job.shot.bound(await asyncio.to_thread(make_frame, take))
    known = night.ledger.record_shot(night.night_id, job.manifest, shot, job.position)
    del night.jobs[job.shot_id]
    return replace(job, shot_id=known.id, shot=shot, fingerprint=known.fingerprint)


def _shot_id(night: Desk, key: str) -> int:
    """Key in the ledger of a shot of this night, or of the latest night that had it."""
    for shot_id, job in night.jobs.items():
        if job.key == key:
            return shot_id
    manifest, _, name = key.partition("/")
    known = night.ledger.latest_shot(manifest, name)
    assert known is not None, "the plan found it approved"
    return known.id


def _why_not_after(night: Desk, made: Turn) -> str | None:
    """Why nothing can follow the shot yet; None: it is approved."""
    status = night.ledger.shot_status(made.job.shot_id)
    if status is ShotStatus.WAITING and made.words is not None:
        return f"was not rendered: {made.words}"
    return why_not(status, tonight=True)
