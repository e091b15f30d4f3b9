"""What these nights are made of: a root with a sheet, and processes beside one another."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).parents[2]
STILLS = HERE / "manifests/examples/demo/stills"
MOVES = ("pans left", "pans right", "zooms in", "zooms out", "tilts up", "pushes in")
HOLD = 3.0
"""Seconds of a take in a rehearsal."""
PRESET = """\
title: Two long stages
description: The bundled two stages with more steps, so that a take lasts seconds on any card.
family: pocket
width: 128
height: 128
frames: 17
fps: 8
stages:
  - {{kind: renoise, steps: {first}, cfg: 1.5, shift: 3.0, denoise: 1.0}}
  - {{kind: renoise, steps: {second}, cfg: 1.0, shift: 3.0, denoise: 0.45}}
ranges:
  cfg: [1.0, 3.0]
  denoise: [0.25, 0.60]
  steps: [6, 400]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """Where and how the parts are run."""

    folder: Path
    """A root for each part lies in it."""
    rehearsal: bool
    """No card: a fake driver and a fake backend, to see that the parts run."""
    steps: int
    """Of the first stage; the second has half of them."""
    ends: ExitStack
    """Ends every process that was started."""

    @property
    def starting(self) -> float:
        """Seconds until a night renders: its server and workers start, its model is loaded."""
        return 600.0 if self.rehearsal else 150.0

    def environment(self, **more: str) -> dict[str, str]:
        """Of every process of a night."""
        paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH", "")])]
        found = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "RUSHES_BACKEND": "benchmarks.cards.backend:OnCards",
            "PYTHONUNBUFFERED": "1",
        }
        found.pop("PREFECT_API_URL", None)
        if self.rehearsal:
            found["RUSHES_BACKEND"] = "benchmarks.cards.backend:Rehearsed"
        return found | more

    def studio(self, name: str, shots: int, words: str = "", **settings: Any) -> Studio:
        """A root of its own with a sheet of so many shots, `words` in every prompt."""
        root = self.folder / name
        shutil.rmtree(root, ignore_errors=True)
        presets = root / "presets/pocket"
        presets.mkdir(parents=True)
        preset = PRESET.format(first=self.steps, second=self.steps // 2)
        (presets / "long.yaml").write_text(preset)
        plain = {"presets_dir": str(root / "presets"), "max_takes": 1, **settings}
        # NOTE: JSON is YAML.
        (root / "studio.yaml").write_text(json.dumps(plain))
        if self.rehearsal:
            words += f" [hold {HOLD}]"
        stills = sorted(STILLS.glob("*.jpg"))[:4]
        for still in stills:
            shutil.copy(still, root)
        with (root / "shots.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["shot", "source", "preset", "prompt"])
            for number in range(shots):
                chosen, move = stills[number % len(stills)], MOVES[number % len(MOVES)]
                prompt = f"{chosen.stem}, the camera {move} {words}"
                writer.writerow([f"sh{10 * (number + 1):04d}", chosen.name, "long", prompt])
        return Studio(stand=self, root=root)

    def start(self, *arguments: str, log: Path, **environment: str) -> Process:
        """A process of this Python, in a session of its own."""
        process = Process(list(arguments), log=log, environment=self.environment(**environment))
        self.ends.callback(process.end)
        return process

    def artist(self, card: str, *, gib: float, seconds: float, compute: bool = True) -> Artist:
        """Somebody else on the card with that UUID."""
        arguments = ["-m", "benchmarks.cards.artist", "--gib", str(gib), "--seconds", str(seconds)]
        log = self.folder / f"artist-{time.time():.3f}.log"
        process = self.start(
            *arguments, *(["--compute"] if compute else []), log=log, CUDA_VISIBLE_DEVICES=card
        )
        return Artist(process)


class Process:
    """One process with everything below it."""

    def __init__(self, arguments: list[str], *, log: Path, environment: dict[str, str]) -> None:
        self.log = log
        self.begun = time.time()
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                env=environment,
                stdout=output,
                stderr=output,
                cwd=HERE,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        """What it printed."""
        return self.log.read_text(errors="replace")

    @property
    def family(self) -> list[psutil.Process]:
        """It and all below it; empty when it has ended."""
        try:
            top = psutil.Process(self.process.pid)
            return [top, *top.children(recursive=True)]
        except psutil.Error:
            return []

    def kill(self) -> None:
        """Pull the plug."""
        family = self.family
        for each in family:
            each.kill()
        psutil.wait_procs(family, timeout=20)
        self.process.wait(20)

    def end(self) -> None:
        """Leave nothing behind: politely, then at once."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()
        for each in self.family:
            each.kill()


class Artist:
    """A process that is not ours."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def when(self, event: str, seconds: float = 60.0) -> float:
        """The moment at which it said that, waited for. Raises TimeoutError."""
        return float(self.told(event, seconds)["at"])

    def told(self, event: str, seconds: float = 60.0) -> dict[str, Any]:
        """What it said of it, waited for. Raises TimeoutError."""
        found: dict[str, Any] = wait_for(
            lambda: self._find(event), f"{event} of an artist", seconds
        )
        return found

    def _find(self, event: str) -> dict[str, Any] | None:
        for line in self._process.said.splitlines():
            if line.startswith("{") and json.loads(line)["event"] == event:
                found: dict[str, Any] = json.loads(line)
                return found
        if self._process.process.poll() not in (None, 0):
            raise RuntimeError(f"the artist broke: {self._process.said[-2000:]}")
        return None

    @property
    def pid(self) -> int:
        """Of the process itself."""
        return self._process.process.pid

    def end(self) -> None:
        """Send it home."""
        self._process.kill()


@dataclass(frozen=True, slots=True, kw_only=True)
class Studio:
    """A root and its sheet."""

    stand: Stand
    root: Path
    nights: list[Process] = field(default_factory=list)

    def night(self, **environment: str) -> Process:
        """`rushes run` over the sheet."""
        arguments = ["-m", "flows.cli", "run", str(self.root / "shots.csv")]
        port = str(free_port())
        process = self.stand.start(
            *arguments,
            "--root",
            str(self.root),
            log=self.root / "run.log",
            RUSHES_PREFECT_PORT=port,
            **environment,
        )
        self.nights.append(process)
        return process

    def host(self, name: str, address: str, card: str) -> Process:
        """`rushes join` as a host that sees that card alone."""
        arguments = ["-m", "flows.cli", "join", address, "--root", str(self.root)]
        scratch = str(self.root.parent / f"{self.root.name}-{name}")
        return self.stand.start(
            *arguments,
            *("--name", name, "--device", "cuda", "--scratch", scratch, "--drain", "20"),
            log=self.root / f"host-{name}.log",
            CUDA_VISIBLE_DEVICES=card,
        )


def wait_for(found: Callable[[], Any], what: str, seconds: float) -> Any:
    """What `found` gives once it gives anything. Raises TimeoutError, with what was waited for."""
    until = time.monotonic() + seconds
    while not (answer := found()):
        if time.monotonic() > until:
            raise TimeoutError(f"no {what} within {seconds:.0f} s")
        time.sleep(0.1)
    return answer


def uuids() -> list[str]:
    """Of the cards here. Raises RuntimeError where they are not two."""
    from tasks.gpus import find_devices

    cards = [device.visible or "" for device in find_devices("cuda")]
    if len(cards) < 2:
        raise RuntimeError(f"two cards are needed, {len(cards)} are here")
    return cards


def free_port() -> int:
    """One that nobody listens on at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
