"""`rushes run`: check, plan, then the night; and nothing at all where nothing is left to do."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

from rich.console import Console

from flows.inbox import scan_once
from flows.notify import notifier_for
from flows.prefect_env import prepare
from flows.progress import watcher_for
from flows.serving import serving
from flows.shown import begin
from flows.stopping import run_until_stopped
from flows.watch import ProgressFile, Watchers
from manifests.errors import BadInput, Fault
from manifests.settings import Studio, load_studio
from qc.studio_limits import read_limits
from reports.ledger_reads import LedgerReads
from reports.records import NightRecord
from reports.take import ShotStatus
from tasks.gpus import find_machine
from tasks.hours import NightHours
from tasks.inbox import accepted_sheets
from tasks.limits import check_limits, limits_path
from tasks.naming import arguments_key
from tasks.plan import Plan, disk_fault, make_plan, with_memory
from tasks.sheets import load_sheets

WELL, NOT_ALL_WELL = 0, 1


def run_night(
    manifests: Sequence[Path],
    *,
    root: Path,
    settings: Mapping[str, Any],
    skip_bad: bool,
    console: Console,
    now: bool = False,
) -> int:
    """Run, or go on with, a night over these sheets; returns the exit code.

    Without sheets it is the inbox's night. `now` runs it outside the studio's hours too.

    Raises BadInput when nothing could be started, LedgerBusy when another night runs here.
    """
    studio = load_studio(root, **settings)
    manifests = list(manifests) or _from_inbox(studio, console)
    NightHours(studio, ignore=now).check()
    plan, last = look(manifests, studio, skip_bad)
    if not plan.open_lines and (last is None or last.ended is not None):
        return _nothing_to_do(plan, last, studio, console)
    _name_limits(studio, console)
    with ExitStack() as stack:
        url = _server(stack, studio, console)
        if url is not None:
            # NOTE: set before Prefect is imported, which reads it once.
            os.environ["PREFECT_API_URL"] = f"{url}/api"
            console.print(f"Prefect UI while the night runs: {url}", highlight=False)
        result = _run(stack, manifests, studio, settings, skip_bad, now, console)
    return _tell(result, studio, console)


def _server(stack: ExitStack, studio: Studio, console: Console) -> str | None:
    """The address of this studio's server, started where there is none; None: the user's own."""
    if not prepare(studio.state_dir):
        return None
    served = serving(studio.state_dir)
    if served is not None and served.url:
        # Two servers would share one database.
        begin(studio.state_dir)
        return served.url
    from flows.prefect_server import embedded_server

    console.print("starting the Prefect server ...", style="dim")
    log = studio.state_dir / "prefect-server.log"
    server = embedded_server(port=studio.prefect_port, log=log, root=studio.root)
    return stack.enter_context(server)


def _name_limits(studio: Studio, console: Console) -> None:
    """Learned limits are never used silently."""
    learned = read_limits(limits_path(studio))
    for cell in () if learned is None else learned.cells:
        console.print(f"limits: {cell.words}", style="dim", highlight=False, markup=False)


def _from_inbox(studio: Studio, console: Console) -> list[Path]:
    """The sheets that were taken from the inbox, with what has just become whole."""
    for found in scan_once(studio):
        console.print(f"{found.name}: {found.fate}, {found.words}", highlight=False, markup=False)
    sheets = accepted_sheets(studio)
    if not sheets:
        problem = "no sheet is named, and none was taken from the inbox"
        remedy = f"name one (rushes run shots.csv), or drop one into {studio.inbox_dir}"
        raise BadInput([Fault(file=studio.accepted_dir, problem=problem, remedy=remedy)])
    return sheets


def look(
    manifests: Sequence[Path], studio: Studio, skip_bad: bool
) -> tuple[Plan, NightRecord | None]:
    """The plan, and the last night over these sheets; raises BadInput with every fault."""
    sheets = load_sheets(manifests, studio=studio)
    faults = [fault for sheet in sheets for fault in sheet.faults]
    if faults and not (skip_bad and any(sheet.shots for sheet in sheets)):
        raise BadInput(faults)
    last = None
    if not studio.ledger_path.exists():
        plan = make_plan(sheets, studio=studio, ledger=None)
    else:
        with LedgerReads(studio.ledger_path) as ledger:
            plan = make_plan(sheets, studio=studio, ledger=ledger)
            key = arguments_key(manifests, studio=studio)
            nights = [night for night in ledger.nights() if night.arguments_key == key]
            last = nights[-1] if nights else None
    # A card that is not there must be found now, not when the night has begun.
    find_machine(studio.device, studio.placement, rules=studio.cards)
    check_limits(studio)
    sound = len(plan.refused)
    plan = with_memory(plan, studio)
    if len(plan.refused) > sound and not (skip_bad and plan.lines):
        raise BadInput(plan.refused[sound:])
    fault = disk_fault(plan, studio)
    if fault is not None:
        raise BadInput([fault])
    return plan, last


def _run(
    stack: ExitStack,
    manifests: Sequence[Path],
    studio: Studio,
    settings: Mapping[str, Any],
    skip_bad: bool,
    now: bool,
    console: Console,
) -> dict[str, Any]:
    from prefect.logging.handlers import APILogWorker

    from flows.buttons import settle
    from flows.night import WATCHER, night

    view = stack.enter_context(watcher_for(console))
    watchers = Watchers(view, ProgressFile(studio.state_dir), *notifier_for(studio.notify))
    WATCHER.set(watchers)

    async def whole() -> dict[str, Any]:
        result = await night(
            manifests=[path.resolve() for path in manifests],
            root=studio.root,
            skip_bad=skip_bad,
            settings=dict(settings),
            now=now,
        )
        await settle(UUID(result["run"]), f"report: {result['report']}")
        return result

    try:
        result = run_until_stopped(whole())
    except BaseException as error:
        watchers.broke(error)
        raise
    else:
        watchers.ended(result["shots"], result["report"])
        return result
    finally:
        # The last lines must be on the page before the server is stopped.
        APILogWorker.drain_all(timeout=5)


def _tell(result: Mapping[str, Any], studio: Studio, console: Console) -> int:
    from reports.night_report import build_night_report
    from reports.terminal import print_summary

    with LedgerReads(studio.ledger_path) as ledger:
        print_summary(build_night_report(ledger, result["night"]), console)
    _last_line(console, result["report"])
    return _code(result["shots"], result["refused"])


def _nothing_to_do(plan: Plan, last: NightRecord | None, studio: Studio, console: Console) -> int:
    counts = {status.value: 0 for status in ShotStatus}
    for line in plan.lines:
        counts[line.status.value] += 1
    said = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    console.print(f"Nothing to do: {said}.", highlight=False)
    if last is not None:
        _last_line(console, str(studio.reports_dir / last.id / "index.html"))
    return _code(counts, len(plan.refused))


def _last_line(console: Console, page: str) -> None:
    # NOTE: written past rich, which would fold a long path: scripts read this line.
    console.file.write(f"{page}\n")
    console.file.flush()


def _code(counts: Mapping[str, int], refused: int) -> int:
    approved = counts[ShotStatus.APPROVED.value]
    return WELL if approved == sum(counts.values()) and not refused else NOT_ALL_WELL
