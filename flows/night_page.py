"""The night's page in Prefect: how far it is, where every shot stands, and what there is to see.

Each artifact is written once and then over: a night of ten hours would else leave two thousand
copies of its table in Prefect's database.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import get_run_logger

from flows.artifact import write, write_over
from flows.shown import QUEUE, address
from manifests.secret import error_words
from reports.errors import ReportError
from reports.media import take_pictures
from reports.records import TakeRecord, decisive
from reports.take import ShotStatus
from tasks.desk import Desk, Job

EVERY = 15.0
"""Seconds between two looks at the ledger; what has not changed is not written again."""
MOST_ROWS = 100
"""A longer table is no window on a night; all shots stand in the report and its CSV."""
_ORDER = (
    ShotStatus.FAILED,
    ShotStatus.HELD,
    ShotStatus.WORKING,
    ShotStatus.APPROVED,
    ShotStatus.WAITING,
)
"""What needs a person comes first: on many hosts what is in work alone fills the table."""
_OVER = frozenset({ShotStatus.FAILED, ShotStatus.HELD, ShotStatus.APPROVED})


class NightPage:
    """Progress and table of one night. A server that is away, or that gives no answer which can be
    read, costs the page, never the night."""

    def __init__(self, desk: Desk) -> None:
        """For use inside the night's flow."""
        self._desk = desk
        self._artifacts: dict[str, UUID] = {}
        self._said: dict[str, Any] = {}
        """What each artifact says."""

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Inside the block the page is never older than `EVERY`; after it, it is up to date."""
        keeping = asyncio.create_task(self._keep(), name="night page")
        try:
            yield
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping
        await self._look()

    async def _keep(self) -> None:
        while True:
            await self._begin()
            await self._look()
            await asyncio.sleep(EVERY)

    async def _look(self) -> None:
        try:
            await self.write()
        except ReportError as error:
            # What breaks in here would take the end of the night with it, and its report.
            get_run_logger().warning("this page is not up to date: %s", error_words(error))

    async def write(self) -> None:
        """Bring the page up to date. Raises ReportError where the ledger cannot be read."""
        ledger, jobs = self._desk.ledger, self._desk.jobs
        standings = {shot.id: shot.status for shot in ledger.standings(self._desk.night_id)}
        found = [(standings[job.shot_id], job) for job in jobs.values()]
        counts = Counter(status for status, _ in found)
        words = ", ".join(f"{counts[each]} {each}" for each in _ORDER if counts[each])
        over = sum(counts[status] for status in _OVER)
        share = 100.0 * over / len(found) if found else 100.0
        night, said = self._desk.night_id, f"{over} of {len(found)} shots over"
        await self._put("progress", f"progress-{night}", share, said)
        table = json.dumps(self._table(found))
        await self._put("table", f"night-{night}", table, f"Shots: {words or 'none'}")

    async def _begin(self) -> None:
        """A link to the queue, once, where our server shows it; the report takes its place."""
        queue, night = os.environ.get(QUEUE), self._desk.night_id
        key = f"rushes-{night}"
        if not queue or key in self._said:
            return
        text = f"# The queue of {night}\n\n- [What comes next, and its priority]({queue})\n"
        await self._put("markdown", key, text, "Change what comes next")
        if key in self._said:  # else the server is away: the next look tries again
            get_run_logger().info("Artifacts, %s: change what comes next", key)

    async def end(self, report: Path) -> None:
        """Links to the report and its table."""
        root, night = self._desk.studio.root, self._desk.night_id
        files = (report, report.with_name("rushes.csv"))
        links = [f"- {link(root, path)}" for path in files if path.is_file()]
        text = "\n".join([f"# The rushes of {night}", "", *links])
        await self._put("markdown", f"rushes-{night}", text, "The morning report")

    def _table(self, found: list[tuple[ShotStatus, Job]]) -> list[dict[str, Any]]:
        ranked = sorted(found, key=lambda each: (_ORDER.index(each[0]), each[1].position))
        rows = [self._row(status, job) for status, job in ranked[:MOST_ROWS]]
        if len(ranked) > MOST_ROWS:
            more = Counter(status for status, _ in ranked[MOST_ROWS:])
            said = ", ".join(f"{count} {status}" for status, count in more.items())
            last = "all of them stand in the report"
            rows.append({**dict.fromkeys(rows[0], ""), "shot": f"... {said}", "last": last})
        return rows

    def _row(self, status: ShotStatus, job: Job) -> dict[str, Any]:
        takes = self._desk.ledger.takes_of(job.shot_id)
        return {
            "shot": job.shot.id,
            "status": str(status),
            "takes": len(takes),
            "preset": job.shot.recipe.preset,
            "film": self._film(job, takes),
            "last": decisive(takes).transitions[-1].words if takes else "",
        }

    def _film(self, job: Job, takes: Sequence[TakeRecord]) -> str:
        """A link to what there is to see: the delivered file, else the last take's preview."""
        delivery = self._desk.ledger.delivery_of(job.shot_id)
        if delivery is not None:
            return link(self._desk.studio.root, delivery.delivery.path)
        for take in reversed(takes):
            film = None if take.receipt is None else take_pictures(take.receipt.clip)[1]
            if film is not None:
                return link(self._desk.studio.root, film)
        return ""

    async def _put(self, kind: str, key: str, data: Any, words: str) -> None:
        if self._said.get(key) == (data, words):
            return
        try:
            known = self._artifacts.get(key)
            if known is None or not await write_over(known, data, words):
                self._artifacts[key] = await write(kind, data, words, key=key)
            self._said[key] = (data, words)
        except Exception as error:
            # Whatever it is: a server that is away, or a proxy's own page in place of an answer.
            get_run_logger().warning("this page is not up to date: %s", type(error).__name__)


def link(root: Path, path: Path) -> str:
    """A file for people: a link where it can be looked at, else where it lies."""
    url = address(root, path)
    return f"`{path}`" if url is None else f"[{path.name}]({url})"
