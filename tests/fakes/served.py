"""`rushes serve` as a process of its own, for tests that need the whole of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import psutil
from free_port import free_port
from waiting import LONG

from reports.ledger_reads import LedgerReads
from reports.records import NightRecord
from reports.take import ShotStatus, TakeStatus


def asked(url: str, data: dict[str, Any] | None = None) -> Any:
    """What Prefect answers to this data; None: to a question.

    A server whose database is busy says that it cannot just now (503), and is asked again, as
    Prefect's own client does and as a person would who pressed a button.
    """
    method, deadline = "GET" if data is None else "POST", time.monotonic() + LONG
    while True:
        answer = httpx.request(method, url, json=data, timeout=LONG)
        if answer.status_code != HTTPStatus.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
            return answer.raise_for_status().json()
        time.sleep(0.5)


class Serve:
    """`rushes serve` as a process of its own."""

    def __init__(
        self, root: Path, environment: dict[str, str], *, module: str = "flows.cli", **settings: str
    ) -> None:
        """`module` stands for the command line; the settings are environment variables."""
        self.root = root
        self.output = (root / "serve.log").open("ab")
        self.port = int(settings.pop("RUSHES_PREFECT_PORT", free_port()))
        self.url = f"http://127.0.0.1:{self.port}"
        # Another test's server may be named there: this one starts its own.
        own = {k: v for k, v in environment.items() if not k.startswith("PREFECT_")}
        environment = {
            **own,
            **settings,
            "RUSHES_PREFECT_PORT": str(self.port),
            "RUSHES_DEVICE": "cpu",
            "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, "serve", "--root", str(root)],
            env=environment,
            stdout=self.output,
            stderr=self.output,
            cwd=Path(__file__).parents[2],
            # A shell that runs tests in the background lets them ignore Ctrl-C; this must not.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def wait_for(self, true: Callable[[], Any], what: str, timeout: float = LONG) -> Any:
        deadline = time.monotonic() + timeout
        while not (found := true()):
            assert time.monotonic() < deadline, f"no {what}: {self.said}"
            assert self.process.poll() is None, f"ended before {what}: {self.said}"
            time.sleep(0.05)
        return found

    def wait_for_file(self, pattern: str) -> None:
        self.wait_for(lambda: list(self.root.glob(pattern)), pattern)

    def wait_until_it_serves(self) -> None:
        self.wait_for(lambda: "night" in self.said, "first words")

    def post(self, path: str, **data: Any) -> Any:
        return asked(f"{self.url}/api/{path}", data)

    def run(self, run: str) -> Any:
        """A run as its page has it."""
        return asked(f"{self.url}/api/flow_runs/{run}")

    def deployment(self) -> Any:
        (found,) = self.post("deployments/filter")
        return found

    def nights(self) -> list[Any]:
        """The runs of the deployment that began, the newest last."""
        wanted = {"deployment_id": {"any_": [self.deployment()["id"]]}}
        runs = self.post("flow_runs/filter", flow_runs=wanted, sort="START_TIME_ASC")
        return [run for run in runs if run["start_time"]]

    def state_of(self, run: str) -> str:
        return str(self.run(run)["state_name"])

    def start_night(self) -> str:
        run = self.post(f"deployments/{self.deployment()['id']}/create_flow_run", state=None)
        return str(run["id"])

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def listens_at(self) -> set[str]:
        """Every address at which one of its processes can be reached."""
        return {
            socket.laddr.ip
            for process in [psutil.Process(self.process.pid), *self.family()]
            for socket in process.net_connections("inet")
            if socket.status == psutil.CONN_LISTEN
        }

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Stop it; every process that it had must be gone with it."""
        family = self.family()
        self.process.send_signal(how)
        code = self.process.wait(timeout=LONG)
        _, alive = psutil.wait_procs(family, timeout=LONG)
        assert not alive, [process.cmdline() for process in alive]
        return code

    @property
    def said(self) -> str:
        """What it has printed, on one line."""
        return " ".join((self.root / "serve.log").read_text()[-4000:].split())


def drop(studio: Any, rows: list[dict[str, Any]], name: str = "shots.csv") -> None:
    """A sheet and its still, whole at once: written elsewhere and renamed into the inbox."""
    inbox = studio.root / "inbox"
    inbox.mkdir(exist_ok=True)
    still = inbox / "still.png"
    if not still.exists():
        os.link(studio.root / "still.png", still)
    sheet = studio.sheet(rows, name="being-written.csv")
    os.utime(sheet, (time.time() - 60, time.time() - 60))
    sheet.rename(inbox / name)


def statuses(studio: Any) -> dict[str, ShotStatus]:
    with LedgerReads(studio.root / "rushes.db", must_exist=True) as ledger:
        records = ledger.shot_records(ledger.nights()[-1].id)
        return {record.shot.id: ledger.shot_status(record.id) for record in records}


def renders(studio: Any) -> bool:
    """Whether a take of the latest night is being rendered, as the ledger has it."""
    with LedgerReads(studio.root / "rushes.db", must_exist=True) as ledger:
        records = ledger.shot_records(ledger.nights()[-1].id)
        takes = [take for record in records for take in ledger.takes_of(record.id)]
    return any(take.status is TakeStatus.RENDERING for take in takes)


def last_night(studio: Any) -> NightRecord:
    """The latest night in the ledger."""
    with LedgerReads(studio.root / "rushes.db", must_exist=True) as ledger:
        return ledger.nights()[-1]
