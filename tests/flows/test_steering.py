"""Priorities by the page beside Prefect's, on a night with real processes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from served import Serve, drop

from reports.ledger_reads import LedgerReads
from reports.take import TakeStatus
from tasks.control import read_control

pytestmark = pytest.mark.slow

SHOTS = [f"s{number}" for number in range(8)]


def queue_link(served: Serve, run: str) -> str | None:
    """The address on the night's page in Prefect that leads to the queue."""
    artifacts = {"flow_run_id": {"any_": [run]}, "type": {"any_": ["markdown"]}}
    for artifact in served.post("artifacts/filter", artifacts=artifacts):
        if found := re.search(r"\((/rushes/[^)]+/queue)\)", artifact["data"]):
            return found[1]
    return None


def begun(studio: Any) -> list[str]:
    """The shots in the order in which they began to be rendered."""
    with LedgerReads(studio.root / "rushes.db") as ledger:
        moments = []
        for record in ledger.shot_records(ledger.nights()[-1].id):
            for take in ledger.takes_of(record.id):
                moments += [
                    (step.at, record.shot.id)
                    for step in take.transitions
                    if step.after is TakeStatus.RENDERING
                ]
    return [shot for _, shot in sorted(moments)]


def test_a_shot_is_put_first_from_the_nights_page(studio: Any, serve: Callable[..., Serve]) -> None:
    """The night's page in Prefect leads to the queue; *First* there has the last shot rendered
    before others that waited, is kept as by `rushes priority`, and a stranger's form is refused.
    """
    served = serve()
    served.wait_until_it_serves()
    drop(
        studio, [{"shot": shot, "prompt": "pan [slow]", "preset": "three-stage"} for shot in SHOTS]
    )
    served.wait_for_file("inbox/accepted/shots.csv")
    run = served.start_night()
    link = served.wait_for(lambda: queue_link(served, run), "link to the queue")
    served.wait_for_file("takes/shots/s0/*/t1/stage1.safetensors")
    with httpx.Client(base_url=served.url, timeout=30.0) as browser:
        page = browser.get(link).text
        assert ">s7</th>" in page
        token = re.search(r'name="token" value="([^"]+)"', page)
        assert token is not None
        form = {"token": token[1], "shot": "shots/s7", "do": "first"}
        assert browser.post(link, data={**form, "token": "guessed"}).status_code == 403
        answer = browser.post(link, data=form)
        assert answer.status_code == 303
        page = browser.get(answer.headers["location"]).text
        assert "Priority of s7: 1 (its sheet says 0)." in page
    assert read_control(studio.root / ".rushes").priority == {"shots/s7": 1}
    served.wait_for(lambda: served.state_of(run) == "Completed", "the night's end", 300.0)
    order = begun(studio)
    assert sorted(order) == SHOTS
    assert order.index("s7") < order.index("s6")
    assert order.index("s7") < len(order) - 2
    assert queue_link(served, run) is None, "the report took its place"
    assert served.stop() == 0
    assert "Traceback" not in served.said
