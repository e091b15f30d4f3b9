"""Frames between two threads: all of them, in order, never more than the bound."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import examples
from waiting import LONG

from render.frame_queue import FrameQueue

FRAME = np.zeros((1, 2, 2, 3), np.float32)


def _chunk(frames: int, value: float) -> np.ndarray:
    return np.full((frames, 2, 2, 3), value, np.float32)


@given(sizes=st.lists(st.integers(1, 6), max_size=12), bound=st.integers(1, 8))
@settings(max_examples=examples(40), deadline=None)
def test_a_queue_is_bounded_and_loses_nothing(sizes: list[int], bound: int) -> None:
    """Whatever the chunks, they come out in order, and what waits stays within the bound."""
    queue = FrameQueue(bound * FRAME.nbytes)
    most: list[int] = []

    def fill() -> None:
        for index, frames in enumerate(sizes):
            queue.put(_chunk(frames, index))
            most.append(queue.waiting)
        queue.close()

    producer = threading.Thread(target=fill)
    producer.start()
    got = [(len(chunk), float(chunk[0, 0, 0, 0])) for chunk in queue]
    producer.join()
    assert got == [(frames, float(index)) for index, frames in enumerate(sizes)]
    # A chunk larger than the bound passes, alone.
    assert max(most, default=0) <= max([bound, *sizes]) * FRAME.nbytes
    assert queue.waiting == 0


def test_a_full_queue_holds_the_producer_until_there_is_room() -> None:
    """The third chunk of two that fit waits until the first is taken."""
    queue, through = FrameQueue(2 * FRAME.nbytes), threading.Event()

    def fill() -> None:
        for value in range(3):
            queue.put(_chunk(1, value))
        through.set()

    threading.Thread(target=fill, daemon=True).start()
    assert not through.wait(0.05)
    assert queue.waiting == 2 * FRAME.nbytes
    next(iter(queue))
    assert through.wait(LONG)


def test_closing_frees_a_producer_that_waits() -> None:
    """A consumer that is gone holds nobody: what is put then is dropped."""
    queue = FrameQueue(FRAME.nbytes)
    queue.put(FRAME)
    waiting = threading.Thread(target=queue.put, args=(FRAME,), daemon=True)
    waiting.start()
    time.sleep(0.01)
    queue.close(OSError("disk full"))
    waiting.join(LONG)
    assert not waiting.is_alive()
    assert queue.waiting == 0


def test_an_error_comes_before_what_still_waits() -> None:
    """After a failed decode no further frame is handed out."""
    queue = FrameQueue(10 * FRAME.nbytes)
    queue.put(FRAME)
    queue.close(ValueError("no more"))
    with pytest.raises(ValueError, match="no more"):
        next(iter(queue))
