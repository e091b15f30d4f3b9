"""Waiting in tests: so long that only a test that fails waits to the end, on a busy machine too."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

LONG = 240.0
"""Seconds. What depends on a shorter time is not waited for but told by an event."""


def in_time(work: Coroutine[Any, Any, T]) -> T:
    """What the work gives; fails where it never ends."""
    return asyncio.run(asyncio.wait_for(work, LONG))


async def until(true: Callable[[], object], seconds: float = LONG) -> None:
    """Wait until something holds; fails by time."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came to be"
        await asyncio.sleep(0.05)


def wait_until(true: Callable[[], object], seconds: float = LONG) -> None:
    """`until`, for a test without a loop."""
    asyncio.run(until(true, seconds))
