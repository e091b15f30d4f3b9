"""The night: every open shot of the sheets, taken as far as it gets, and the morning report."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from contextvars import ContextVar
from datetime import datetime
from pathlib import Path
from typing import Any

from prefect import flow, runtime, tags
from prefect.artifacts import acreate_table_artifact

from flows.run import arguments_key
from flows.shot import shot_flow
from flows.watch import Watcher
from manifests.errors import BadInput, Fault
from manifests.load import load_manifest
from manifests.settings import Studio, load_studio
from render.backend import Progress
from reports.fingerprint import shot_fingerprint
from reports.ledger import Ledger
from reports.lock import sole_writer
from reports.records import EventKind, NightRecord
from reports.take import ShotStatus
from tasks.desk import Desk, Job, at_desk
from tasks.gpus import find_devices
from tasks.plan import Plan, make_plan
from tasks.pool import Pool, WorkerPool
from tasks.report_night import report_night

ARTIFACT_SECONDS = 15.0
"""The night's table in the UI is written again at most this often."""

NOBODY = Watcher()
WATCHER: ContextVar[Watcher] = ContextVar("watcher", default=NOBODY)
"""Who is told of the night: the command line sets it."""

PoolFactory = Callable[[Studio, Callable[[Progress], None]], Any]


def worker_pool(studio: Studio, listener: Callable[[Progress], None]) -> WorkerPool:
    """The pool of this machine's devices."""
    return WorkerPool(
        find_devices(studio.device),
        threads=studio.threads,
        scratch=studio.state_dir / "workers",
        listener=listener,
    )


POOL: ContextVar[PoolFactory] = ContextVar("pool", default=worker_pool)
"""How the pool is made: tests put a pool of fakes here."""


def _run_name() -> str:
    manifests = runtime.flow_run.parameters.get("manifests", [])
    names = ", ".join(Path(path).stem for path in manifests)
    return f"night {datetime.now().astimezone():%Y-%m-%d} {names}"


