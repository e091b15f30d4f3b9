"""The night: every open shot of the sheets, taken as far as it gets, and the morning report."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import flow, runtime, tags

from flows.approvals import Approvals
from flows.buttons import Buttons, settle
from flows.night_page import NightPage
from flows.outage import through_outages
from flows.previews import BOARD, Board
from flows.shot import shot_flow
from flows.watch import Watcher, Watchers
from manifests.errors import BadInput
from manifests.settings import Studio, load_studio
from render.backend import Progress
from reports.errors import LedgerBusy, LedgerUnwritable
from reports.lock import sole_writer
from reports.records import decisive
from reports.take import ShotStatus
from tasks import night_book
from tasks.admission import hosting_of
from tasks.desk import Desk, Job, at_desk
from tasks.gpus import find_machine
from tasks.hours import NightHours
from tasks.naming import arguments_key
from tasks.neighbours import Neighbours
from tasks.plan import Plan, make_plan, with_memory
from tasks.pool import Pool
from tasks.pulse import Patience
from tasks.report_night import report_night
from tasks.sheets import load_sheets
from tasks.turns import turn
from tasks.worker_pool import WorkerPool

NOBODY = Watcher()
WATCHER: ContextVar[Watcher] = ContextVar("watcher", default=NOBODY)
"""Who is told of the night: the command line sets it."""

PoolFactory = Callable[[Studio, Callable[[Progress], None]], Any]


def worker_pool(studio: Studio, listener: Callable[[Progress], None]) -> WorkerPool:
    """The pool of this machine's cards, or of its CPU, and of the hosts that join."""
    return WorkerPool(
        find_machine(studio.device, studio.placement, rules=studio.cards),
        threads=studio.threads or os.cpu_count() or 1,
        scratch=studio.state_dir / "workers",
        listener=listener,
        patience=Patience(times=studio.stuck_after),
        neighbours=Neighbours() if studio.cards.yield_to_others else None,
        hosting=hosting_of(studio),
    )


POOL: ContextVar[PoolFactory] = ContextVar("pool", default=worker_pool)
"""How the pool is made: tests put a pool of fakes here."""


def night_name(root: Path, instant: datetime) -> str:
    """`night 2026-11-20`: by the date of its evening, whichever date the clock shows."""
    try:
        return f"night {NightHours(load_studio(root), now=instant).evening}"
    except BadInput:  # the run itself says what is wrong
        return f"night {instant.astimezone():%Y-%m-%d}"


def _run_name() -> str:
    given = runtime.flow_run.parameters
    names = ", ".join(Path(path).stem for path in given.get("manifests", []))
    return f"{night_name(Path(given['root']), datetime.now(UTC))} {names}"


@flow(name="night", flow_run_name=_run_name, persist_result=False)
async def night(
    manifests: list[Path],
    root: Path,
    skip_bad: bool = False,
    settings: dict[str, Any] | None = None,
    now: bool = False,
) -> dict[str, Any]:
    """Run a night over these sheets; `now` runs it outside the studio's hours too.

    Returns the counts of its shots by status, its run and the path of the report. Raises BadInput
    with every fault when a line of a sheet cannot be used (unless `skip_bad`) or outside the hours,
    LedgerBusy when another night runs in this root, and LedgerBusy or LedgerUnwritable when its own
    end cannot be written: the words say where its report lies.
    """
    studio = load_studio(root, **(settings or {}))
    hours = NightHours(studio, ignore=now)
    hours.check()
    sheets = load_sheets(manifests, studio=studio)
    faults = [fault for sheet in sheets for fault in sheet.faults]
    if faults and not skip_bad:
        raise BadInput(faults)
    async with AsyncExitStack() as stack:
        stack.enter_context(sole_writer(studio.ledger_path))
        ledger = stack.enter_context(night_book.open_ledger(studio.ledger_path))
        record = night_book.begin(
            ledger,
            key=arguments_key(manifests, studio=studio),
            arguments={"manifests": [str(path) for path in manifests], "skip_bad": skip_bad},
            flow_run_id=str(runtime.flow_run.id),
            evening=hours.evening,
        )
        plan = make_plan(sheets, studio=studio, ledger=ledger, ignore_hours=now)
        plan = await asyncio.to_thread(with_memory, plan, studio)
        if len(plan.refused) > len(faults) and not skip_bad:
            raise BadInput(plan.refused[len(faults) :])
        night_book.note_refused(ledger, record, plan.refused)
        board = Board(studio.root)
        BOARD.set(board)
        listener = Watchers(WATCHER.get(), board).progress
        pool: Pool = await stack.enter_async_context(POOL.get()(studio, listener))
        desk = night_book.lay_desk(
            studio, ledger, pool, record, plan, hours=hours, tell=WATCHER.get().news
        )
        stack.enter_context(at_desk(desk))
        page, buttons = NightPage(desk), Buttons(desk, UUID(str(runtime.flow_run.id)))
        try:
            async with buttons.followed(), page.kept():
                await buttons.until_cancelled(_run_shots(desk, plan))
            counts = night_book.end(desk, why=night_book.CANCELLED if buttons.cancelled else None)
        except (LedgerBusy, LedgerUnwritable) as error:
            raise night_book.unended(desk, error) from error
        report = await report_night()
        await page.end(Path(report))
    return {
        "night": record.id,
        "run": str(runtime.flow_run.id),
        "shots": counts,
        "refused": len(plan.refused),
        "report": report,
    }


async def _run_shots(desk: Desk, plan: Plan) -> None:
    """Every job as a flow of its own, as their turns come; so many at once keep cards busy."""
    watcher = WATCHER.get()
    watcher.began(desk.night_id, [(line.key, line.estimate.seconds) for line in plan.open_lines])

    async def finish(job: Job) -> None:
        try:
            status, words = await _in_prefect(desk, job)
        except Exception as error:
            night_book.note_broken(desk, job, error)
        else:
            watcher.shot_done(job.key, status.value, words)

    approvals = Approvals(desk, finish)

    async def run(job: Job) -> None:
        async with turn(desk, job) as mine:
            job = mine.job
            if not mine.over:
                # No page in the UI for a shot that nothing is done on tonight.
                status, words = (
                    (ShotStatus.WAITING, mine.words)
                    if mine.words is not None
                    else await _in_prefect(desk, job)
                )
                watcher.shot_done(job.key, status.value, words)
        approvals.had_its_turn(job)

    # A shot that breaks must not take the others with it; the ledger shows where it stands.
    jobs = list(desk.jobs.values())
    async with approvals.heard():
        results = await asyncio.gather(*map(run, jobs), return_exceptions=True)
    for job, result in zip(jobs, results, strict=True):
        if isinstance(result, Exception):
            night_book.note_broken(desk, job, result)


async def _in_prefect(desk: Desk, job: Job) -> tuple[ShotStatus, str]:
    """Take a shot as far as it gets, in a run of its own; where it is then, in words too."""
    recipe = job.shot.recipe
    with tags(f"sheet:{job.manifest}", f"preset:{recipe.preset}", f"model:{recipe.model}"):
        ended = await through_outages(
            lambda: shot_flow(shot=job.shot.id, shot_id=job.shot_id, return_state=True),
            tell=lambda words: night_book.note(desk, job, words),
        )
    status, takes = desk.ledger.shot_status(job.shot_id), desk.ledger.takes_of(job.shot_id)
    words = decisive(takes).transitions[-1].words if takes else ""
    if ended.is_cancelling():
        await settle(ended.state_details.flow_run_id, f"{status}: {words}")
    return status, words
