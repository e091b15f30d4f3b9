"""Turns at the card: a lock that serves those who wait in the order in which they came."""

from __future__ import annotations

import threading
from collections import deque
from types import TracebackType


class Turns:
    """A lock for threads, first come, first served; a context manager. Not re-entrant.

    NOTE: `threading.Lock` promises no order: a take could wait while later ones overtake it.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._queue: deque[threading.Event] = deque()
        """Who has the turn (its head) and who waits."""

    def __enter__(self) -> None:
        mine = threading.Event()
        with self._guard:
            self._queue.append(mine)
            if self._queue[0] is mine:
                return
        mine.wait()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        with self._guard:
            self._queue.popleft()
            if self._queue:
                self._queue[0].set()