@flow(name="night", flow_run_name=_run_name, persist_result=False)
async def night(
    manifests: list[Path],
    root: Path,
    skip_bad: bool = False,
    settings: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Run a night over these sheets.

    Returns the counts of its shots by status and the path of the report. Raises BadInput with
    every fault when a line of a sheet cannot be used (unless `skip_bad`), and LedgerBusy when
    another night runs in this root.
    """
    studio = load_studio(root, **(settings or {}))
    sheets = [load_manifest(path, studio=studio) for path in manifests]
    faults = [fault for sheet in sheets for fault in sheet.faults]
    if faults and not skip_bad:
        raise BadInput(faults)
    async with AsyncExitStack() as stack:
        stack.enter_context(sole_writer(studio.ledger_path))
        ledger = stack.enter_context(Ledger(studio.ledger_path))
        record = _begin(ledger, manifests, studio, skip_bad)
        plan = make_plan(sheets, studio=studio, ledger=ledger)
        pool: Pool = await stack.enter_async_context(POOL.get()(studio, WATCHER.get().progress))
        desk = _lay_desk(studio, ledger, pool, record, plan)
        _note_refused(ledger, record, faults)
        stack.enter_context(at_desk(desk))
        await _run_shots(desk, plan)
        counts = _counts(desk)
        ledger.end_night(record.id, _ending(counts))
        page = await report_night()
    return {"night": record.id, "shots": counts, "refused": len(faults), "report": page}


def _begin(
    ledger: Ledger, manifests: Sequence[Path], studio: Studio, skip_bad: bool
) -> NightRecord:
    """A new night, or the one that was cut short with the same arguments."""
    key = arguments_key(manifests, studio.root)
    flow_run_id = str(runtime.flow_run.id)
    record = ledger.open_night(key)
    if record is not None:
        ledger.resume_night(record.id, flow_run_id=flow_run_id)
        ledger.recover(record.id)
        return record
    record = ledger.begin_night(
        night_id=ledger.next_night_id(datetime.now().astimezone().date()),
        arguments_key=key,
        arguments={"manifests": [str(path) for path in manifests], "skip_bad": skip_bad},
        flow_run_id=flow_run_id,
    )
    # Another night, over other sheets, may have died with some of these takes in its hands.
    ledger.recover(record.id)
    return record


def _lay_desk(studio: Studio, ledger: Ledger, pool: Pool, record: NightRecord, plan: Plan) -> Desk:
    jobs = {}
    for position, line in enumerate(plan.lines):
        known = ledger.record_shot(record.id, line.manifest, line.shot, position)
        jobs[known.id] = Job(
            shot_id=known.id,
            manifest=line.manifest,
            shot=line.shot,
            fingerprint=shot_fingerprint(line.shot),
            budget=line.budget,
        )
    return Desk(
        studio=studio,
        ledger=ledger,
        pool=pool,
        night_id=record.id,
        torch_device=pool.torch_device,
        jobs=jobs,
    )


def _note_refused(ledger: Ledger, record: NightRecord, faults: Sequence[Fault]) -> None:
    known = {str(event.data) for event in ledger.events_of(night=record.id, kind=EventKind.REFUSED)}
    for fault in faults:
        if str(fault.to_dict()) not in known:
            ledger.event(
                kind=EventKind.REFUSED, words=str(fault), night=record.id, data=fault.to_dict()
            )


async def _run_shots(desk: Desk, plan: Plan) -> None:
    """Every job as a flow of its own, in the plan's order, as many at once as there are devices."""
    lanes = asyncio.Semaphore(desk.pool.lanes)
    table, watcher = _Table(desk), WATCHER.get()
    await table.write()
    watcher.began(
        desk.night_id, [(line.shot.id, line.estimate.seconds) for line in plan.open_lines]
    )

    async def run(job: Job) -> None:
        async with lanes:
            if desk.ledger.shot_status(job.shot_id) is ShotStatus.APPROVED:
                return
            recipe = job.shot.recipe
            with tags(f"sheet:{job.manifest}", f"preset:{recipe.preset}", f"model:{recipe.model}"):
                await shot_flow(shot=job.shot.id, shot_id=job.shot_id, return_state=True)
            status = desk.ledger.shot_status(job.shot_id)
            takes = desk.ledger.takes_of(job.shot_id)
            words = takes[-1].transitions[-1].words if takes else ""
            watcher.shot_done(job.shot.id, status.value, words)
            await table.write()

    # A shot that breaks must not take the others with it; the ledger shows where it stands.
    results = await asyncio.gather(
        *(run(job) for job in desk.jobs.values()), return_exceptions=True
    )
    for job, result in zip(desk.jobs.values(), results, strict=True):
        if isinstance(result, Exception):
            desk.ledger.event(
                kind=EventKind.NOTE,
                words=f"its flow broke: {type(result).__name__}: {result}",
                night=desk.night_id,
                shot_id=job.shot_id,
            )
    await table.write(now=True)


class _Table:
    """The night's table in the UI, kept current without flooding the server."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._written = float("-inf")

    async def write(self, *, now: bool = False) -> None:
        if not now and time.monotonic() - self._written < ARTIFACT_SECONDS:
            return
        self._written = time.monotonic()
        rows = [self._row(job) for job in self._desk.jobs.values()]
        await acreate_table_artifact(
            key=f"night-{self._desk.night_id}", table=rows, description="Shots of this night"
        )

    def _row(self, job: Job) -> dict[str, Any]:
        takes = self._desk.ledger.takes_of(job.shot_id)
        return {
            "shot": job.shot.id,
            "status": str(self._desk.ledger.shot_status(job.shot_id)),
            "takes": len(takes),
            "preset": job.shot.recipe.preset,
            "last": takes[-1].transitions[-1].words if takes else "",
        }


def _counts(desk: Desk) -> dict[str, int]:
    counts = {status.value: 0 for status in ShotStatus}
    for job in desk.jobs.values():
        counts[desk.ledger.shot_status(job.shot_id)] += 1
    return counts


def _ending(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in counts.items() if count) or "no shots"
