"""A studio served with PostgreSQL. Wants an empty database of its own:

TEST_POSTGRES_URL=postgresql+asyncpg://user:password@127.0.0.1/database pytest ...
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from served import Serve, drop, statuses

from reports.take import ShotStatus

URL = os.environ.get("TEST_POSTGRES_URL")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(URL is None, reason="TEST_POSTGRES_URL names no database"),
]


def test_a_night_is_served_with_postgresql(studio: Any, serve: Callable[..., Serve]) -> None:
    """Served twice over one database: the deployment and the night's page are still there, and
    nothing of Prefect's lies in the root but its home folder."""
    assert URL is not None
    database = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": URL}
    served = serve(**database)
    served.wait_until_it_serves()
    drop(studio, [{"shot": "a"}, {"shot": "b"}])
    served.wait_for_file("inbox/accepted/shots.csv")
    run = served.start_night()
    served.wait_for(lambda: served.state_of(run) == "Completed", "the night's end", 300.0)
    assert set(statuses(studio).values()) == {ShotStatus.APPROVED}
    assert served.stop() == 0
    assert not list(studio.root.glob(".rushes/prefect/*.db"))
    served = serve(**database)
    served.wait_for(lambda: served.said.count("no hours are set") == 2, "second start", 180.0)
    assert served.state_of(run) == "Completed"
    assert served.stop() == 0
