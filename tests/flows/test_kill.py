"""kill -9 of anything at any moment: real processes, real Prefect server, fake renders."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest
from waiting import LONG

from reports.ledger_reads import LedgerReads
from reports.records import EventKind
from reports.take import ShotStatus, TakeStatus

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_home")]

ROWS = [
    {"shot": "sh0010", "prompt": "pan left [slow]", "preset": "three-stage"},
    {"shot": "sh0020", "prompt": "zoom in [slow]", "preset": "two-stage"},
    {"shot": "sh0030", "prompt": "tilt up", "preset": "single"},
]


class Run:
    """`rushes run` as a process of its own."""

    def __init__(self, studio: Any, sheet: Path, environment: dict[str, str]) -> None:
        self.root = studio.root
        self.output = (studio.root / "run.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "run", str(sheet), "--root", str(self.root)],
            env={**environment, "RUSHES_PREFECT_PORT": "14200", "RUSHES_DEVICE": "cpu"},
            stdout=self.output,
            stderr=self.output,
            cwd=Path(__file__).parents[2],
            # A shell that runs tests in the background lets them ignore Ctrl-C; a night must not.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def wait_for(self, pattern: str) -> None:
        deadline = time.monotonic() + LONG
        while not list(self.root.glob(pattern)):
            assert time.monotonic() < deadline, f"no {pattern}: {self.said}"
            assert self.process.poll() is None, f"ended before {pattern}: {self.said}"
            time.sleep(0.02)

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def worker(self) -> psutil.Process:
        (worker,) = [child for child in self.children() if _is_worker(child)]
        return worker

    def finish(self) -> int:
        return self.process.wait(timeout=300)

    @property
    def said(self) -> str:
        return (self.root / "run.log").read_text()[-3000:]


def _is_worker(process: psutil.Process) -> bool:
    command = " ".join(process.cmdline())
    return "multiprocessing.spawn" in command and "resource_tracker" not in command


def assert_nothing_was_done_twice(root: Path) -> None:
    for log in root.glob("takes/**/work.log"):
        counts = Counter(log.read_text().split("\n")[:-1])
        assert set(counts.values()) == {1}, f"{log}: {counts}"


def assert_all_delivered_once(root: Path) -> None:
    delivered = sorted(path.name for path in root.glob("delivered/**/*") if path.is_file())
    shots = [row["shot"] for row in ROWS]
    assert delivered == sorted(f"{shot}_v001{s}" for shot in shots for s in (".json", ".mp4"))
    with LedgerReads(root / "rushes.db", must_exist=True) as ledger:
        assert len(ledger.nights()) == 1
        (night,) = ledger.nights()
        for record in ledger.shot_records(night.id):
            assert ledger.shot_status(record.id) is ShotStatus.APPROVED
            assert [take.status for take in ledger.takes_of(record.id)] == [TakeStatus.APPROVED]


def assert_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=LONG)
    assert not alive, [process.cmdline() for process in alive]


def test_a_killed_worker_costs_its_stage_and_nothing_else(
    studio: Any, fake_workers: dict[str, str]
) -> None:
    """The worker dies in stage 2: the take goes on from stage 1's latents, the night ends well."""
    run = Run(studio, studio.sheet(ROWS), fake_workers)
    run.wait_for("takes/shots/sh0010/*/t1/stage1.safetensors")
    run.worker().kill()
    assert run.finish() == 0, run.said
    assert_all_delivered_once(studio.root)
    with LedgerReads(studio.root / "rushes.db", must_exist=True) as ledger:
        (event,) = ledger.events_of(kind=EventKind.MACHINE_FAILURE)
        assert event.data["error"] == "WorkerLost"
        (night,) = ledger.nights()
        shots = {record.shot.id: record.id for record in ledger.shot_records(night.id)}
        receipt = ledger.takes_of(shots["sh0010"])[0].receipt
    assert receipt is not None
    assert receipt.stages[0].resumed


