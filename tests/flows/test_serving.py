"""The parts of `rushes serve` that need no server: lock, schedule, names, orphans."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import threading
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from free_port import free_port
from waiting import LONG

from flows.prefect_server import (
    PrefectServer,
    ServerDidNotStart,
    _listens,
    _wait_until_it_answers,
    embedded_server,
    port_is_free,
)
from flows.served import ROOT, belong_to_server
from flows.serving import AlreadyServed, Serving, serving, sole_server
from manifests.errors import BadInput
from manifests.settings import Studio, load_studio
from manifests.shares import Mount
from reports.errors import LedgerOnShare

WINDOW = {"start": "22:05", "end": "07:00", "timezone": "Europe/Berlin"}


def test_a_root_is_served_once_and_others_know_by_whom(tmp_path: Path) -> None:
    """The second is refused and names the first; after it nobody serves."""
    assert serving(tmp_path) is None
    with sole_server(tmp_path) as tell:
        assert serving(tmp_path) == Serving(os.getpid(), "")
        tell("http://127.0.0.1:4200")
        assert serving(tmp_path) == Serving(os.getpid(), "http://127.0.0.1:4200")
        with (
            pytest.raises(AlreadyServed, match=f"process {os.getpid()}, http://127.0.0.1:4200"),
            sole_server(tmp_path),
        ):
            pass
        assert serving(tmp_path) is not None
    assert serving(tmp_path) is None


def test_what_another_server_left_is_not_read_into_an_address(tmp_path: Path) -> None:
    """Its number and its address were longer."""
    (tmp_path / "serve.lock").write_text("98765432109\nhttp://a.much.longer.name:4200\n")
    with sole_server(tmp_path) as tell:
        tell("http://127.0.0.1:1")
        found = serving(tmp_path)
    assert found is not None
    assert (found.pid, found.url) == (os.getpid(), "http://127.0.0.1:1")


def test_a_root_on_a_share_is_not_served(tmp_path: Path) -> None:
    """Its nights could not keep others away; nothing is written there."""
    share = Mount(point=tmp_path, kind="cifs", source="//nas/studio")
    with (
        pytest.raises(LedgerOnShare, match=r"cifs, //nas/studio"),
        sole_server(tmp_path / ".rushes", mounts=lambda: [share]),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_another_root_than_the_served_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run started from the page cannot be sent to another folder."""
    monkeypatch.setenv(ROOT, str(tmp_path))
    belong_to_server(tmp_path)
    with pytest.raises(BadInput, match="leave `root` as it is"):
        belong_to_server(tmp_path / "elsewhere")


@pytest.mark.slow
def test_a_process_ends_with_the_one_that_started_it() -> None:
    """A parent that is killed leaves nothing behind."""
    child = "import os, time; from flows.parent import die_with; die_with(os.getppid(), grace=1);"
    child += "print('up', flush=True); time.sleep(60)"
    parent = (
        "import subprocess, sys; "
        f"p = subprocess.Popen([sys.executable, '-c', {child!r}], stdout=subprocess.PIPE); "
        "p.stdout.readline(); print(p.pid, flush=True); p.wait()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", parent], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    orphan = psutil.Process(int(process.stdout.readline()))
    process.kill()
    process.wait()
    process.stdout.close()
    orphan.wait(timeout=LONG)
    assert not orphan.is_running()


