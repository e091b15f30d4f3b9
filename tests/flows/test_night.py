"""The whole night through the real Prefect API, with a pool of fakes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_night import ledger, night_of, run, statuses
from fake_pool import FakePool
from waiting import LONG

from manifests.errors import BadInput
from reports.records import EventKind

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.slow]

FROZEN = {"frozen": 1.0}


def test_a_good_shot_is_delivered_with_its_sidecar(studio: Any) -> None:
    """One take, approved, delivered as v001; the sidecar tells recipe, scores and hashes."""
    result = night_of(studio, [{"shot": "001"}], FakePool())
    assert result["shots"]["approved"] == 1
    sidecar = json.loads((studio.root / "delivered/shots/001/001_v001.json").read_text())
    assert sidecar["shot"] == "001"
    assert sidecar["takes"][0]["verdict"]["decision"] == "approve"
    assert sidecar["recipe"]["frames"] == 17
    assert (studio.root / "delivered/shots/001/001_v001.mp4").exists()
    assert Path(result["report"]).exists()


def test_a_failed_picture_is_retaken_with_a_remedy(studio: Any) -> None:
    """Take 1 frozen, take 2 good: rejected with its reason, then approved with another seed."""
    pool = FakePool({"sh0010": [FROZEN]})
    night_of(studio, [{"shot": "sh0010"}], pool)
    assert statuses(studio, "sh0010") == ["rejected", "approved"]
    with ledger(studio) as book:
        first, second = book.takes_of(1)
    assert "frozen: a new seed" in second.remedy_words
    assert second.recipe.seed != first.recipe.seed


def test_a_shot_that_keeps_failing_is_held_with_its_best_take(studio: Any) -> None:
    """After three takes a person is asked, and told which take is the best."""
    pool = FakePool({"sh0010": [{"frozen": 1.0}, {"frozen": 0.6}, {"frozen": 0.9}]})
    result = night_of(studio, [{"shot": "sh0010"}], pool)
    assert result["shots"]["held"] == 1
    assert statuses(studio, "sh0010") == ["rejected", "rejected", "held"]
    with ledger(studio) as book:
        (note,) = book.events_of(kind=EventKind.NOTE)
    assert note.data["best_take"].endswith("/t2")


def test_a_take_that_a_person_approves_is_delivered_by_the_next_night(studio: Any) -> None:
    """Nothing is rendered again: take 2 of 3 becomes v001. Its sidecar says that a person approved
    it, and when; why stays in the house."""
    from manifests.settings import load_studio
    from tasks.approve import approve

    rows = [{"shot": "sh0010"}]
    night_of(studio, rows, FakePool({"sh0010": [FROZEN] * 3}))
    approve(load_studio(studio.root), "sh0010", 2, why="it is meant to stand still")
    pool = FakePool()
    result = night_of(studio, rows, pool)
    assert result["shots"]["approved"] == 1
    assert pool.rendered == []
    assert statuses(studio, "sh0010") == ["rejected", "approved", "held"]
    sidecar = json.loads((studio.root / "delivered/shots/sh0010/sh0010_v001.json").read_text())
    assert sidecar["take"] == 2
    first, second, third = (take["approved_by_hand"] for take in sidecar["takes"])
    assert (first, third) == (None, None)
    assert datetime.fromisoformat(second["at"]).tzinfo is not None
    assert "it is meant to stand still" not in json.dumps(sidecar)
    assert "it is meant to stand still" in Path(result["report"]).read_text()
    from flows.status import night_status

    (shot,) = night_status(studio.root)["shots"]
    assert shot["last"] == "approved by a person: it is meant to stand still"


def test_a_shots_run_is_found_by_the_verdict_that_it_stands_by(studio: Any) -> None:
    """Take 2 of 3 was approved by hand: the run that delivers it is tagged so, and its log speaks
    of that take; the run that held the shot keeps the tag of its last verdict."""
    from prefect.logging.handlers import APILogWorker

    from manifests.settings import load_studio
    from tasks.approve import approve

    rows = [{"shot": "tagged"}]
    night_of(studio, rows, FakePool({"tagged": [FROZEN] * 3}))
    approve(load_studio(studio.root), "tagged", 2, why="")
    night_of(studio, rows, FakePool())
    APILogWorker.drain_all(timeout=int(LONG))
    held, delivered = asyncio.run(runs_of("tagged"))
    assert [tag for tag in held.tags if tag.startswith("verdict:")] == ["verdict:hold"]
    assert [tag for tag in delivered.tags if tag.startswith("verdict:")] == ["verdict:by-hand"]
    assert delivered.said == ["take 2: approved. approved by a person"]


async def runs_of(shot: str) -> list[SimpleNamespace]:
    """The runs of a shot in Prefect, the oldest first: their tags, and what they logged."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas import filters
    from prefect.client.schemas.sorting import FlowRunSort

    name = filters.FlowRunFilterName(any_=[shot])
    async with get_client() as client:
        runs = await client.read_flow_runs(
            flow_run_filter=filters.FlowRunFilter(name=name), sort=FlowRunSort.START_TIME_ASC
        )
        found = []
        for run in runs:
            of_run = filters.LogFilterFlowRunId(any_=[run.id])
            logs = await client.read_logs(filters.LogFilter(flow_run_id=of_run))
            said = [log.message for log in logs if log.message.startswith("take ")]
            found.append(SimpleNamespace(tags=run.tags, said=said))
    return found