def test_a_killed_night_goes_on_where_it_was(studio: Any, fake_workers: dict[str, str]) -> None:
    """kill -9 of the parent, of everything, at random moments; then one run to the end."""
    sheet = studio.sheet(ROWS)
    dice = random.Random(20261121)
    targets = (
        "takes/shots/sh0010/*/t1/stage1.safetensors",
        "takes/shots/sh0020/*/t1/stage1.safetensors",
        "delivered/shots/*/*.mp4",
    )
    for target in targets:
        run = Run(studio, sheet, fake_workers)
        run.wait_for(target)
        time.sleep(dice.uniform(0.0, 0.7))
        children = run.children()
        os.kill(run.process.pid, signal.SIGKILL)
        if dice.random() < 0.5:
            for child in children:
                child.kill()
        run.process.wait()
        assert_gone(children)
    run = Run(studio, sheet, fake_workers)
    assert run.finish() == 0, run.said
    assert_nothing_was_done_twice(studio.root)
    assert_all_delivered_once(studio.root)
    again = Run(studio, sheet, fake_workers)
    assert again.finish() == 0
    assert "Nothing to do: 3 approved" in run.said


def test_a_killed_chain_goes_on_where_it_was(studio: Any, fake_workers: dict[str, str]) -> None:
    """kill -9 while the second of three shots renders, each from the last frame of the one before;
    and before the third has begun. Every shot is delivered once, from the frame it should."""
    rows = [
        {"shot": "sh0010", "prompt": "tilt up", "preset": "single"},
        {"shot": "sh0020", "source": "", "start_from": "sh0010", "preset": "two-stage"},
        {"shot": "sh0030", "source": "", "start_from": "sh0020", "preset": "single"},
    ]
    rows[1]["prompt"] = "zoom in [slow]"
    sheet = studio.sheet(rows)
    for target in (
        "takes/shots/sh0020/*/t1/stage1.safetensors",
        "delivered/shots/sh0020/sh0020_v001.json",
    ):
        run = Run(studio, sheet, fake_workers)
        run.wait_for(target)
        children = run.children()
        os.kill(run.process.pid, signal.SIGKILL)
        run.process.wait()
        assert_gone(children)
    run = Run(studio, sheet, fake_workers)
    assert run.finish() == 0, run.said
    assert_nothing_was_done_twice(studio.root)
    assert_all_delivered_once(studio.root)
    with LedgerReads(studio.root / "rushes.db", must_exist=True) as ledger:
        records = ledger.shot_records(ledger.nights()[0].id)
    still = {record.shot.id: record.shot.source for record in records}
    for name, before in (("sh0020", "sh0010"), ("sh0030", "sh0020")):
        source = still[name]
        assert source is not None
        (png,) = studio.root.glob(f"takes/shots/{before}/*/t1/last-frame.png")
        assert source.path == png
    again = Run(studio, sheet, fake_workers)
    assert again.finish() == 0
    assert "Nothing to do: 3 approved" in run.said


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_night_ends_with_130_and_keeps_what_is_done(
    studio: Any, fake_workers: dict[str, str], stop: signal.Signals
) -> None:
    """After Ctrl-C and `kill` alike it says so by its exit code and leaves no process."""
    run = Run(studio, studio.sheet(ROWS), fake_workers)
    run.wait_for("takes/shots/sh0010/*/t1/stage1.safetensors")
    children = run.children()
    run.process.send_signal(stop)
    assert run.finish() == 130, run.said
    assert_gone(children)
    assert "Traceback" not in run.said
    assert "the same command goes on from here" in run.said


def test_a_second_night_in_the_same_root_is_refused(
    studio: Any, fake_workers: dict[str, str]
) -> None:
    """Two orchestrators on one ledger: the second ends at once with 2 and names the first."""
    sheet = studio.sheet(ROWS)
    run = Run(studio, sheet, fake_workers)
    run.wait_for("takes/shots/*/*/t1/tried")
    second = Run(studio, sheet, fake_workers)
    assert second.finish() == 2
    assert str(run.process.pid) in second.said
    assert run.finish() == 0, run.said
