"""A stop from outside ends a night's work, whoever is at work when it comes."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from contextlib import suppress

import pytest
from prefect.utilities.engine import capture_sigterm

from flows.stopping import run_until_stopped


async def kill_from_beside():
    """SIGTERM that comes while a task beside the night's own computes, which Prefect then ends."""
    os.kill(os.getpid(), signal.SIGTERM)
    while True:
        sum(range(1000))


async def night(said):
    """Waits for long, as a night does for its workers, and puts down what it has open."""
    with capture_sigterm():
        beside = asyncio.create_task(kill_from_beside())
        try:
            await asyncio.sleep(60)
            said.append("went on")
        finally:
            await asyncio.sleep(0)
            said.append(f"put down, beside: {beside.done()}")
            with suppress(BaseException):
                beside.result()


def test_a_stop_that_comes_to_a_task_beside_ends_the_night():
    """It is put down and ends as by Ctrl-C, in place of going on for good."""
    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        run_until_stopped(night(said))
    assert said == ["put down, beside: True"]


def test_a_stop_between_all_tasks_ends_the_night():
    """While it waits for what comes next."""
    said: list[str] = []
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()

    async def waits():
        with capture_sigterm():
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0)
                said.append("put down")

    with pytest.raises(KeyboardInterrupt):
        run_until_stopped(waits())
    assert said == ["put down"]


def test_who_heard_stops_before_hears_them_again():
    """What SIGTERM did before the night, it does after it."""

    def hears(*_):
        """What somebody wants."""

    before = signal.signal(signal.SIGTERM, hears)
    try:
        assert run_until_stopped(asyncio.sleep(0, "done")) == "done"
        assert signal.getsignal(signal.SIGTERM) is hears
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_night_that_cancels_itself_was_not_stopped():
    """Its own cancellation is told as that."""

    async def cancels():
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        run_until_stopped(cancels())
