"""A whole night on hosts: one sheet, one folder, one Prefect server, and a host that dies in it."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from host_processes import HERE, HostProcess, free_port, wait_until

from reports.ledger_reads import LedgerReads
from reports.records import EventKind
from reports.take import ShotStatus, TakeStatus

pytestmark = pytest.mark.slow

SHOTS = [f"sh{number:04d}" for number in range(10, 70, 10)]


def test_every_shot_is_delivered_once(studio: Any, fake_workers: dict[str, str]) -> None:
    """No card on the machine of the night. The first host renders, a second one joins, the first
    is killed with its take half done, a third one joins: six shots approved in their first take,
    each delivered once, no stage rendered twice, and no take counted as failed."""
    rows = [{"shot": shot, "prompt": "pan left [slow]", "preset": "three-stage"} for shot in SHOTS]
    sheet, root, port = studio.sheet(rows), Path(studio.root), free_port()
    address = f"tcp://127.0.0.1:{port}"
    environment = {
        **fake_workers,
        "OMP_NUM_THREADS": "1",
        "RUSHES_PREFECT_PORT": str(free_port()),
        "RUSHES_DEVICE": "none",
        "RUSHES_HOSTS__LISTEN": f"127.0.0.1:{port}",
        "RUSHES_HOSTS__LEASE_SECONDS": "8",
    }
    hosts: list[HostProcess] = []

    def join(name: str) -> HostProcess:
        hosts.append(HostProcess(root, address, name))
        return hosts[-1]

    with (root / "run.log").open("wb") as log:
        night = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "run", str(sheet), "--root", str(root)],
            env=environment,
            stdout=log,
            stderr=log,
            cwd=HERE,
        )
    try:
        first = join("a")
        wait_until(lambda: list(root.glob("takes/shots/*/*/t1/stage1.safetensors")), 150)
        join("b")
        wait_until(lambda: "joined" in hosts[1].said, 90)
        first.kill()
        join("c")
        assert night.wait(240) == 0, (root / "run.log").read_text()[-3000:]
    finally:
        for host in hosts:
            host.end()
        night.kill()
        night.wait(20)
    _assert_all_well(root)


def _assert_all_well(root: Path) -> None:
    delivered = sorted(path.name for path in root.glob("delivered/**/*") if path.is_file())
    assert delivered == sorted(f"{shot}_v001{s}" for shot in SHOTS for s in (".json", ".mp4"))
    for log in root.glob("takes/**/work.log"):
        counts = Counter(log.read_text().split("\n")[:-1])
        assert set(counts.values()) == {1}, f"{log}: {counts}"
    with LedgerReads(root / "rushes.db", must_exist=True) as ledger:
        (night,) = ledger.nights()
        takes = [
            take for record in ledger.shot_records(night.id) for take in _takes(ledger, record)
        ]
        hosts = {take.receipt.host for take in takes if take.receipt is not None}
        assert hosts <= {"a", "b", "c"}
        assert len(hosts) >= 2
        assert not ledger.events_of(kind=EventKind.MACHINE_FAILURE)
        words = [event.words for event in ledger.events_of(night=night.id, kind=EventKind.CARD)]
        assert any(each.startswith("a was cut off") for each in words), words


def _takes(ledger: LedgerReads, record: Any) -> list[Any]:
    assert ledger.shot_status(record.id) is ShotStatus.APPROVED
    takes = ledger.takes_of(record.id)
    assert [take.status for take in takes] == [TakeStatus.APPROVED]
    return list(takes)
