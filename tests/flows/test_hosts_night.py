"""Whole nights on hosts: one sheet, one folder, one Prefect server, and somebody dies in them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from free_port import free_port
from host_processes import HERE, HostProcess
from waiting import LONG, wait_until

from reports.ledger_reads import LedgerReads
from reports.records import EventKind
from reports.take import ShotStatus, TakeStatus

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_home")]

SHOTS = [f"sh{number:04d}" for number in range(10, 70, 10)]


class Farm:
    """A machine of the night without a card, and hosts."""

    def __init__(self, studio: Any, environment: dict[str, str]) -> None:
        rows = [
            {"shot": shot, "prompt": "pan left [slow]", "preset": "three-stage"} for shot in SHOTS
        ]
        self.sheet, self.root, port = studio.sheet(rows), Path(studio.root), free_port()
        self.address = f"tcp://127.0.0.1:{port}"
        self.environment = {
            **environment,
            "OMP_NUM_THREADS": "1",
            "RUSHES_PREFECT_PORT": str(free_port()),
            "RUSHES_DEVICE": "none",
            "RUSHES_HOSTS__LISTEN": f"127.0.0.1:{port}",
            "RUSHES_HOSTS__LEASE_SECONDS": "8",
        }
        self.hosts: list[HostProcess] = []
        self.nights: list[subprocess.Popen[bytes]] = []

    def join(self, name: str) -> HostProcess:
        self.hosts.append(HostProcess(self.root, self.address, name))
        return self.hosts[-1]

    def run(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "flows.cli", "run", str(self.sheet)]
        with (self.root / "run.log").open("ab") as log:
            night = subprocess.Popen(
                [*command, "--root", str(self.root)],
                env=self.environment,
                stdout=log,
                stderr=log,
                cwd=HERE,
            )
        self.nights.append(night)
        return night

    def wait_for_a_stage(self) -> None:
        """Fails at once where the night ended before."""

        def is_there() -> bool:
            code = self.nights[-1].poll()
            assert code is None, f"{code}: {(self.root / 'run.log').read_text()[-3000:]}"
            return any(self.root.glob("takes/shots/*/*/t1/stage1.safetensors"))

        wait_until(is_there)

    def assert_ends_well(self, night: subprocess.Popen[bytes]) -> None:
        assert night.wait(LONG) == 0, (self.root / "run.log").read_text()[-3000:]

    def end(self) -> None:
        for host in self.hosts:
            host.end()
        for night in self.nights:
            night.kill()
            night.wait(LONG)


@pytest.fixture
def farm(studio: Any, fake_workers: dict[str, str]) -> Iterator[Farm]:
    made = Farm(studio, fake_workers)
    yield made
    made.end()


def test_every_shot_is_delivered_once(farm: Farm) -> None:
    """The first host renders, a second one joins, the first is killed with its take half done, a
    third one joins: six shots approved in their first take, each delivered once, no stage rendered
    twice, and no take counted as failed."""
    night, first = farm.run(), farm.join("a")
    farm.wait_for_a_stage()
    second = farm.join("b")
    wait_until(lambda: "joined" in second.said)
    first.kill()
    farm.join("c")
    farm.assert_ends_well(night)
    assert len(_hosts_of_an_approved_night(farm.root)) >= 2
    with LedgerReads(farm.root / "rushes.db", must_exist=True) as ledger:
        assert not ledger.events_of(kind=EventKind.MACHINE_FAILURE)
        words = [event.words for event in ledger.events_of(kind=EventKind.CARD)]
    assert any(each.startswith("a was cut off") for each in words), words


def test_a_host_outlives_the_machine_of_the_night(farm: Farm) -> None:
    """kill -9 of the night and all its processes while its host renders: the host ends its workers
    and waits; the same command takes the night up, the host joins again, every shot is delivered
    once."""
    night, host = farm.run(), farm.join("a")
    farm.wait_for_a_stage()
    family = psutil.Process(night.pid).children(recursive=True)
    os.kill(night.pid, signal.SIGKILL)
    for process in family:
        process.kill()
    night.wait()
    # Its server's port and database are wanted again.
    assert not psutil.wait_procs(family, timeout=LONG)[1]
    wait_until(lambda: not _workers(host))
    before = host.said.count("joined")
    farm.assert_ends_well(farm.run())
    assert _hosts_of_an_approved_night(farm.root) == {"a"}
    # Not how often: it comes back after each lease that a busy machine lets pass.
    assert host.said.count("joined") > before >= 1


def _workers(host: HostProcess) -> list[psutil.Process]:
    family = psutil.Process(host.process.pid).children(recursive=True)
    return [process for process in family if "--multiprocessing-fork" in _command(process)]


def _command(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return process.cmdline()
    return []


def _hosts_of_an_approved_night(root: Path) -> set[str]:
    """Who rendered it; fails unless everything was done, and done once."""
    delivered = sorted(path.name for path in root.glob("delivered/**/*") if path.is_file())
    assert delivered == sorted(f"{shot}_v001{s}" for shot in SHOTS for s in (".json", ".mp4"))
    for log in root.glob("takes/**/work.log"):
        counts = Counter(log.read_text().split("\n")[:-1])
        assert set(counts.values()) == {1}, f"{log}: {counts}"
    found = set()
    with LedgerReads(root / "rushes.db", must_exist=True) as ledger:
        (night,) = ledger.nights()
        for record in ledger.shot_records(night.id):
            assert ledger.shot_status(record.id) is ShotStatus.APPROVED
            (take,) = ledger.takes_of(record.id)
            assert take.status is TakeStatus.APPROVED
            assert take.receipt is not None
            found.add(take.receipt.host)
    return found