def test_nan_is_a_failed_picture_not_a_failed_machine(studio: Any) -> None:
    """NaN is judged without a clip, and the next take goes on with a remedy."""
    night_of(studio, [{"shot": "sh0010", "prompt": "pan left [nan]"}], FakePool())
    assert statuses(studio, "sh0010") == ["rejected", "approved"]


def test_a_machine_failure_is_the_same_take_again(studio: Any) -> None:
    """A worker that dies once costs a try, not a take; the ledger holds the failure by name."""
    night_of(studio, [{"shot": "sh0010", "prompt": "pan left [die once]"}], FakePool())
    assert statuses(studio, "sh0010") == ["approved"]
    with ledger(studio) as book:
        (event,) = book.events_of(kind=EventKind.MACHINE_FAILURE)
    assert event.data == {"error": "WorkerLost", "attempt": 1}


def test_a_machine_that_keeps_failing_fails_the_shot_and_the_night_goes_on(studio: Any) -> None:
    """Three tries out of memory: failed, by name; the next shot is delivered."""
    rows = [{"shot": "a", "prompt": "pan left [oom]"}, {"shot": "b"}]
    result = night_of(studio, rows, FakePool())
    assert (result["shots"]["failed"], result["shots"]["approved"]) == (1, 1)
    with ledger(studio) as book:
        assert len(book.events_of(kind=EventKind.MACHINE_FAILURE)) == 3


def test_what_a_retry_cannot_mend_is_not_retried(studio: Any) -> None:
    """A model that is not there fails its shot at the first try."""
    pool = FakePool()
    result = night_of(studio, [{"shot": "a", "prompt": "pan left [no model]"}], pool)
    assert result["shots"]["failed"] == 1
    assert len(pool.rendered) == 1


def test_the_next_night_tries_what_the_machine_failed_and_nothing_else(studio: Any) -> None:
    """A second night renders the failed shot again and leaves the approved one alone."""
    rows = [{"shot": "a", "prompt": "pan left [oom]"}, {"shot": "b"}]
    night_of(studio, rows, FakePool())
    pool = FakePool()
    night_of(studio, rows, pool)
    assert {take.split("/")[1] for take in pool.rendered} == {"a"}


def test_a_changed_row_is_new_work_and_a_new_version(studio: Any) -> None:
    """Another prompt for a delivered shot: v002 beside v001, which is as it was."""
    night_of(studio, [{"shot": "a"}], FakePool())
    first = studio.root / "delivered/shots/a/a_v001.mp4"
    before = first.stat().st_mtime_ns
    night_of(studio, [{"shot": "a", "prompt": "zoom in"}], FakePool())
    assert first.stat().st_mtime_ns == before
    assert (studio.root / "delivered/shots/a/a_v002.mp4").exists()


def test_a_bad_row_starts_nothing(studio: Any) -> None:
    """Without skip_bad nothing is rendered, and every fault is named."""
    sheet = studio.sheet([{"shot": "a"}, {"shot": "b", "frames": "many"}])
    pool = FakePool()
    import asyncio

    with pytest.raises(BadInput, match="frames"):
        asyncio.run(run(sheet, studio.root, pool))
    assert pool.rendered == []


def test_skip_bad_runs_the_good_rows_and_records_the_others(studio: Any) -> None:
    """With skip_bad the good row is delivered and the refused one is in the ledger."""
    import asyncio

    sheet = studio.sheet([{"shot": "a"}, {"shot": "b", "frames": "many"}])
    result = asyncio.run(run(sheet, studio.root, FakePool(), skip_bad=True))
    assert (result["shots"]["approved"], result["refused"]) == (1, 1)
    with ledger(studio) as book:
        (refused,) = book.events_of(kind=EventKind.REFUSED)
    assert refused.data["column"] == "frames"


