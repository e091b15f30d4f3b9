"""The threads that measure: one small pool for each process, each of its threads working alone.

Frames, and pairs of them, can be measured apart. So several are measured at once, each by one
thread from beginning to end, and not one by the threads of OpenCV and torch together: those wait
for each other many times within a frame, and burn a core while they wait.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

import cv2
from threadpoolctl import threadpool_limits

MOST = 8
"""Threads: with more of them the interpreter, which runs one at a time, is what they wait for."""

P = ParamSpec("P")
R = TypeVar("R")

_once = threading.Lock()
_pools: list[ThreadPoolExecutor] = []
_here = threading.local()


def count() -> int:
    """How many there are: this process's share of the cores, at most `MOST`."""
    share = os.environ.get("OMP_NUM_THREADS", "")
    if share.isdecimal() and int(share) > 0:
        return min(int(share), MOST)
    return min(len(os.sched_getaffinity(0)), MOST)


def submit(work: Callable[P, R], with_torch: bool, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
    """Have a thread do `work`; it is begun in the order in which it is given.

    `with_torch`: torch computes in it, and is kept to that thread.
    """
    job = partial(work, *args, **kwargs)
    return _pool().submit(_alone, job) if with_torch else _pool().submit(job)


def _alone(job: Callable[[], R]) -> R:
    _keep_torch_alone()
    return job()


def _pool() -> ThreadPoolExecutor:
    """The pool of this process, made once."""
    with _once:
        if not _pools:
            # NOTE: for the whole process. Nothing else in a worker computes with OpenCV, or has
            # numpy multiply: its threads burn the cores that these want while they wait.
            cv2.setNumThreads(1)
            threadpool_limits(limits=1, user_api="blas")
            _pools.append(ThreadPoolExecutor(count(), thread_name_prefix="measure"))
        return _pools[0]


def _keep_torch_alone() -> None:
    """Have torch compute on this thread alone from now on; other threads keep what they have."""
    if getattr(_here, "alone", False):
        return
    # Imported here: measuring without LPIPS needs no torch.
    import torch

    torch.get_num_threads()  # a thread's first question sets its number: ask before it is set
    threadpool_limits(limits=1, user_api="openmp")
    _here.alone = True
