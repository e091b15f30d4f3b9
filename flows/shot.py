"""One shot as a Prefect flow: its own page in the UI, its takes as task runs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from httpx import HTTPError
from prefect import flow, get_run_logger, runtime
from prefect.artifacts import acreate_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectException
from prefect.states import Cancelled, Completed, Failed

from flows.night_page import link
from flows.previews import BOARD
from manifests.errors import RushesError
from reports.errors import LedgerUnwritable
from reports.media import stage_pictures, take_pictures
from reports.records import EventKind, TakeRecord, decisive
from reports.take import ShotStatus, TakeStatus
from tasks.desk import Desk, Job, desk
from tasks.finish_shot import finish_shot
from tasks.lanes import LOOK_EVERY
from tasks.naming import take_id
from tasks.next_action import STARTS, Action
from tasks.night_book import cancelled, postponed
from tasks.render_take import render_take
from tasks.score_take import score_take
from tasks.steps import action_for, add_take, give_up


@flow(name="shot", flow_run_name="{shot}", validate_parameters=False, persist_result=False)
async def shot_flow(shot: str, shot_id: int) -> Any:
    """Take a shot as far as it gets tonight. Never raises for what can be written down."""
    night = desk()
    job = night.jobs[shot_id]
    # A shot takes three steps a take and two at the end; twice as many mean that steps did nothing.
    async with BOARD.get().showing(take_id(job.manifest, shot, job.fingerprint, 1)):
        for _ in range(8 * night.studio.max_takes + 4):
            try:
                if not await _advance(night, job):
                    break
            except LedgerUnwritable as error:
                # Nothing was written, so nothing is lost: the same again, once it can be.
                night.room.refuses(error)
                await _while_no_room(night, job)
    await _tell(night, job)
    return _state(night, job)


async def _advance(night: Desk, job: Job) -> bool:
    """One step of the shot; False where there is none for it tonight. Raises LedgerUnwritable, and
    what nobody has a name for."""
    action, number = action_for(night, job)
    if action is Action.NOTHING:
        return False
    if action in STARTS:
        await _while_nothing_new(night, job)
    if cancelled(night, job) or postponed(night, job, action):
        return False
    try:
        await _step(night, job, action, number)
        _log(night, job)
    except LedgerUnwritable:
        raise
    except Exception as error:
        # Not a silent fallback: it is in the ledger, by name, and the report shows it.
        words = give_up(night, job, action, error)
        get_run_logger().exception(words)
        if not isinstance(error, RushesError):
            raise
    finally:
        if action in (Action.RENDER, Action.SCORE):
            _picture(night, job)
    return True


async def _while_no_room(night: Desk, job: Job) -> None:
    """As long as the ledger cannot be written, and neither the night nor the shot is ended."""
    while night.room.look() and night.hours.gate(0.0).open:
        if night.control().stops(job.key, night=night.night_id) is not None:
            break
        await asyncio.sleep(LOOK_EVERY)


def _nothing_new(night: Desk) -> bool:
    """Whether nothing new is to be started now: a person said so, or the disk is full."""
    return night.control().paused or night.room.look()


async def _while_nothing_new(night: Desk, job: Job) -> None:
    """As long as that holds; a cancel and the end of the hours are heard meanwhile."""
    while _nothing_new(night) and not cancelled(night, job) and not postponed(night, job):
        await asyncio.sleep(LOOK_EVERY)


async def _step(night: Desk, job: Job, action: Action, number: int) -> None:
    match action:
        case Action.NEW_TAKE | Action.AGAIN:
            add_take(night, job, again=action is Action.AGAIN)
        case Action.RENDER:
            await render_take(job.shot_id, number)
        case Action.SCORE:
            await score_take(job.shot_id, number)
        case Action.FINISH:
            night.lanes.approved(job.key)
            await finish_shot(job.shot_id, number)
        case Action.NOTHING:
            raise AssertionError("nothing is no step")


def _log(night: Desk, job: Job) -> None:
    take = decisive(night.ledger.takes_of(job.shot_id))
    last = take.transitions[-1]
    log = get_run_logger()
    log.info("take %d: %s. %s", take.number, last.after, last.words)
    if last.after in (TakeStatus.APPROVED, TakeStatus.REJECTED, TakeStatus.HELD):
        # Said once: the event hangs on the take whose verdict it followed.
        kind = EventKind.PRESET_CHANGED
        for event in night.ledger.events_of(take_id=take.take_id, kind=kind):
            log.warning(event.words)


def _picture(night: Desk, job: Job) -> None:
    """What became of a take stands under its picture, also where it never came to a clip; a strip
    of the whole clip takes the place of the pictures from its making."""
    take = night.ledger.takes_of(job.shot_id)[-1]
    strip = None if take.receipt is None else take_pictures(take.receipt.clip)[0]
    words = f"{take.status}: {take.transitions[-1].words}"
    BOARD.get().became(take.take_id, words, picture=strip)


def _state(night: Desk, job: Job) -> Any:
    status = night.ledger.shot_status(job.shot_id)
    takes = night.ledger.takes_of(job.shot_id)
    words = _stands_by(takes)
    match status:
        case ShotStatus.APPROVED:
            return Completed(name="Approved", message=words)
        case ShotStatus.HELD:
            return Completed(name="Held", message=words)
        case ShotStatus.WAITING | ShotStatus.WORKING if said := cancelled(night, job):
            return Cancelled(message=f"{said}; {words}")
        case _:
            return Failed(name=status.value.capitalize(), message=words)


def _stands_by(takes: Sequence[TakeRecord]) -> str:
    if not takes:
        return "no take"
    take = decisive(takes)
    return f"take {take.number}: {take.transitions[-1].words}"


async def _tell(night: Desk, job: Job) -> None:
    """Say on the shot's page what became of it. A server that cannot write it costs the words: what
    is done is done, and its run ends as the ledger has it."""
    try:
        await _write_page(night, job)
    except (HTTPError, PrefectException) as error:
        get_run_logger().warning("this page does not tell all: %s", type(error).__name__)


async def _write_page(night: Desk, job: Job) -> None:
    """A page of the shot for the UI: its takes, and why each was judged as it was."""
    root = night.studio.root
    lines = [f"# {job.shot.id}: {night.ledger.shot_status(job.shot_id)}", ""]
    for take in night.ledger.takes_of(job.shot_id):
        lines += [f"## take {take.number}: {take.status}", "", *_take_lines(take, root), ""]
    delivery = night.ledger.delivery_of(job.shot_id)
    if delivery is not None:
        lines += [f"Delivered: {link(root, delivery.delivery.path)}"]
    await acreate_markdown_artifact(markdown="\n".join(lines), description=job.shot.title[:200])
    await _tag(night.ledger.takes_of(job.shot_id))


async def _tag(takes: Sequence[TakeRecord]) -> None:
    """What is known only now and people filter runs by: the verdict of the take that the shot
    stands by, and the cards."""
    found = {f"gpu:{take.receipt.device}" for take in takes if take.receipt is not None}
    if takes:
        found |= _verdict_tags(decisive(takes))
    run = runtime.flow_run
    async with get_client() as client:
        await client.update_flow_run(UUID(run.id), tags=sorted({*run.tags, *found}))


def _verdict_tags(take: TakeRecord) -> set[str]:
    if take.by_hand is not None:
        return {"verdict:by-hand"}
    return set() if take.verdict is None else {f"verdict:{take.verdict.decision}"}


def _take_lines(take: TakeRecord, root: Path) -> list[str]:
    lines = [f"*{take.remedy_words}*"] if take.remedy_words else []
    if take.verdict is not None:
        lines += [f"- {reason}" for reason in take.verdict.reasons] or ["- nothing to object to"]
    if take.receipt is not None:
        lines += [f"- {take.receipt.seconds:.1f} s on {take.receipt.device}"]
        strip, film = take_pictures(take.receipt.clip)
        shown = [path for path in (*stage_pictures(take.receipt), strip, film) if path is not None]
        lines += [f"- {link(root, path)}" for path in shown]
    return lines
