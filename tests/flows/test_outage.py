"""A Prefect server that is away: what is asked again, for how long, and a whole night under it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import psutil
import pytest
from ledger_maker import Maker
from served import Serve, drop, statuses

from flows import outage
from flows.outage import through_outages
from reports.ledger_reads import LedgerReads
from reports.take import ShotStatus, TakeStatus

REQUEST = httpx.Request("POST", "http://127.0.0.1/api/flow_runs/")


def status_error(code: int) -> httpx.HTTPStatusError:
    """What a server's answer raises."""
    answer = httpx.Response(code, request=REQUEST)
    return httpx.HTTPStatusError("refused", request=REQUEST, response=answer)


def asked(*answers: Exception | str, longest: float = 60.0) -> tuple[str, list[str], int]:
    """The result, what was told, and how often was asked."""
    left, said = list(answers), list[str]()

    async def call() -> str:
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    result = asyncio.run(through_outages(call, tell=said.append, longest=longest, every=0.001))
    return result, said, len(answers) - len(left)


def test_a_server_that_is_away_is_waited_for_and_told_of_once() -> None:
    """Refused connections and a server that cannot; then the answer."""
    away = httpx.ConnectError("refused", request=REQUEST)
    result, said, times = asked(away, status_error(503), away, "done")
    assert (result, times) == ("done", 4)
    assert said == ["Prefect's server is away (ConnectError); it is waited for"]


@pytest.mark.parametrize("error", [status_error(404), status_error(422), ValueError("broken")])
def test_what_is_no_outage_is_raised_at_once(error: Exception) -> None:
    """An answer that will not change, and errors of our own."""
    with pytest.raises(type(error)):
        asked(error, "never asked")


def test_a_server_that_stays_away_ends_the_call() -> None:
    """After the longest time the last error is raised."""
    away = httpx.ConnectError("refused", request=REQUEST)
    with pytest.raises(httpx.ConnectError):
        asked(*[away] * 100_000, longest=0.05)


def test_a_server_that_answered_for_long_was_there_in_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What ends such a call is another outage: it is told again and waited for as long again."""
    monkeypatch.setattr(outage, "ANSWERED", 0.01)
    told: list[str] = []
    calls = iter(range(3))

    async def call() -> str:
        number = next(calls)
        if number == 2:
            return "done"
        await asyncio.sleep(0.03)
        raise httpx.ConnectError("away")

    found = asyncio.run(through_outages(call, tell=told.append, longest=0.02, every=0.0))
    assert found == "done"
    assert len(told) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_a_page_that_cannot_be_written_ends_no_shot(tmp_path: Path) -> None:
    """Where the server cannot just now, however often it is asked, the shot's run ends as the
    ledger has it."""
    from prefect import flow
    from prefect.context import AsyncClientContext
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_CLIENT_MAX_RETRIES,
        PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED,
        temporary_settings,
    )

    from flows.shot import _state, _tell

    asked, maker = list[bytes](), Maker(tmp_path)

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    with maker.ledger() as ledger:
        shot_id = maker.run(ledger, maker.shot("a"), maker.begin(ledger), TakeStatus.HELD)
        desk: Any = SimpleNamespace(ledger=ledger, studio=SimpleNamespace(root=tmp_path))
        job: Any = SimpleNamespace(shot_id=shot_id, shot=maker.shot("a"))

        @flow
        async def shot() -> Any:
            async with await asyncio.start_server(refuse, "127.0.0.1") as busy:
                changes = {
                    PREFECT_API_URL: f"http://127.0.0.1:{busy.sockets[0].getsockname()[1]}/api",
                    PREFECT_CLIENT_MAX_RETRIES: 0,
                    PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED: False,
                }
                # NOTE: other settings of the client keep Prefect from using the one it has.
                with temporary_settings(changes):
                    async with AsyncClientContext(httpx_settings={"timeout": 60}):
                        await _tell(desk, job)
            return _state(desk, job)

        ended = asyncio.run(shot(return_state=True))  # type: ignore[call-overload]
    assert asked
    assert ended.name == "Held"


@pytest.mark.slow
def test_a_night_goes_on_when_its_server_is_killed(
    studio: Any, serve: Callable[..., Serve]
) -> None:
    """`kill -9` of the Prefect server in the middle: it is started again, every shot is delivered
    in the same night, no stage is rendered twice, and the run's page tells the end."""
    served = serve()
    served.wait_until_it_serves()
    slow = {"prompt": "pan [slow]", "preset": "three-stage"}
    drop(studio, [{"shot": f"s{n}", **slow} for n in range(6)])
    served.wait_for_file("inbox/accepted/shots.csv")
    run = served.start_night()
    served.wait_for_file("delivered/shots/s1/*.json")
    (server,) = [each for each in served.family() if "flows.prefect_server" in each.cmdline()]
    nights = [each.pid for each in served.family() if "prefect.engine" in each.cmdline()]
    server.kill()
    served.wait_for(lambda: "ended with code -9 (1); starting it" in served.said, "the restart")
    served.wait_for(lambda: list(studio.root.glob("reports/*/index.html")), "the report", 180.0)
    assert set(statuses(studio).values()) == {ShotStatus.APPROVED}
    with LedgerReads(studio.root / "rushes.db") as ledger:
        (night,) = ledger.nights()
    assert night.ended is not None
    assert len(nights) == 1
    for log in studio.root.glob("takes/**/work.log"):
        stages = Counter(log.read_text().splitlines())
        assert max(stages.values()) == 1, f"{log}: {stages}"
    served.wait_for(lambda: served.state_of(run) == "Completed", "Completed on the page")
    assert psutil.pid_exists(served.process.pid)
