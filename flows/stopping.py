"""A stop from outside while a night runs: it ends the night, whichever task is just at work.

While a flow runs Prefect has SIGTERM raise TerminationSignal, wherever Python is just then. In a
task beside the night's own that ends that task alone; in a callback of the loop, or where an object
is being thrown away, nothing at all: nobody hears of it, and the night goes on. So the loop hears
the signal, too, and cancels the night.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


def run_until_stopped(work: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` from the main thread, which SIGTERM ends as Ctrl-C does.

    Raises:
        KeyboardInterrupt: it was stopped; what it had open is closed.
    """
    from prefect.exceptions import TerminationSignal

    before = signal.getsignal(signal.SIGTERM)
    stopped = False

    async def whole() -> T:
        nonlocal stopped
        with stops_heard() as heard:
            try:
                return await work
            finally:
                stopped = heard()

    try:
        return asyncio.run(whole())
    except TerminationSignal:
        raise KeyboardInterrupt from None
    except asyncio.CancelledError:
        if stopped:
            raise KeyboardInterrupt from None
        raise
    finally:
        # A night that is over hears no stop any more; what comes after it does.
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


@contextmanager
def stops_heard() -> Iterator[Callable[[], bool]]:
    """Within it SIGTERM cancels the task that entered; what is yielded tells whether one came.

    Off the main thread, where no signal is heard, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None, "entered within a task"
    came = threading.Event()

    def stop() -> None:
        came.set()
        # Once: a second one would cut short what the first has it put down.
        if not task.cancelling():
            task.cancel()

    with _beside_prefect(loop, stop), _without_a_word(loop):
        yield came.is_set


@contextmanager
def _beside_prefect(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> Iterator[None]:
    """The loop calls `stop` on SIGTERM; Prefect's own handler, where it is there, stays in place:
    its runner cancels by signal only where it finds it."""
    from prefect.utilities.engine import is_prefect_sigterm_handler_installed

    before = signal.getsignal(signal.SIGTERM)
    keep = is_prefect_sigterm_handler_installed()
    loop.add_signal_handler(signal.SIGTERM, stop)
    of_the_loop = signal.getsignal(signal.SIGTERM)
    if keep:
        signal.signal(signal.SIGTERM, before)
    try:
        yield
    finally:
        # The loop leaves the system's own behind, which ends a process on the spot.
        last = signal.getsignal(signal.SIGTERM)
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, before if last is of_the_loop else last)


@contextmanager
def _without_a_word(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Python and the loop print no traceback of a stop that was raised where nobody catches it."""
    from prefect.exceptions import TerminationSignal

    unraisable, handler = sys.unraisablehook, loop.get_exception_handler()

    def hook(what: Any) -> None:
        if not isinstance(what.exc_value, TerminationSignal):
            unraisable(what)

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if isinstance(context.get("exception"), TerminationSignal):
            return
        if handler is None:
            loop.default_exception_handler(context)
        else:
            handler(loop, context)

    sys.unraisablehook = hook
    # Stays for as long as the loop does: of tasks that a stop ended it is told when it closes.
    loop.set_exception_handler(handle)
    try:
        yield
    finally:
        sys.unraisablehook = unraisable