def test_prefect_shows_names_that_a_person_can_read(studio: Any) -> None:
    """The UI lists the night, the shot and its takes by name, and the tags say what they are."""
    import asyncio

    from prefect import get_client

    async def names() -> tuple[set[str], set[str], set[str]]:
        async with get_client() as client:
            flows = await client.read_flow_runs()
            tasks = await client.read_task_runs()
        tags = {tag for run in flows for tag in run.tags}
        return {run.name for run in flows}, {run.name for run in tasks}, tags

    night_of(studio, [{"shot": "seq010_sh0020"}], FakePool({"seq010_sh0020": [FROZEN]}))
    wanted = {"render take 1", "score take 1", "render take 2", "finish take 2"}
    # The server writes task runs down in batches, a little later.
    deadline = time.monotonic() + LONG
    flow_names, task_names, tags = asyncio.run(names())
    while not wanted <= task_names and time.monotonic() < deadline:
        time.sleep(0.5)
        flow_names, task_names, tags = asyncio.run(names())
    assert "seq010_sh0020" in flow_names
    assert any(name.startswith("night 20") and name.endswith("shots") for name in flow_names)
    assert wanted <= task_names
    assert {"sheet:shots", "preset:pocket/single"} <= tags


def test_a_changed_sheet_adds_what_is_new_and_repeats_nothing(studio: Any) -> None:
    """The sheet of the inbox comes again with one more row and one changed: two shots render."""
    rows = [{"shot": "sh010"}, {"shot": "sh020"}]
    pool = FakePool()
    night_of(studio, rows, pool)
    changed = [{"shot": "sh010"}, {"shot": "sh020", "prompt": "tilt up"}, {"shot": "sh030"}]
    again = FakePool()
    result = night_of(studio, changed, again)
    assert result["shots"]["approved"] == 3
    assert sorted(take.split("/")[1] for take in again.rendered) == ["sh020", "sh030"]


def test_a_night_is_told_to_prometheus(studio: Any) -> None:
    """Takes by status, verdicts by class, time by part: read from the ledger over HTTP."""
    from urllib.request import urlopen

    from flows.metrics import metrics_server
    from manifests.settings import load_studio

    night_of(studio, [{"shot": "sh010"}, {"shot": "sh020"}], FakePool({"sh010": [FROZEN]}))
    with metrics_server(load_studio(studio.root), port=0) as url, urlopen(url) as answer:
        lines = answer.read().decode().splitlines()
    assert 'rushes_takes_total{preset="pocket/single",status="approved"} 2.0' in lines
    assert 'rushes_takes_total{preset="pocket/single",status="rejected"} 1.0' in lines
    assert 'rushes_verdicts_total{decision="retake",failure="frozen"} 1.0' in lines
    assert "rushes_retakes_total 1.0" in lines
    assert 'rushes_night_shots{status="approved"} 2.0' in lines
    assert "rushes_queue_shots 0.0" in lines
    assert "rushes_night_open 0.0" in lines
    assert 'rushes_work_pieces_total{model="pocket-wan",part="stage 1"} 3.0' in lines
    assert url.startswith("http://127.0.0.1:")


def hours(studio: Any, *, opens: timedelta, closes: timedelta) -> None:
    """Give the studio hours around this minute."""
    minute = datetime.now(UTC)
    start, end = ((minute + each).strftime("%H:%M") for each in (opens, closes))
    text = f'window: {{start: "{start}", end: "{end}", timezone: UTC}}\n'
    (studio.root / "studio.yaml").write_text(text)


