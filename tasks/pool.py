"""The pool of worker processes: one for each device, alive all night, restarted when it dies.

The engine is `distributed`: a scheduler on loopback inside this process, a nanny for each
worker. `allowed-failures` is 0, so that a worker's death comes out as an error of the call it
was doing; whether to try again is Prefect's business, not the pool's.
"""

from __future__ import annotations

import asyncio
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from qc.scorecard import Scorecard
from render.backend import Progress
from render.errors import WorkerLost
from render.order import Delivery, FinishOrder, Receipt, RenderOrder, ScoreOrder
from tasks.gpus import Device
from tasks.remote import TOPIC, call

Listener = Callable[[Progress], None]


class Pool(ABC):
    """Where renders are sent. Every call raises RenderError or QCError, named, or returns."""

    torch_device: str
    """What the workers call their device: `cpu` or `cuda:0`."""
    lanes: int
    """How many takes can be in work at once."""

    @abstractmethod
    async def render(self, order: RenderOrder, *, budget: float) -> Receipt:
        """Render a take; after `budget` seconds its worker is restarted and WorkerLost raised."""

    @abstractmethod
    async def score(self, order: ScoreOrder, *, budget: float) -> Scorecard:
        """Measure a clip."""

    @abstractmethod
    async def finish(self, order: FinishOrder, *, budget: float) -> Delivery:
        """Finish an approved take."""

    @abstractmethod
    async def picture(self, clip: Path, *, budget: float) -> tuple[Path, Path]:
        """Contact strip and preview of a take."""


class WorkerPool(Pool):
    """Worker processes on this machine; an async context manager."""

    def __init__(
        self, devices: Sequence[Device], *, threads: int, scratch: Path, listener: Listener
    ) -> None:
        self.devices = tuple(devices)
        self.lanes = len(self.devices)
        self.torch_device = self.devices[0].torch_device
        self._threads = threads
        self._scratch = scratch
        self._listener = listener
        self._cluster: Any = None
        self._client: Any = None

    async def __aenter__(self) -> WorkerPool:
        import dask
        from distributed import Client, Nanny, Scheduler, SpecCluster

        dask.config.set(
            {
                "distributed.scheduler.allowed-failures": 0,
                "distributed.worker.memory.terminate": False,
                "distributed.worker.memory.pause": False,
                "distributed.worker.memory.spill": False,
                "distributed.worker.memory.target": False,
                "distributed.admin.tick.limit": "1h",
                "distributed.comm.timeouts.connect": "60s",
                "distributed.nanny.environ": {},
                # Read when a worker imports its libraries: before `env` below is set.
                "distributed.nanny.pre-spawn-environ": {
                    "DASK_LOGGING__DISTRIBUTED": "critical",
                    "OMP_NUM_THREADS": str(self._threads),
                    # Threads that wait must not spin: the server and the encoder need the cores.
                    "OMP_WAIT_POLICY": "passive",
                    "MKL_NUM_THREADS": str(self._threads),
                },
                "distributed.diagnostics.nvml": False,
            }
        )
        # A worker that goes is told by name in the ledger; the engine's own chatter is not.
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        workers = {
            f"worker-{index}": {"cls": Nanny, "options": self._options(device)}
            for index, device in enumerate(self.devices)
        }
        self._scratch.mkdir(parents=True, exist_ok=True)
        self._cluster = await SpecCluster(
            asynchronous=True,
            scheduler={
                "cls": Scheduler,
                "options": {"host": "127.0.0.1", "dashboard_address": None, "dashboard": False},
            },
            workers=workers,
            silence_logs=False,
        )
        self._client = await Client(self._cluster, asynchronous=True, set_as_default=False)
        self._client.subscribe_topic(TOPIC, self._heard)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._client is not None:
            await self._client.close()
        if self._cluster is not None:
            await self._cluster.close()

    def _options(self, device: Device) -> dict[str, Any]:
        environment = {
            # Determinism of cuBLAS; harmless on a CPU.
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "DO_NOT_TRACK": "1",
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        }
        if device.visible is not None:
            environment["CUDA_VISIBLE_DEVICES"] = device.visible
        return {
            "nthreads": 1,
            "memory_limit": 0,
            "host": "127.0.0.1",
            "dashboard": False,
            "local_directory": str(self._scratch),
            "resources": {"DEVICE": 1},
            "env": environment,
        }

    async def render(self, order: RenderOrder, *, budget: float) -> Receipt:
        """See `Pool.render`."""
        receipt = await self._call("render", order, budget)
        assert isinstance(receipt, Receipt)
        return receipt

    async def score(self, order: ScoreOrder, *, budget: float) -> Scorecard:
        """See `Pool.score`."""
        card = await self._call("score", order, budget)
        assert isinstance(card, Scorecard)
        return card

    async def finish(self, order: FinishOrder, *, budget: float) -> Delivery:
        """See `Pool.finish`."""
        delivery = await self._call("finish", order, budget)
        assert isinstance(delivery, Delivery)
        return delivery

    async def picture(self, clip: Path, *, budget: float) -> tuple[Path, Path]:
        """See `Pool.picture`."""
        strip, preview = await self._call("picture", clip, budget)
        return strip, preview

    async def worker_pids(self) -> dict[str, int]:
        """Process id of each worker that is up, by its name: for `status` and for tests."""
        info = await self._client.run(os.getpid)
        return {str(address): int(pid) for address, pid in info.items()}

    async def _call(self, function: str, order: Any, budget: float) -> Any:
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError
        from distributed.scheduler import NoValidWorkerError

        future = self._client.submit(call, function, order, pure=False, resources={"DEVICE": 1})
        try:
            return await asyncio.wait_for(future.result(), budget)
        except TimeoutError as error:
            await self._restart_worker_of(future)
            raise WorkerLost(
                f"{function} took longer than {budget:.0f} s, its budget; its worker was restarted"
            ) from error
        except (KilledWorker, FutureCancelledError, NoValidWorkerError) as error:
            raise WorkerLost(f"the worker process died during {function}") from error
        except asyncio.CancelledError:
            future.cancel()
            raise

    async def _restart_worker_of(self, future: Any) -> None:
        where = await self._client.processing()
        busy = [address for address, keys in where.items() if future.key in keys]
        future.cancel()
        await self._client.restart_workers(busy or list(where), raise_for_error=False)

    def _heard(self, event: tuple[float, dict[str, Any]]) -> None:
        told = event[1]
        self._listener(Progress(**{field.name: told[field.name] for field in fields(Progress)}))
