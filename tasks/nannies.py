"""How a worker process is started, on the machine of the night and on a host that joins it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.crew import Post

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
"""Of `distributed`, for every process of a night."""


def settings_for(posts: Sequence[Post]) -> dict[str, Any]:
    """SETTINGS, and the environment that libraries read as they are imported, before `env` of
    `nanny_options` is set."""
    most = max((post.threads for post in posts), default=1)
    early = {
        "DASK_LOGGING__DISTRIBUTED": "critical",
        "OMP_NUM_THREADS": str(most),
        # Threads that wait must not spin: the server and the encoder need the cores.
        "OMP_WAIT_POLICY": "passive",
        "MKL_NUM_THREADS": str(most),
    }
    return {**SETTINGS, "distributed.nanny.pre-spawn-environ": early}


def nanny_options(post: Post, *, alone: bool, scratch: Path) -> dict[str, Any]:
    """Keyword arguments of the nanny of a worker; `alone`: it has the machine's threads."""
    environment = {
        # Determinism of cuBLAS; harmless on a CPU.
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
    }
    if not alone:
        # torch comes later than this and takes its threads from here.
        environment["OMP_NUM_THREADS"] = str(post.threads)
    if post.device is None:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    elif post.device.visible is not None:
        environment["CUDA_VISIBLE_DEVICES"] = post.device.visible
    return {
        "nthreads": post.seats,
        "memory_limit": 0,
        "dashboard": False,
        "local_directory": str(scratch),
        "resources": {post.name: post.seats},
        "env": environment,
    }
