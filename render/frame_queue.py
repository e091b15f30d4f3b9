"""Decoded frames on their way from one thread to another, bounded by their bytes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Chunk = NDArray[np.float32]
"""float32 (T, H, W, 3)."""


class FrameQueue:
    """Chunks in order, at most so many bytes of them; a larger one passes alone."""

    def __init__(self, bound: int) -> None:
        """`bound`: bytes that may wait."""
        self._bound = bound
        self._chunks: deque[Chunk] = deque()
        self._waiting = 0
        self._ended = False
        self._error: BaseException | None = None
        self._moved = threading.Condition()

    @property
    def waiting(self) -> int:
        """Bytes that wait now."""
        return self._waiting

    def put(self, chunk: Chunk) -> None:
        """Hand on a chunk; waits while there is no room. Once it is closed nothing is kept."""
        with self._moved:
            self._moved.wait_for(lambda: self._ended or self._has_room(chunk))
            if not self._ended:
                self._chunks.append(chunk)
                self._waiting += chunk.nbytes
                self._moved.notify_all()

    def close(self, error: BaseException | None = None) -> None:
        """No chunk follows. With an error, the other side gets it instead of what still waits."""
        with self._moved:
            self._ended, self._error = True, self._error or error
            if error is not None:
                self._chunks.clear()
                self._waiting = 0
            self._moved.notify_all()

    def __iter__(self) -> Iterator[Chunk]:
        """The chunks in order, until it is closed. Raises the error it was closed with."""
        while True:
            with self._moved:
                self._moved.wait_for(lambda: bool(self._chunks) or self._ended)
                if self._error is not None:
                    raise self._error
                if not self._chunks:
                    return
                chunk = self._chunks.popleft()
                self._waiting -= chunk.nbytes
                self._moved.notify_all()
            yield chunk

    def _has_room(self, chunk: Chunk) -> bool:
        return not self._chunks or self._waiting + chunk.nbytes <= self._bound
