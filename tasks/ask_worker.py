"""One piece of worker's work for the command line, in a process of its own: torch stays there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from manifests.errors import RushesError
from qc import errors as qc_errors
from render import errors as render_errors
from render.errors import WorkerLost


def ask_worker(work: str, order: dict[str, Any] | None = None, *, threads: int = 0) -> Any:
    """Run `tasks.worker`'s program `work` (`doctor` or `score`) and return its result.

    `threads` bounds torch's threads; 0 leaves them. Raises the named error that the worker met,
    and WorkerLost, with the end of what it said, when it died.
    """
    environment = {"OMP_WAIT_POLICY": "passive", **os.environ}
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    done = subprocess.run(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-m", "tasks.worker", work],
        input=json.dumps(order or {}),
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    if done.returncode != 0:
        raise WorkerLost(
            f"the worker ended with code {done.returncode}: {done.stderr.strip()[-500:]}"
        )
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    if "error" in answer:
        raise _named(answer["error"])(answer["words"])
    return answer["result"]


def _named(name: str) -> type[RushesError]:
    for module in (qc_errors, render_errors):
        found = getattr(module, name, None)
        if isinstance(found, type) and issubclass(found, RushesError):
            return found
    return RushesError
