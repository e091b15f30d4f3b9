"""The buttons of Prefect's pages, by what they send, on nights with real processes."""

from __future__ import annotations

import asyncio
import errno
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import httpx
import psutil
import pytest
from counted_looks import looks_of
from free_port import free_port
from ledger_maker import Maker
from served import Serve, asked, drop, last_night, renders, statuses
from waiting import in_time

from reports.ledger_reads import LedgerReads
from reports.records import EventKind
from reports.take import ShotStatus, TakeStatus

pytestmark = pytest.mark.slow

SLOW = {"prompt": "pan [slow]", "preset": "three-stage"}
CANCELLING = {"type": "CANCELLING", "name": "Cancelling"}


def suspended() -> dict[str, Any]:
    """What the page's Suspend sends: rescheduled when resumed, and failed after five minutes."""
    until = (datetime.now(UTC) + timedelta(seconds=300)).isoformat()
    details = {"pause_timeout": until, "pause_reschedule": True}
    return {"type": "PAUSED", "name": "Suspended", "state_details": details}


def said_paused(root: Path) -> bool:
    path = root / ".rushes/control.json"
    return path.exists() and bool(json.loads(path.read_text())["paused"])


def nights_of(served: Serve) -> list[int]:
    """Processes of the nights that run."""
    return [each.pid for each in served.family() if _is_night(each)]


