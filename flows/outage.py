"""What a night does while Prefect's server is away: its work goes on, new pages wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from httpx import HTTPStatusError, TransportError

T = TypeVar("T")

LONGEST = 900.0
"""Seconds that a server is waited for; `rushes serve` starts one again within a minute."""
EVERY = 2.0
"""Seconds between two tries."""
ANSWERED = 60.0
"""A call that lasted so long had a server: what ends it is another outage."""


async def through_outages(
    call: Callable[[], Awaitable[T]],
    *,
    tell: Callable[[str], None],
    longest: float = LONGEST,
    every: float = EVERY,
) -> T:
    """What `call` gives, made again while the server does not answer or says that it cannot.

    `call` must be one that may be made again: a shot's flow asks the ledger what is left to do.
    Raises what the last one raised when the server is away for `longest` seconds.
    """
    since: float | None = None
    while True:
        begun = time.monotonic()
        try:
            return await call()
        except (TransportError, HTTPStatusError) as error:
            if isinstance(error, HTTPStatusError) and error.response.status_code < 500:
                raise
            now = time.monotonic()
            if since is None or now - begun > ANSWERED:
                since = now
                tell(f"Prefect's server is away ({type(error).__name__}); it is waited for")
            if now - since > longest:
                raise
        await asyncio.sleep(every)
