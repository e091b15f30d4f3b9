"""The engine under the pool: worker processes of `distributed`, and one call of one of them.

A scheduler on loopback inside this process, a nanny for each worker. `allowed-failures` is 0, so
that a worker's death comes out as an error of the calls it was doing. Each worker has a resource
of its own name: a call goes to the worker that is meant, and waits for it while it is restarted.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from render.backend import Progress
from render.errors import WorkerLost
from tasks.crew import Post
from tasks.remote import TOPIC, call

SETTINGS: dict[str, Any] = {
    "distributed.scheduler.allowed-failures": 0,
    "distributed.worker.memory.terminate": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.target": False,
    "distributed.admin.tick.limit": "1h",
    "distributed.comm.timeouts.connect": "60s",
    "distributed.nanny.environ": {},
    "distributed.diagnostics.nvml": False,
}


GONE_SECONDS = 10.0
"""What the engine gets to see that a worker was killed; it takes hundredths."""


class Call:
    """One call of a worker, under way."""

    def __init__(self, future: Any, function: str) -> None:
        self._future = future
        self._function = function
        self._task: asyncio.Task[Any] = asyncio.ensure_future(future.result())
        self.died = False
        """Whether the worker's process died under it; known once `result` was asked for."""

    async def is_done(self, *, within: float) -> bool:
        """Wait at most so many seconds; whether it is done."""
        await asyncio.wait([self._task], timeout=within)
        return self._task.done()

    def result(self) -> Any:
        """What the function returned. Raises what it raised, and WorkerLost for a dead worker."""
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError
        from distributed.scheduler import NoValidWorkerError

        try:
            return self._task.result()
        except (KilledWorker, FutureCancelledError, NoValidWorkerError) as error:
            self.died = True
            raise WorkerLost(f"the worker process died during {self._function}") from error

    async def cancel(self) -> None:
        """Let go of it; what runs in a worker runs on until that is restarted."""
        if self._task.done():
            with suppress(asyncio.CancelledError):
                self._task.exception()  # looked at: nothing is left to complain about
        else:
            self._task.cancel()
            await self._future.cancel()


class Engine:
    """The worker processes of one night."""

    def __init__(
        self, posts: Sequence[Post], *, scratch: Path, listener: Callable[[Progress], None]
    ) -> None:
        self._posts = tuple(posts)
        self._scratch = scratch
        self._listener = listener
        self._cluster: Any = None
        self._client: Any = None

    async def start(self) -> None:
        """Start the scheduler and every worker."""
        import dask
        from distributed import Client, Nanny, Scheduler, SpecCluster

        dask.config.set({**SETTINGS, "distributed.nanny.pre-spawn-environ": self._early()})
        # A worker that goes is told by name in the ledger; the engine's own chatter is not.
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        self._scratch.mkdir(parents=True, exist_ok=True)
        self._cluster = await SpecCluster(
            asynchronous=True,
            scheduler={
                "cls": Scheduler,
                "options": {
                    "host": "127.0.0.1",
                    "dashboard_address": "127.0.0.1:0",
                    "dashboard": False,
                },
            },
            workers={
                post.name: {"cls": Nanny, "options": self._options(post)} for post in self._posts
            },
            silence_logs=False,
        )
        self._client = await Client(self._cluster, asynchronous=True, set_as_default=False)
        self._client.subscribe_topic(TOPIC, self._heard)

    async def close(self) -> None:
        """End every worker and the scheduler."""
        if self._client is not None:
            await self._client.close()
        if self._cluster is not None:
            await self._cluster.close()

    def call(self, function: str, order: Any, *, post: Post, door: Path | None = None) -> Call:
        """Have the worker of `post` do `tasks.worker.<function>(order)`, writing through `door`."""
        resources = {post.name: 1}
        future = self._client.submit(call, function, order, door, pure=False, resources=resources)
        return Call(future, function)

    async def restart(self, name: str) -> None:
        """Kill the worker of that name, if it is up; its nanny starts it anew, its calls fail.

        Returns when the engine has seen it: what is sent from then on goes to the new worker.

        NOTE: by signal, not by `restart_workers`: that asks a worker which hangs to end itself,
        and has what it was doing done again without a word.
        """
        pid, address = self.pids().get(name), self._address(name)
        if pid is None:
            return
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + GONE_SECONDS
        while address == self._address(name) is not None and time.monotonic() < deadline:
            await asyncio.sleep(0.02)

    def _address(self, name: str) -> str | None:
        address: str | None = self._cluster.scheduler.aliases.get(name)
        return address

    def pids(self) -> dict[str, int]:
        """Process id of each worker that is up, by its name."""
        nannies = self._cluster.workers.items()
        return {name: nanny.pid for name, nanny in nannies if nanny.pid is not None}

    def _early(self) -> dict[str, str]:
        """Environment that libraries read as they are imported, before `env` is set."""
        most = max(post.threads for post in self._posts)
        return {
            "DASK_LOGGING__DISTRIBUTED": "critical",
            "OMP_NUM_THREADS": str(most),
            # Threads that wait must not spin: the server and the encoder need the cores.
            "OMP_WAIT_POLICY": "passive",
            "MKL_NUM_THREADS": str(most),
        }

    def _options(self, post: Post) -> dict[str, Any]:
        environment = {
            # Determinism of cuBLAS; harmless on a CPU.
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "DO_NOT_TRACK": "1",
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        }
        if len(self._posts) > 1:
            # torch comes later than this and takes its threads from here.
            environment["OMP_NUM_THREADS"] = str(post.threads)
        if post.device is None:
            environment["CUDA_VISIBLE_DEVICES"] = ""
        elif post.device.visible is not None:
            environment["CUDA_VISIBLE_DEVICES"] = post.device.visible
        return {
            "nthreads": post.seats,
            "memory_limit": 0,
            "host": "127.0.0.1",
            "dashboard": False,
            "local_directory": str(self._scratch),
            "resources": {post.name: post.seats},
            "env": environment,
        }

    def _heard(self, event: tuple[float, dict[str, Any]]) -> None:
        told = event[1]
        progress = Progress(**{field.name: told[field.name] for field in fields(Progress)})
        preview = None if told["preview"] is None else Path(told["preview"])
        self._listener(replace(progress, preview=preview))
