"""Hosts for tests: `rushes join` as processes of their own, killed and frozen as a whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from waiting import LONG

from tasks.admission import Hosting
from tasks.engine import Gate
from tasks.gpus import Machine
from tasks.host_facts import code_facts, model_places
from tasks.worker_pool import WorkerPool

HERE = Path(__file__).parents[2]
LEASE = 6.0
"""Seconds: a process of a busy test machine may well say nothing for three."""


class HostProcess:
    """A host in a session of its own, with all its workers."""

    def __init__(
        self,
        root: Path,
        address: str,
        name: str,
        *,
        prefix: Sequence[str] = (),
        drain: float = 20.0,
        **environment: str,
    ) -> None:
        """`prefix` goes before the command: `ip netns exec ...`."""
        self.name, self.log = name, root / f"host-{name}.log"
        self.begun = time.monotonic()
        command = [sys.executable, "-m", "flows.cli", "join", address, "--root", str(root)]
        options = ["--name", name, "--device", "cpu", "--drain", str(drain)]
        scratch = ["--scratch", str(root.parent / f"{root.name}-scratch-{name}")]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*prefix, *command, *options, *scratch],
                env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
                stdout=log,
                stderr=log,
                cwd=HERE,
                start_new_session=True,
            )

    def _family(self) -> list[psutil.Process]:
        top = psutil.Process(self.process.pid)
        return [top, *top.children(recursive=True)]

    def signal_all(self, number: signal.Signals) -> None:
        """To the host and to every process below it: the machine's plug, or its breath."""
        for process in self._family():
            # NOTE: what ended by itself since the family was listed needs no signal.
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def kill(self) -> None:
        """Pull the plug."""
        family = self._family()
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, timeout=LONG)
        self.process.wait(LONG)

    def leave(self) -> int:
        """SIGTERM, to the host alone, as a service manager does; its exit code."""
        self.process.terminate()
        return self.process.wait(LONG)

    def end(self) -> None:
        """Whatever it does: leave nothing behind."""
        if self.process.poll() is None:
            self.signal_all(signal.SIGCONT)
            self.kill()

    @property
    def said(self) -> str:
        """What it printed."""
        return self.log.read_text()


def hosting(
    root: Path, *, lease: float = LEASE, patience: float = 60.0, gate: Gate | None = None
) -> Hosting:
    """Hosts may join on loopback, at any free port, unless `gate` says where."""
    from manifests.settings import load_studio

    studio = load_studio(root)
    return Hosting(
        gate=gate or Gate(),
        root=studio.root,
        tokens=studio.state_dir / "hosts",
        lease=lease,
        patience=patience,
        facts=dict(code_facts()),
        models=model_places(studio),
        book=studio.state_dir / "hosts.json",
    )


def hostless_pool(root: Path, *, rules: Hosting | None = None, **more: Any) -> WorkerPool:
    """A pool on a machine without any card: its hosts render. Keywords go to the pool."""
    return WorkerPool(
        Machine(cards=()),
        threads=1,
        scratch=root / ".rushes" / "workers",
        listener=lambda progress: None,
        hosting=rules or hosting(root),
        **more,
    )
