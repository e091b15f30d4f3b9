"""Looks after stage 1, in a night: a lost take stops there and its retake follows at once."""

from __future__ import annotations

import asyncio
import csv
import json
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from fake_pool import FakePool

from manifests.candidates import candidate_seeds
from render.order import Spent
from reports.ledger_reads import LedgerReads
from reports.records import EventKind, EventRecord, TakeRecord
from reports.timing import phases_of, phases_spent

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.slow]

SHOT = {"shot": "sh0010", "preset": "two-stage"}


def _night(studio: Any, row: dict[str, Any], **scripts: Any) -> dict[str, Any]:
    from flows.night import POOL, night

    pool = FakePool(**scripts)

    async def run() -> dict[str, Any]:
        token = POOL.set(lambda _studio, _listener: pool)
        try:
            return await night(manifests=[studio.sheet([{**SHOT, **row}])], root=studio.root)
        finally:
            POOL.reset(token)

    return asyncio.run(run())


def _takes(studio: Any) -> tuple[list[TakeRecord], list[EventRecord]]:
    with LedgerReads(studio.root / "rushes.db", must_exist=True) as book:
        return book.takes_of(1), book.events_of(kind=EventKind.NOTE)


def _work(studio: Any, take: int) -> list[str]:
    (log,) = (studio.root / "takes").rglob(f"t{take}/work.log")
    return log.read_text().split("\n")[:-1]


def _preset(studio: Any, name: str, more: str) -> dict[str, str]:
    """A preset of the studio: the bundled two stages and what is added."""
    bundled = Path(__file__).parents[2] / "manifests/presets/pocket/two-stage.yaml"
    path = studio.root / "presets/pocket" / f"{name}.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(f"{bundled.read_text()}{more}\n")
    (studio.root / "studio.yaml").write_text("presets_dir: presets\n")
    return {"preset": name}


def test_a_lost_take_stops_and_is_retaken(studio: Any) -> None:
    """Take 1 stands still: rejected as frozen behind stage 1, with its numbers and its strip, no
    clip and no second stage. Take 2 has another seed and is delivered; the page tells it."""
    result = _night(studio, {"prompt": "pan left [frozen]"})
    assert result["shots"]["approved"] == 1
    (first, second), notes = _takes(studio)
    assert [take.status.value for take in (first, second)] == ["rejected", "approved"]
    assert (first.receipt, first.scorecard) == (None, None)
    assert first.verdict is not None
    assert first.verdict.failure == "frozen"
    assert first.verdict.thresholds.startswith("early ")
    assert "stands still after its first stage" in first.verdict.reasons[0]
    assert {f.metric: f.value for f in first.verdict.findings}["frozen"] == 1.0
    assert "frozen: a new seed" in second.remedy_words
    assert "stage 1 fails already" in second.remedy_words
    assert _work(studio, 1) == ["stage 1"]
    assert _work(studio, 2) == ["stage 1", "stage 2"]
    (stopped,) = [note for note in notes if note.take_id == first.take_id]
    assert stopped.words.startswith("stopped after stage 1")
    assert [Path(path).name for path in stopped.data["strips"]] == ["stage-1.jpg"]
    spent = Spent.from_dict(stopped.data["spent"])
    assert spent.seconds == 4.0
    with (Path(result["report"]).parent / "rushes.csv").open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert second.receipt is not None
    phases = [*phases_spent(spent), *phases_of(second.receipt)]
    assert float(row["seconds"]) == pytest.approx(sum(each.seconds for each in phases), abs=0.01)
    (look,) = second.receipt.looks
    assert look.words == "nothing to object to"
    page = unescape(Path(result["report"]).read_text(encoding="utf-8"))
    assert "stands still after its first stage" in page


def test_the_last_take_is_never_stopped(studio: Any) -> None:
    """Where no other take may follow, a person gets a clip to look at."""
    (studio.root / "studio.yaml").write_text("max_takes: 1\n")
    _night(studio, {"prompt": "pan left [frozen]"})
    ((only,), _) = _takes(studio)
    assert only.receipt is not None
    assert only.receipt.looks[0].words.startswith("stands still")


@pytest.mark.parametrize("row", [{"prompt": "static shot [frozen]"}, {"preset": "single"}])
def test_what_is_not_looked_for_is_rendered(row: dict[str, str], studio: Any) -> None:
    """Stillness that was asked for, and a take without a later stage, go on."""
    _night(studio, {"prompt": "pan left [frozen]", **row})
    ((only,), _) = _takes(studio)
    assert only.receipt is not None


def test_a_preset_can_do_without(studio: Any) -> None:
    """`early: false`: nobody looks, and the take is judged by its clip."""
    row = _preset(studio, "calm", "early: false")
    _night(studio, {"prompt": "pan left [frozen]", **row})
    ((only,), _) = _takes(studio)
    assert only.receipt is not None
    assert only.receipt.looks == ()


def test_the_best_of_three_seeds_is_delivered(studio: Any) -> None:
    """`candidates: 3`: the seed that stands still is not gone on with; receipt, sidecar and page
    say which seed was, and all three are told of."""
    row = _preset(studio, "three", "candidates: 3")
    result = _night(studio, {"prompt": "pan left [frozen seed]", **row})
    ((only,), _) = _takes(studio)
    assert only.recipe.candidates == 3
    assert only.receipt is not None
    looks = only.receipt.looks
    assert [look.seed for look in looks] == list(candidate_seeds(only.recipe.seed, 3))
    assert [look.failure for look in looks] == ["frozen", None, None]
    assert [look.chosen for look in looks].count(True) == 1
    assert not looks[0].chosen
    chosen = next(look.seed for look in looks if look.chosen)
    page = unescape(Path(result["report"]).read_text(encoding="utf-8"))
    assert f"seed {chosen}, the best of 3" in page
    sidecar = json.loads(
        next((studio.root / "delivered").rglob("*_v001.json")).read_text(encoding="utf-8")
    )
    assert str(chosen) in json.dumps(sidecar)
