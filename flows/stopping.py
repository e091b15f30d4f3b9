"""A stop from outside while a night runs: it ends the night, whichever task is just at work."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run_until_stopped(work: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` from the main thread, which SIGTERM ends as Ctrl-C does.

    While a flow runs Prefect has SIGTERM raise TerminationSignal, wherever Python is just then. In
    a task beside the night's own that ends that task alone: nobody hears of it, and the night goes
    on. So the loop hears the signal, too, and cancels the work.

    Raises:
        KeyboardInterrupt: it was stopped; what it had open is closed.
    """
    from prefect.exceptions import TerminationSignal

    before = signal.getsignal(signal.SIGTERM)
    stopped = False

    async def whole() -> T:
        task = asyncio.current_task()
        assert task is not None

        def stop() -> None:
            nonlocal stopped
            stopped = True
            # Once: a second one would cut short what the first has it put down.
            if not task.cancelling():
                task.cancel()

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
        return await work

    try:
        return asyncio.run(whole())
    except TerminationSignal:
        raise KeyboardInterrupt from None
    except asyncio.CancelledError:
        if stopped:
            raise KeyboardInterrupt from None
        raise
    finally:
        # The loop leaves the system's own behind, which ends a process on the spot.
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
