"""`rushes serve` with real processes, a real Prefect server and fake renders."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from served import Serve, drop, last_night, statuses
from waiting import LONG

from flows.serving import serving
from reports.ledger_reads import LedgerReads
from reports.take import ShotStatus

pytestmark = pytest.mark.slow


def test_a_night_that_is_cancelled_in_prefect_keeps_what_is_done(
    studio: Any, serve: Callable[..., Serve]
) -> None:
    """Taken from the inbox, started through the API, one shot delivered, then cancelled: the
    night ends in the ledger with its report, by whom ever, and is not taken up again.
    """
    served = serve()
    served.wait_until_it_serves()
    slow = {"prompt": "pan [slow]", "preset": "three-stage"}
    # A minute of work: on a machine that is busy a cancel is heard of late.
    drop(studio, [{"shot": "a", "priority": 9}, *({"shot": f"b{n}", **slow} for n in range(24))])
    served.wait_for_file("inbox/accepted/shots.csv")
    run = served.start_night()
    served.wait_for_file("delivered/shots/a/a_v001.json")
    cancelling = {"type": "CANCELLING", "name": "Cancelling"}
    answer = served.post(f"flow_runs/{run}/set_state", state=cancelling)
    assert answer["status"] == "ACCEPT", f"the night was over before it was cancelled: {answer}"
    served.wait_for(lambda: last_night(studio).ended, "the closed night")
    served.wait_for(lambda: served.state_of(run) == "Cancelled", "Cancelled on the page")
    assert statuses(studio)["a"] is ShotStatus.APPROVED
    night = last_night(studio)
    assert night.words.startswith("cancelled in Prefect: ")
    served.wait_for_file(f"reports/{night.id}/index.html")
    (shot,) = served.post("flow_runs/filter", flow_runs={"name": {"any_": ["a"]}})
    tags = dict(tag.split(":", 1) for tag in shot["tags"])
    assert tags["sheet"] == "shots"
    assert tags["model"] == "pocket-wan"
    assert tags["preset"]
    assert tags["verdict"] == "approve"
    assert tags["gpu"]
    second = Serve(studio.root, dict(os.environ))
    assert second.process.wait(timeout=LONG) == 2
    assert f"is served by process {served.process.pid}, {served.url}" in served.said
    assert served.stop(signal.SIGINT) == 0
    assert "Traceback" not in served.said
    assert serving(studio.root / ".rushes") is None


def test_a_start_that_was_missed_is_made_up_and_a_stop_costs_nothing(
    studio: Any, serve: Callable[..., Serve]
) -> None:
    """Started inside the hours, it begins the night by itself; stopped in the middle, the next
    start takes the same night up and ends it, with nothing rendered twice. Its cron is scheduled.
    """
    hours = {"RUSHES_WINDOW": '{"start": "00:00", "end": "00:00", "timezone": "UTC"}'}
    slow = {"prompt": "pan [slow]", "preset": "three-stage"}
    drop(studio, [{"shot": "a", **slow}, {"shot": "b", **slow}])
    served = serve(**hours)
    served.wait_for_file("takes/shots/a/*/t1/stage1.safetensors")
    assert served.listens_at() == {"127.0.0.1"}
    assert served.stop() == 0
    with LedgerReads(studio.root / "rushes.db", must_exist=True) as ledger:
        (night,) = ledger.nights()
    assert night.ended is None

    served = serve(**hours)
    served.wait_until_it_serves()
    served.wait_for_file(f"reports/{night.id}/index.html")
    served.wait_for(lambda: served.nights()[-1]["state_name"] == "Completed", "the night's end")
    assert {run["name"] for run in served.nights()} == {f"night {night.id}"}
    assert [run["state_name"] for run in served.nights()] == ["Crashed", "Completed"]
    assert set(statuses(studio).values()) == {ShotStatus.APPROVED}
    for log in studio.root.glob("takes/**/work.log"):
        lines = log.read_text().splitlines()
        assert len(lines) == len(set(lines)), f"{log}: {lines}"
    scheduled = served.post(
        "flow_runs/filter",
        flow_runs={"state": {"type": {"any_": ["SCHEDULED"]}}},
        sort="EXPECTED_START_TIME_ASC",
    )
    assert scheduled, "cron has made no run"
    assert all("T00:00:00" in run["expected_start_time"] for run in scheduled)
    assert served.stop() == 0
    assert "Traceback" not in served.said


def test_settings_that_are_wrong_for_a_while_do_not_cost_the_night(
    studio: Any, serve: Callable[..., Serve]
) -> None:
    """Said where it is served, and the night begins as soon as they are mended."""
    served = serve(RUSHES_WINDOW='{"start": "00:00", "end": "00:00", "timezone": "UTC"}')
    served.wait_for(lambda: "the hours of" in served.said, "first words")
    settings = studio.root / "studio.yaml"
    before = settings.read_text() if settings.exists() else ""
    settings.write_text(f"{before}\nmax_takes: zero\n")
    drop(studio, [{"shot": "a"}])
    served.wait_for(lambda: "'zero' is refused" in served.said, "a word of the settings")
    assert "tried again until they can" in served.said
    assert served.nights() == []
    settings.write_text(before)
    served.wait_for_file("delivered/shots/a/a_v001.json")
    assert served.stop() == 0


def test_a_stop_that_comes_while_it_starts_is_heeded(serve: Callable[..., Serve]) -> None:
    """Before its runner is up, serve ends as it does later: here on its first start in a root."""
    served = serve(first=True)
    served.wait_until_it_serves()
    assert served.stop() == 0
    assert "Traceback" not in served.said
