"""The card is given to those who wait in the order in which they came."""

from __future__ import annotations

import threading
import time

import pytest
from waiting import LONG

from render.turns import Turns


def test_the_card_goes_to_who_waits_longest() -> None:
    """Eight threads that came one after another are served in that order, one at a time."""
    turns, served, at_once = Turns(), list[int](), list[int]()

    def work(number: int) -> None:
        with turns:
            at_once.append(number)
            assert at_once == [number]
            served.append(number)
            time.sleep(0.001)
            at_once.clear()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    with turns:
        for position, thread in enumerate(threads):
            thread.start()
            while len(turns._queue) < position + 2:
                time.sleep(0.0005)
    for thread in threads:
        thread.join(LONG)
    assert served == list(range(8))


def test_an_error_frees_the_card() -> None:
    """A take that fails leaves the card to the next."""
    turns = Turns()

    def fail() -> None:
        with turns:
            raise RuntimeError("the take failed")

    with pytest.raises(RuntimeError):
        fail()
    with turns:
        pass