def _is_night(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return "prefect.engine" in process.cmdline()
    return False


def test_a_suspended_night_waits_in_its_process_and_goes_on_when_resumed(
    studio: Any, serve: Callable[..., Serve]
) -> None:
    """Suspend becomes a pause without an end, told on the page and to `rushes`; nothing begins
    meanwhile; Resume goes on in the same process, and every shot has a page of its own.
    """
    served = serve()
    served.wait_until_it_serves()
    drop(studio, [{"shot": f"s{n}", **SLOW} for n in range(5)])
    served.wait_for_file("inbox/accepted/shots.csv")
    run = served.start_night()
    served.wait_for_file("takes/shots/s0/*/t1/stage1.safetensors")
    process = nights_of(served)
    answer = served.post(f"flow_runs/{run}/set_state", state=suspended())
    assert answer["status"] == "ACCEPT"
    served.wait_for(lambda: said_paused(studio.root), "pause")
    served.wait_for(lambda: served.state_of(run) == "Paused", "Paused on the page")
    state = served.run(run)["state"]
    assert state["message"].startswith("Nothing new is started")
    assert state["state_details"]["pause_timeout"] is None
    served.wait_for(lambda: not renders(studio), "the end of what was in work")
    begun = len(list(studio.root.glob("takes/shots/*")))
    for _ in range(2):  # each is a look at the page, and what waits looks twice as often
        said_again = served.post(f"flow_runs/{run}/set_state", state=suspended(), force=True)
        assert said_again["status"] == "ACCEPT"
        served.wait_for(lambda: served.state_of(run) == "Paused", "a look at the page")
    assert len(list(studio.root.glob("takes/shots/*"))) == begun < 5
    assert served.state_of(run) == "Paused"
    served.post(f"flow_runs/{run}/resume")
    served.wait_for(lambda: not said_paused(studio.root), "resumed")
    assert nights_of(served) == process
    served.wait_for(lambda: served.state_of(run) == "Completed", "the night's end", 300.0)
    assert set(statuses(studio).values()) == {ShotStatus.APPROVED}
    pages = served.post("flow_runs/filter", flow_runs={"parent_flow_run_id": {"any_": [run]}})
    assert sorted(page["name"] for page in pages) == [f"s{n}" for n in range(5)]
    assert {page["state_name"] for page in pages} == {"Approved"}
    (record,) = LedgerReads(studio.root / "rushes.db").nights()
    assert record.ended is not None


def test_a_shot_that_is_cancelled_on_its_page_ends_alone(
    studio: Any, serve: Callable[..., Serve]
) -> None:
    """What it has rendered is kept, its page says Cancelled, the others are delivered."""
    served = serve()
    served.wait_until_it_serves()
    drop(studio, [{"shot": "a", **SLOW}, {"shot": "b", **SLOW}])
    served.wait_for_file("inbox/accepted/shots.csv")
    run = served.start_night()
    served.wait_for_file("takes/shots/a/*/t1/stage1.safetensors")
    (page,) = served.post("flow_runs/filter", flow_runs={"name": {"any_": ["a"]}})
    assert served.post(f"flow_runs/{page['id']}/set_state", state=CANCELLING)["status"] == "ACCEPT"
    served.wait_for(lambda: served.state_of(page["id"]) == "Cancelled", "Cancelled on the page")
    served.wait_for(lambda: served.state_of(run) == "NotAllWell", "the night's end", 300.0)
    found = statuses(studio)
    assert found["b"] is ShotStatus.APPROVED
    assert list(studio.root.glob("takes/shots/a/*/t1/stage1.safetensors"))


def _cancel_behind_the_first(root: Path, process: subprocess.Popen[str], port: int) -> None:
    """Press Cancel on the night's page when its first shot is delivered."""
    deadline = time.monotonic() + 300
    while not list(root.glob("delivered/shots/s0/*.json")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    api = f"http://127.0.0.1:{port}/api"
    runs = asked(f"{api}/flow_runs/filter", {})
    (night,) = [run for run in runs if run["name"].startswith("night")]
    answer = asked(f"{api}/flow_runs/{night['id']}/set_state", {"state": CANCELLING})
    assert answer["status"] == "ACCEPT"


def test_cancel_ends_a_night_that_a_person_runs(studio: Any, fake_workers: dict[str, str]) -> None:
    """Nobody else listens to its page: it ends at the end of the steps in work, with its report."""
    port = free_port()
    own = {name: value for name, value in fake_workers.items() if not name.startswith("PREFECT_")}
    sheet = studio.sheet([{"shot": f"s{n}", **SLOW} for n in range(24)])
    with subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "run", str(sheet), "--root", str(studio.root)],
        env={**own, "RUSHES_PREFECT_PORT": str(port), "RUSHES_DEVICE": "cpu"},
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            _cancel_behind_the_first(studio.root, process, port)
            said, _ = process.communicate(timeout=300)
        finally:
            process.kill()
    assert process.returncode == 1, said
    assert "Traceback" not in said
    with LedgerReads(studio.root / "rushes.db") as ledger:
        (record,) = ledger.nights()
    assert record.ended is not None
    found = statuses(studio)
    assert found["s0"] is ShotStatus.APPROVED
    assert ShotStatus.WAITING in found.values()
    assert (studio.root / "reports" / record.id / "index.html").exists()


def takes_of_b(studio: Any) -> list[TakeStatus]:
    """Where the takes of the shot `b` stand."""
    with LedgerReads(studio.root / "rushes.db") as ledger:
        (known,) = [r for r in ledger.shot_records(ledger.nights()[-1].id) if r.shot.id == "b"]
        return [take.status for take in ledger.takes_of(known.id)]


def test_a_night_ends_itself_where_the_runner_does_not(
    studio: Any, serve: Callable[..., Serve]
) -> None:
    """Cancel on the page while the process with Prefect's runner stands still: the night ends by
    itself, with its report. What is delivered stays, a take that would go on for minutes is cut and
    is queued again with its checkpoint; the pages say Cancelled, and when the runner wakes nothing
    is begun anew.
    """
    served = serve(module="counted_looks")
    served.wait_until_it_serves()
    drop(studio, [{"shot": "a", "priority": 9}, {"shot": "b", **SLOW, "prompt": "pan [long]"}])
    served.wait_for_file("inbox/accepted/shots.csv")
    run = served.start_night()
    served.wait_for_file("delivered/shots/a/a_v001.json")
    served.wait_for_file("takes/shots/b/*/t1/stage1.safetensors")
    assert nights_of(served)
    served.process.send_signal(signal.SIGSTOP)
    assert served.post(f"flow_runs/{run}/set_state", state=CANCELLING)["status"] == "ACCEPT"
    served.wait_for(lambda: served.state_of(run) == "Cancelled", "Cancelled on the page")
    night = last_night(studio)
    assert night.ended is not None
    assert night.words == "cancelled in Prefect: 1 working, 1 approved"
    assert (studio.root / "reports" / night.id / "index.html").exists()
    (page,) = served.post("flow_runs/filter", flow_runs={"name": {"any_": ["b"]}})
    assert (page["state_name"], page["state"]["message"]) == (
        "Cancelled",
        "The night was cancelled; what is finished and its checkpoints are kept.",
    )
    assert takes_of_b(studio) == [TakeStatus.QUEUED]
    (checkpoint,) = studio.root.glob("takes/shots/b/*/t1/stage*.safetensors")
    assert checkpoint.name == "stage1.safetensors"
    served.process.send_signal(signal.SIGCONT)
    served.wait_for(lambda: not nights_of(served), "the end of its process")
    looked = looks_of(studio.root)
    served.wait_for(lambda: looks_of(studio.root) >= looked + 3, "two looks and a third")
    assert len(served.nights()) == 1
    assert served.state_of(run) == "Cancelled"
    assert served.stop() == 0
    assert "Traceback" not in served.said


@pytest.mark.usefixtures("prefect_server")
def test_a_page_that_a_person_deleted_costs_its_words_alone() -> None:
    """The night that says them last ends as if the page were there."""
    from flows.buttons import settle

    asyncio.run(settle(uuid4(), "over"))


@pytest.mark.usefixtures("prefect_server")
def test_what_cannot_be_kept_now_is_heard_later() -> None:
    """A disk that is full when a button is pressed does not end the listening to the page."""
    from prefect import flow

    from flows.buttons import Buttons

    class Pressed(Buttons):
        def __init__(self) -> None:
            super().__init__(SimpleNamespace(), uuid4())  # type: ignore[arg-type]
            self.looks, self.heard = 0, asyncio.Event()

        async def look(self) -> None:
            self.looks += 1
            if self.looks == 1:
                raise OSError(errno.ENOSPC, "No space left on device")
            self.heard.set()

    @flow
    async def night() -> None:
        buttons = Pressed()
        async with buttons.followed():
            await buttons.heard.wait()

    in_time(night())


@pytest.mark.usefixtures("prefect_server")
def test_a_night_is_cut_where_nobody_else_ends_it_and_what_breaks_it_is_raised() -> None:
    """The first also where its work breaks while it is cut: the report follows all the same."""
    from prefect import flow

    from flows.buttons import Buttons

    async def breaks_when_cut() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise OSError(errno.ENOSPC, "No space left on device")

    async def breaks() -> None:
        raise KeyError("a fault of ours")

    @flow
    async def night() -> None:
        buttons = Buttons(SimpleNamespace(), uuid4())  # type: ignore[arg-type]
        asyncio.get_running_loop().call_soon(buttons._late.set)
        await buttons.until_cancelled(breaks_when_cut())
        with pytest.raises(KeyError):
            await Buttons(SimpleNamespace(), uuid4()).until_cancelled(breaks())  # type: ignore[arg-type]

    in_time(night())


def cut_night(root: Path, *, silent: bool) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """A night in which one shot crashed by itself before it was cut with another in work: what
    their pages say, and what the ledger notes. `silent`: Prefect does not tell who crashed."""
    from prefect import flow, runtime
    from prefect.client.orchestration import PrefectClient, get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
    from prefect.client.schemas.objects import FlowRun, StateType
    from prefect.states import Crashed

    from flows.buttons import Buttons

    class Asked(Buttons):
        async def _shots(self, client: PrefectClient, *states: StateType) -> list[FlowRun]:
            """As it is, but for the one question that a silent server does not answer."""
            if silent and states == (StateType.CRASHED,):
                raise httpx.ConnectError("refused")
            return await super()._shots(client, *states)

    begun, maker = asyncio.Event(), Maker(root)

    @flow
    async def shot(name: str) -> Any:
        if name == "broken":
            return Crashed(message="the machine")
        begun.set()
        await asyncio.Event().wait()
        return None

    @flow
    async def night(desk: Any) -> dict[str, tuple[str, str]]:
        run_id = UUID(str(runtime.flow_run.id))
        buttons = Asked(desk, run_id)

        async def work() -> None:
            await shot("broken", return_state=True)
            cut = asyncio.ensure_future(shot("cut", return_state=True))
            await begun.wait()
            buttons._late.set()
            await cut

        await buttons.until_cancelled(work())
        of_night = FlowRunFilterParentFlowRunId(any_=[run_id])
        async with get_client() as client:
            pages = await client.read_flow_runs(
                flow_run_filter=FlowRunFilter(parent_flow_run_id=of_night)
            )
        return {
            page.parameters["name"]: (str(page.state_name), str(page.state.message))
            for page in pages
            if page.state is not None
        }

    with maker.ledger() as ledger:
        desk = SimpleNamespace(ledger=ledger, night_id=maker.begin(ledger))
        pages = in_time(night.with_options(validate_parameters=False)(desk))
        return pages, [event.words for event in ledger.events_of(kind=EventKind.NOTE)]


@pytest.mark.usefixtures("prefect_server")
def test_a_shot_that_broke_before_the_night_was_cut_keeps_its_own_end(tmp_path: Path) -> None:
    """Its page says what happened; those that were in work say that the night was cancelled."""
    from flows.buttons import ENDED

    pages, notes = cut_night(tmp_path, silent=False)
    assert pages == {"broken": ("Crashed", "the machine"), "cut": ("Cancelled", ENDED)}
    assert notes == []


@pytest.mark.usefixtures("prefect_server")
def test_where_prefect_does_not_say_who_broke_the_report_does(tmp_path: Path) -> None:
    """No page that says what broke a shot is written over, and the night's notes tell that those of
    shots that were cut look the same."""
    pages, notes = cut_night(tmp_path, silent=True)
    assert pages["broken"] == ("Crashed", "the machine")
    assert pages["cut"][0] == "Crashed"
    (note,) = notes
    assert note.startswith("Prefect was silent when the night was cancelled")


class Paged:
    """Five runs on a server that gives two at once, and refuses whoever asks for more."""

    def __init__(self) -> None:
        self.runs = [SimpleNamespace(id=uuid4()) for _ in range(5)]

    async def read_flow_runs(
        self, *, flow_run_filter: Any, sort: Any, limit: int | None = None, offset: int = 0
    ) -> list[SimpleNamespace]:
        """As the client of Prefect."""
        assert limit is None or limit <= 2, "must be less than or equal to 2"
        return self.runs[offset : offset + 2]


def test_all_shots_are_found_however_few_a_server_gives_at_once() -> None:
    """A server of one's own has a limit of its own."""
    from prefect.client.schemas.objects import StateType

    from flows.buttons import Buttons

    server = Paged()
    buttons = Buttons(SimpleNamespace(), uuid4())  # type: ignore[arg-type]
    found = in_time(buttons._shots(server, StateType.RUNNING))  # type: ignore[arg-type]
    assert found == server.runs
