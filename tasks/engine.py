"""The engine under the pool: worker processes of `distributed`, and one call of one of them.

A scheduler inside this process, on loopback unless hosts may join, and a nanny for each worker of
this machine; a host brings its own (`tasks.host_agent`). `allowed-failures` is 0, so that a
worker's death comes out as an error of the calls it was doing. Each worker has a resource of its
own name: a call goes to the worker that is meant, and waits for it while it is restarted.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from manifests.errors import BadInput, Fault
from render.backend import Progress
from render.errors import WorkerLost
from tasks.crew import Post
from tasks.host_keys import security
from tasks.nannies import nanny_options, settings_for
from tasks.remote import TOPIC, call
from tasks.watchdog import resident_bytes

GONE_SECONDS = 30.0
"""What the engine gets to see that a worker was killed: hundredths on a CPU, seconds on a card."""
ANSWER_SECONDS = 10.0
"""What the nanny of another host gets to answer."""
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Where hosts come in."""

    host: str = LOOPBACK
    """Address of this machine on the hosts' network."""
    port: int = 0
    """0: any free one."""
    tls: Path | None = None
    """Folder of the keys (`tasks.host_keys`); None: nothing is encrypted, everybody is let in."""


CLOSED = Gate()
"""Loopback, for the workers of this machine."""


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
        self,
        posts: Sequence[Post],
        *,
        scratch: Path,
        listener: Callable[[Progress], None],
        gate: Gate | None = None,
    ) -> None:
        """`posts` of this machine; `gate` None: no hosts join."""
        self._posts = tuple(posts)
        self._scratch = scratch
        self._listener = listener
        self._gate = gate or CLOSED
        self._cluster: Any = None
        self._client: Any = None

    async def start(self) -> None:
        """Start the scheduler and every worker. Raises BadInput where hosts cannot come in."""
        import dask
        from distributed import Client, Nanny, Scheduler, SpecCluster

        dask.config.set(settings_for(self._posts))
        # A worker that goes is told by name in the ledger; the engine's own chatter is not.
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        self._scratch.mkdir(parents=True, exist_ok=True)
        gate, keys = self._gate, security(self._gate.tls)
        alone = len(self._posts) == 1
        _check_free(gate)
        self._cluster = await SpecCluster(
            asynchronous=True,
            security=keys,
            scheduler={
                "cls": Scheduler,
                "options": {
                    "host": gate.host,
                    "port": gate.port,
                    "dashboard_address": f"{LOOPBACK}:0",
                    "dashboard": False,
                    "security": keys,
                },
            },
            workers={
                post.name: {
                    "cls": Nanny,
                    "options": {
                        **nanny_options(post, alone=alone, scratch=self._scratch),
                        "host": LOOPBACK,
                        "security": keys,
                    },
                }
                for post in self._posts
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

    @property
    def address(self) -> str:
        """Of the scheduler: `tls://10.0.0.5:8786`."""
        return str(self._cluster.scheduler.address)

    @property
    def scheduler(self) -> Any:
        """The scheduler itself, which runs in this process."""
        return self._cluster.scheduler

    def subscribe(self, topic: str, heard: Callable[[Any], None]) -> None:
        """Have `heard` called with every message under a topic, whoever sends it."""
        self._client.subscribe_topic(topic, lambda event: heard(event[1]))

    def say(self, topic: str, message: dict[str, Any]) -> None:
        """Send a message to all who subscribed to a topic."""
        self._cluster.scheduler.log_event(topic, message)

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
        address, pid = self._address(name), self.own_pids().get(name)
        if name in self._cluster.workers:
            if pid is None:
                return
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        elif address is not None:
            await self._kill_elsewhere(address)
        deadline = time.monotonic() + GONE_SECONDS
        while self._is_up(name, address, pid) and time.monotonic() < deadline:
            await asyncio.sleep(0.02)

    def _is_up(self, name: str, address: str | None, pid: int | None) -> bool:
        """Whether the engine still takes a worker for the one at `address`, process `pid`.

        NOTE: the two end apart. A killed process is silent at once, and gone seconds later when
        the driver has cleared what it had on a card.
        """
        known = address is not None and self._address(name) == address
        return known or (pid is not None and self.own_pids().get(name) == pid)

    async def _kill_elsewhere(self, address: str) -> None:
        """Have the nanny on its host kill a worker; where that does not answer, forget the worker:
        its calls fail, and what it still does is kept out of the folders by their doors."""
        asked = self._client.run(kill_own, workers=[address], nanny=True)
        try:
            await asyncio.wait_for(asked, ANSWER_SECONDS)
        except (TimeoutError, OSError, KeyError):  # the last: the engine knows it no more
            await self.forget(address)

    async def forget(self, address: str) -> None:
        """Take a worker that does not answer out of the books: its calls fail."""
        await self._cluster.scheduler.remove_worker(address, stimulus_id=f"lease-{time.time()}")

    async def forget_all(self, names: Sequence[str]) -> None:
        """`forget` the workers of these names that are known."""
        for address in [self._address(name) for name in names]:
            if address is not None:
                await self.forget(address)

    def _address(self, name: str) -> str | None:
        address: str | None = self._cluster.scheduler.aliases.get(name)
        return address

    def pids(self) -> dict[str, int]:
        """Process id of each worker that is up, by its name; on the host where it runs."""
        if self._cluster is None:
            return {}
        nannies, known = self._cluster.workers, self._cluster.scheduler.workers.values()
        return {**{ws.name: ws.pid for ws in known if ws.name not in nannies}, **self.own_pids()}

    def own_pids(self) -> dict[str, int]:
        """The same, of the workers of this machine alone."""
        nannies = {} if self._cluster is None else self._cluster.workers
        return {name: nanny.pid for name, nanny in nannies.items() if nanny.pid is not None}

    def resident(self, name: str) -> int | None:
        """Resident bytes of a worker, of a host's as it told last; None where it is not up."""
        if name in self._cluster.workers:
            pid = self.pids().get(name)
            return None if pid is None else resident_bytes(pid)
        state = self._cluster.scheduler.workers.get(self._address(name))
        return None if state is None else int(state.metrics.get("memory", 0)) or None

    def _heard(self, event: tuple[float, dict[str, Any]]) -> None:
        told = event[1]
        progress = Progress(**{field.name: told[field.name] for field in fields(Progress)})
        preview = None if told["preview"] is None else Path(told["preview"])
        self._listener(replace(progress, preview=preview))


def kill_own(dask_worker: Any) -> None:
    """Run in a nanny: kill the worker that it keeps, and have it start another one."""
    if dask_worker.pid is not None:
        with suppress(ProcessLookupError):
            os.kill(dask_worker.pid, signal.SIGKILL)


def _check_free(gate: Gate) -> None:
    """Raise BadInput where hosts cannot come in: no such address, or a port that is taken."""
    try:
        family = socket.AF_INET6 if ":" in gate.host else socket.AF_INET
        with socket.socket(family) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((gate.host, gate.port))
    except OSError as error:
        raise BadInput([_not_listening(gate, error)]) from error


def _not_listening(gate: Gate, error: OSError) -> Fault:
    return Fault(
        file=Path("studio.yaml"),
        column="hosts.listen",
        value=f"{gate.host}:{gate.port}",
        problem=f"hosts cannot come in there ({error.strerror or error})",
        remedy="name an address of this machine and a port that is free",
    )
