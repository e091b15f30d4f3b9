"""A stop from outside ends a night's work, whoever is at work when it comes."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from prefect.utilities.engine import capture_sigterm, is_prefect_sigterm_handler_installed

from flows.stopping import run_until_stopped, stops_heard


def signal_in_a_callback():
    """SIGTERM that comes while the loop calls something back."""

    def calls():
        os.kill(os.getpid(), signal.SIGTERM)
        for number in range(1000):
            math.sqrt(number)

    asyncio.get_running_loop().call_soon(calls)


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


@pytest.fixture
def unraisable(monkeypatch):
    """The words of what was raised where nobody can catch it."""
    told: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: told.append(str(what.exc_value)))
    return told


class Stopped:
    """SIGTERM comes while it is thrown away, where an exception goes nowhere."""

    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        for number in range(1000):
            math.sqrt(number)


@pytest.mark.parametrize("lost", [Stopped, signal_in_a_callback])
def test_a_stop_that_python_cannot_raise_ends_the_night(lost, unraisable, caplog):
    """Of Prefect's as of one's own, with what it has open put down and without a traceback."""
    said: list[str] = []

    async def waits():
        with capture_sigterm(), stops_heard() as heard:
            try:
                lost()
                await asyncio.sleep(60)
            finally:
                said.append(f"put down, stopped: {heard()}")

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(waits())
    assert said == ["put down, stopped: True"]
    assert unraisable == []
    assert caplog.text == ""


def test_prefects_own_handler_stays_in_place():
    """Its runner looks for it before it cancels; what comes in its place later stays, too."""

    async def looks():
        with capture_sigterm():
            with stops_heard():
                assert is_prefect_sigterm_handler_installed()
            assert is_prefect_sigterm_handler_installed()
            with stops_heard():
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN

    asyncio.run(looks())


def test_what_else_goes_wrong_unseen_is_told_as_ever(unraisable, caplog):
    """In a destructor and in a callback of the loop."""

    class Breaks:
        def __del__(self):
            raise ValueError("in a destructor")

    def breaks():
        raise ValueError("in a callback")

    async def night():
        with stops_heard():
            Breaks()
            asyncio.get_running_loop().call_soon(breaks)
            await asyncio.sleep(0.01)

    asyncio.run(night())
    assert unraisable == ["in a destructor"]
    assert "in a callback" in caplog.text


def test_off_the_main_thread_no_stop_is_heard():
    """As Python has it; the work is done."""

    async def work():
        with stops_heard() as heard:
            return heard()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(asyncio.run, work()).result() is False


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
