"""The studio's night as Prefect starts it: on its schedule, from its page, or by `rushes serve`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import flow, get_run_logger, runtime
from prefect.client.schemas import State
from prefect.states import Completed

from flows.buttons import end_state
from flows.inbox import scan_once
from flows.night import WATCHER, night, night_name
from flows.notify import notifier_for
from flows.run import look
from flows.served import belong_to_server
from flows.stopping import stops_heard
from flows.watch import ProgressFile, Watchers
from manifests.errors import BadInput
from manifests.settings import Studio, load_studio
from reports.take import ShotStatus
from tasks.hours import NightHours
from tasks.inbox import Fate, accepted_sheets

EARLY_SECONDS = 300.0
"""A run that is here so little before the hours begin waits for them."""


def _run_name() -> str:
    return night_name(Path(runtime.flow_run.parameters["root"]), datetime.now(UTC))


@flow(name="studio-night", flow_run_name=_run_name, persist_result=False)
async def studio_night(root: Path, skip_bad: bool = True, now: bool = False) -> State[Any]:
    """A night over the sheets of the studio's inbox.

    Args:
        root: The studio's folder. Leave it as it is: a run for another one is refused.
        skip_bad: Leave out lines that cannot be rendered, and say so in the report; otherwise one
            such line keeps the whole night from beginning.
        now: Run outside the studio's hours too, without an end.
    """
    belong_to_server(root)
    with stops_heard():
        return await _studio_night(root, skip_bad, now)


async def _studio_night(root: Path, skip_bad: bool, now: bool) -> State[Any]:
    studio, log = load_studio(root), get_run_logger()
    await _until_the_hours(studio, now)
    try:
        NightHours(studio, ignore=now).check()
    except BadInput as error:
        # A schedule's run that comes late: after an outage all that was missed comes at once.
        return Completed(name="OutsideHours", message=str(error))
    for found in await asyncio.to_thread(scan_once, studio):
        if found.fate is not Fate.GROWING:
            log.info("inbox: %s %s, %s", found.name, found.fate, found.words)
    sheets = accepted_sheets(studio)
    if not sheets:
        words = f"no sheet was taken yet; drop one into {studio.inbox_dir}"
        return Completed(name="NothingToDo", message=words)
    watchers = Watchers(ProgressFile(studio.state_dir), *notifier_for(studio.notify))
    try:
        plan, last = await asyncio.to_thread(look, sheets, studio, skip_bad)
        if not plan.open_lines and (last is None or last.ended is not None):
            words = f"all {len(plan.lines)} shots of {len(sheets)} sheets are done"
            return Completed(name="NothingToDo", message=words)
        WATCHER.set(watchers)
        # NOTE: the flow's own function: as a flow it would be a page between this and its shots.
        result = await night.fn(manifests=sheets, root=root, skip_bad=skip_bad, now=now)
    except BaseException as error:  # told, and raised again: a stop is not swallowed
        watchers.broke(error)
        raise
    watchers.ended(result["shots"], result["report"])
    return await end_state(UUID(result["run"]), _state(result))


async def _until_the_hours(studio: Studio, now: bool) -> None:
    """Wait for the hours where they begin in a moment: runs are made ready before their time."""
    window, instant = studio.window, datetime.now(UTC)
    if now or window is None or window.now(instant) is not None:
        return
    left = (window.next(instant).opens - instant).total_seconds()
    if left <= EARLY_SECONDS:
        await asyncio.sleep(left + 0.05)


def _state(result: Mapping[str, Any]) -> State[Any]:
    counts: dict[str, int] = result["shots"]
    words = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    if refused := result["refused"]:
        words += f", {refused} refused"
    well = counts[ShotStatus.APPROVED.value] == sum(counts.values()) and not refused
    message = f"{words or 'no shots'}; report: {result['report']}"
    return Completed(name="Completed" if well else "NotAllWell", message=message)
