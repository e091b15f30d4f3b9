"""A whole night with a pool of fakes, and what it left in the ledger."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from fake_pool import FakePool

from reports.ledger_reads import LedgerReads


async def run(
    sheet: Path, root: Path, pool: FakePool, *, skip_bad: bool = False, now: bool = False
) -> dict[str, Any]:
    """The night's flow over a sheet, inside Prefect's API; what it returns."""
    # NOTE: Prefect is loaded by the tests that run a night, not by those that are collected.
    from flows.night import POOL, night

    token = POOL.set(lambda _studio, _listener: pool)
    try:
        return await night(manifests=[sheet], root=root, skip_bad=skip_bad, now=now)
    finally:
        POOL.reset(token)


def night_of(
    studio: Any, rows: list[dict[str, Any]], pool: FakePool, *, now: bool = False
) -> dict[str, Any]:
    """`run` over a sheet of these rows, `shots.csv` in the studio's root."""
    return asyncio.run(run(studio.sheet(rows), studio.root, pool, now=now))


def ledger(studio: Any) -> LedgerReads:
    """The ledger that the night wrote."""
    return LedgerReads(studio.root / "rushes.db", must_exist=True)


def statuses(studio: Any, shot: str) -> list[str]:
    """The statuses of a shot's takes in the latest night, in order."""
    with ledger(studio) as book:
        last = book.nights()[-1]
        (record,) = [each for each in book.shot_records(last.id) if each.shot.id == shot]
        return [take.status.value for take in book.takes_of(record.id)]
