"""Write the morning report of a night from the ledger alone."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.desk import desk
from tasks.night_book import write_report


@task(name="report", task_run_name="morning report", cache_policy=NO_CACHE, persist_result=False)
async def report_night() -> str:
    """Write the report of this night; returns the path of its page."""
    night = desk()
    return str(write_report(night.studio, night.ledger, night.night_id))