def test_a_taken_port_is_known() -> None:
    """A port that somebody listens on is not free; an address of nobody's is refused in words."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert not port_is_free(taken.getsockname()[1])
    with pytest.raises(ServerDidNotStart, match="is no address of this machine"):
        port_is_free(4200, "no such host.invalid")


NIGHT = """
import sys
from pathlib import Path
from flows.prefect_server import embedded_server
root = Path(sys.argv[1])
with embedded_server(port=int(sys.argv[2]), log=root / "server.log", root=root) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
def test_two_nights_that_begin_at_once_have_a_server_each(
    tmp_path: Path, prefect_database: Path
) -> None:
    """Both see the port free and one gets it: the other's server is on another one."""
    port, nights = free_port(), []
    for name in ("east", "west"):
        home = tmp_path / name
        home.mkdir()
        shutil.copy(prefect_database, home)
        nights.append(
            subprocess.Popen(
                [sys.executable, "-c", NIGHT, str(home), str(port)],
                env={**os.environ, "PREFECT_HOME": str(home)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[2],
            )
        )
    urls = {night.stdout.readline().strip() for night in nights if night.stdout is not None}
    assert f"http://127.0.0.1:{port}" in urls
    assert len(urls) == 2, urls
    for night in nights:
        night.communicate("")
        assert night.returncode == 0


def test_a_server_that_breaks_by_itself_is_started_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody has taken its port another one would not help: said at once."""
    breaks = tmp_path / "python"
    breaks.write_text("#!/bin/sh\necho begun\nexit 3\n")
    breaks.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(breaks))
    log = tmp_path / "server.log"
    with (
        pytest.raises(ServerDidNotStart, match="ended with code 3"),
        embedded_server(port=free_port(), log=log, root=tmp_path),
    ):
        pass
    assert log.read_text() == "begun\n"


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("0.0.0.0", "127.0.0.1"),
        ("::", "[::1]"),
        ("::1", "[::1]"),
        ("10.0.0.5", "10.0.0.5"),
    ],
)
def test_the_server_is_reached_on_loopback_where_it_listens_everywhere(
    tmp_path: Path, host: str, reached: str
) -> None:
    """`0.0.0.0` and `::` are where to listen, no addresses to ask; those of IPv6 stand in brackets,
    and only there is what listens on `::`."""
    server = PrefectServer(port=4200, log=tmp_path / "log", host=host, root=tmp_path)
    assert server.url == f"http://{reached}:4200"


class _Other(HTTPServer):
    """A server of somebody else that is well."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Healthy)
        self.asked = threading.Semaphore(0)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Healthy(BaseHTTPRequestHandler):
    server: _Other

    def do_GET(self) -> None:
        self.server.asked.release()
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        return


@pytest.mark.slow
def test_a_server_of_somebody_else_at_our_port_is_not_taken_for_ours(tmp_path: Path) -> None:
    """One that took the port after we had looked answers for ours, which cannot start."""
    until_told = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(until_told, stdin=subprocess.PIPE) as child, _Other() as other:

        def end_after_three() -> None:
            for _ in range(3):
                other.asked.acquire()
            assert child.stdin is not None
            child.stdin.close()

        threading.Thread(target=end_after_three, daemon=True).start()
        url = f"http://127.0.0.1:{other.server_port}/api/health"
        with pytest.raises(ServerDidNotStart, match="ended with code 0"):
            _wait_until_it_answers(child, url, tmp_path / "log")
        other.shutdown()
    assert not _listens(child.pid)
    with socket.socket() as ours:
        ours.bind(("127.0.0.1", 0))
        ours.listen()
        assert _listens(os.getpid())


# The tests below are slow because they import Prefect, which takes seconds.


def deployment_of(studio: Studio, known: Any = None) -> Any:
    from flows.deployment import NightDeployment

    return asyncio.run(NightDeployment(studio, name="night").made(known))


@pytest.mark.slow
def test_the_hours_become_a_cron_in_their_own_zone(tmp_path: Path) -> None:
    """Start, days and zone are the window's; without hours there is no schedule."""
    studio = load_studio(tmp_path, window={**WINDOW, "days": ["mon", "fri"]})
    (schedule,) = deployment_of(studio).schedules
    assert (schedule.schedule.cron, schedule.schedule.timezone) == (
        "5 22 * * mon,fri",
        "Europe/Berlin",
    )
    every_day = deployment_of(load_studio(tmp_path, window=WINDOW)).schedules
    assert every_day[0].schedule.cron == "5 22 * * *"
    assert deployment_of(load_studio(tmp_path)).schedules == []


@pytest.mark.slow
def test_the_nights_of_a_machine_of_another_name_are_not_taken_over(tmp_path: Path) -> None:
    """It may be another studio in the same database; one that was renamed is told what to do."""
    from flows.deployment import NightDeployment

    studio = load_studio(tmp_path)
    known: Any = SimpleNamespace(parameters={"root": str(tmp_path)}, tags=["host:elsewhere"])
    with pytest.raises(BadInput, match="elsewhere") as caught:
        NightDeployment(studio, name="night")._must_be_ours(known)
    assert f"renamed, remove {tmp_path}/.rushes/prefect" in str(caught.value)


@pytest.mark.slow
def test_a_schedule_that_a_person_paused_stays_paused(tmp_path: Path) -> None:
    """A restart of the service does not bring back what was paused in Prefect."""
    studio = load_studio(tmp_path, window=WINDOW)
    paused = SimpleNamespace(paused=True, schedules=[SimpleNamespace(slug="hours", active=False)])
    made = deployment_of(studio, paused)
    assert made.paused is True
    assert made.schedules[0].active is False
    assert deployment_of(studio).schedules[0].active is True


@pytest.mark.slow
def test_the_form_explains_its_fields(tmp_path: Path) -> None:
    """What a person sees in Prefect before a night is started by hand has words."""
    fields = deployment_of(load_studio(tmp_path))._parameter_openapi_schema.properties
    assert set(fields) == {"root", "skip_bad", "now"}
    assert all(field.get("description") for field in fields.values())


@pytest.mark.slow
def test_a_night_after_midnight_is_named_by_its_evening(tmp_path: Path) -> None:
    """Hours that began yesterday give the run yesterday's date."""
    from flows.night import night_name

    (tmp_path / "studio.yaml").write_text(
        'window: {start: "22:05", end: "07:00", timezone: Europe/Berlin}\n'
    )
    for clock, evening in (("21:30", "20"), ("00:30", "20"), ("05:59", "20"), ("06:01", "21")):
        # Half past nine in the evening of the 20th, UTC, and three moments of the 21st.
        day = "20" if clock == "21:30" else "21"
        instant = datetime.fromisoformat(f"2026-11-{day}T{clock}:00+00:00")
        assert night_name(tmp_path, instant) == f"night 2026-11-{evening}"