def test_what_does_not_fit_the_night_waits_and_is_first_in_the_next(studio: Any) -> None:
    """A shot of an hour is not begun ten minutes before the end; the short one still renders."""
    from manifests.load import load_manifest
    from manifests.settings import load_studio
    from tasks.plan import make_plan

    hours(studio, opens=timedelta(hours=-2), closes=timedelta(minutes=12))
    rows = [
        {"shot": "short", "frames": "5"},
        {"shot": "long", "frames": "33", "width": "256", "height": "256", "preset": "endless"},
    ]
    preset = "title: Endless\nfamily: pocket\nwidth: 256\nheight: 256\nframes: 33\nfps: 8\n"
    preset += "stages:\n" + "  - {kind: renoise, steps: 200, cfg: 1.5, shift: 3.0}\n"
    (studio.root / "presets/pocket").mkdir(parents=True)
    (studio.root / "presets/pocket/endless.yaml").write_text(preset)
    with (studio.root / "studio.yaml").open("a") as file:
        file.write("presets_dir: presets\n")
    pool = FakePool()
    result = night_of(studio, rows, pool)
    assert result["shots"]["approved"] == 1
    assert [take.split("/")[1] for take in pool.rendered] == ["short"]
    with ledger(studio) as book:
        (event,) = book.events_of(kind=EventKind.POSTPONED)
        assert event.words.startswith("waits for the next night:")
        found = load_studio(studio.root)
        sheet = load_manifest(studio.sheet([*rows, {"shot": "new"}]), studio=found)
        plan = make_plan([sheet], studio=found, ledger=book)
    assert [line.shot.id for line in plan.open_lines] == ["long", "new"]


def test_outside_the_hours_nothing_is_started(studio: Any) -> None:
    """The refusal says when the hours begin; `now` runs the night all the same."""
    hours(studio, opens=timedelta(hours=2), closes=timedelta(hours=3))
    pool = FakePool()
    with pytest.raises(BadInput, match=r"hours begin .* run it then, or now with --now"):
        night_of(studio, [{"shot": "sh010"}], pool)
    assert pool.rendered == []
    assert night_of(studio, [{"shot": "sh010"}], pool, now=True)["shots"]["approved"] == 1


class Spoken(FakePool):
    """A pool that has something to say of its cards."""

    def on_news(self, tell: Callable[[str], None]) -> None:
        tell("Card #1 renders no more takes tonight")

    def on_renewal(self, tell: Callable[[str], None]) -> None:
        tell("worker card-0 was started anew between two takes: its memory grew")


def test_what_becomes_of_a_card_is_in_the_ledger_the_status_and_the_report(studio: Any) -> None:
    """In the words in which it was told; whoever watches the night hears it at once."""
    from flows.night import WATCHER
    from flows.status import night_status
    from flows.watch import Watcher

    class Heard(Watcher):
        def news(self, words: str) -> None:
            heard.append(words)

    heard: list[str] = []
    token = WATCHER.set(Heard())
    result = night_of(studio, [{"shot": "sh010"}], Spoken())
    WATCHER.reset(token)
    assert heard == ["Card #1 renders no more takes tonight"]
    with ledger(studio) as book:
        (event,) = book.events_of(kind=EventKind.CARD)
    assert event.words == "Card #1 renders no more takes tonight"
    assert night_status(studio.root)["cards"] == [event.words]
    assert event.words in Path(result["report"]).read_text()


def test_a_worker_that_was_started_anew_is_noted_in_the_ledger(studio: Any) -> None:
    """For whoever asks why a model was loaded again; nobody is called for it."""
    night_of(studio, [{"shot": "sh010"}], Spoken())
    with ledger(studio) as book:
        notes = [event.words for event in book.events_of(kind=EventKind.NOTE)]
    assert notes == ["worker card-0 was started anew between two takes: its memory grew"]


def test_a_take_that_runs_over_goes_on_in_the_next_night(
    studio: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end of the hours it is queued again, not failed; nothing is retried tonight, and the
    next night goes on with the very take."""
    from manifests.window import Gate
    from render.errors import OutOfHours
    from tasks.hours import NightHours

    class Late(FakePool):
        async def render(self, order: Any, **more: Any) -> Any:
            self.rendered.append(order.take_id)
            raise OutOfHours("the night's hours ended in stage 1, after step 5 of 12")

    pool = Late()
    with monkeypatch.context() as evening:
        over = Gate(open=False, words="waits for the next night: this one is over")
        gate = lambda _self, _seconds: over if pool.rendered else Gate(open=True, words="")  # noqa: E731
        evening.setattr(NightHours, "gate", gate)
        result = night_of(studio, [{"shot": "sh010"}], pool)
    assert result["shots"]["working"] == 1
    assert len(pool.rendered) == 1
    assert statuses(studio, "sh010") == ["queued"]
    with ledger(studio) as book:
        (event,) = book.events_of(kind=EventKind.POSTPONED)
        assert not book.events_of(kind=EventKind.MACHINE_FAILURE)
    assert "after step 5 of 12" in event.words
    again = FakePool()
    night_of(studio, [{"shot": "sh010"}], again)
    assert again.rendered == pool.rendered
    assert statuses(studio, "sh010") == ["approved"]
