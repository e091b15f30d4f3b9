"""Write the morning report of a night from the ledger alone."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from reports.morning import write_morning
from reports.night_report import build_night_report
from tasks.desk import desk


@task(name="report", task_run_name="morning report", cache_policy=NO_CACHE, persist_result=False)
async def report_night() -> str:
    """Write the report of this night; returns the path of its page."""
    night = desk()
    report = build_night_report(night.ledger, night.night_id)
    page: Path = write_morning(report, night.studio.reports_dir / night.night_id)
    return str(page)
