"""From latents to a clip: frames leave the card as they are decoded and are written beside it.

The decode runs on the caller's thread and holds the card; a second thread writes what comes out,
shows it to whoever watches, and makes a picture of the first frames. When the last frame is
decoded the card is free, though the file may not be whole yet.

Frames wait for the writer in host memory: a card that waits for an encoder costs more than RAM.
But only up to `BUFFER_BYTES`; then the decode waits, and the night goes on at the writer's pace.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

from render.clip import quantised, write_clip
from render.families.base import Frames, LoadedModel
from render.first_frames import FirstFrames
from render.frame_queue import FrameQueue
from render.order import CLIP_NAME, Span
from render.sampling import Latents
from render.take import Take

CLIP = CLIP_NAME
BUFFER_BYTES = 2 * 2**30
"""Decoded frames that may wait for the writer: 448 of 832 x 480, 194 of 1280 x 720."""


class Developing:
    """A clip while it is written. `finish` must be called, also after an error."""

    def __init__(self, take: Take, *, buffer_bytes: int = BUFFER_BYTES) -> None:
        self._take = take
        self._clip = take.order.clip
        self._frames = FrameQueue(buffer_bytes)
        self._first = FirstFrames(take)
        self._watch = take.watch
        self._error: BaseException | None = None
        self._writer = threading.Thread(target=self._write, name="clip writer", daemon=True)
        self._writer.start()

    def add(self, chunk: Frames) -> None:
        """Hand on a chunk of decoded frames; waits while the writer is too far behind.

        Raises what the writing raised: a full disk ends the decode here, not at its end.
        """
        self._frames.put(chunk)
        if self._error is not None:
            raise self._error

    def end(self) -> None:
        """No frame follows."""
        self._frames.close()

    def give_up(self, error: BaseException) -> None:
        """The decode failed: the file is not published."""
        self._frames.close(error)
        self._writer.join()

    def finish(self) -> Path:
        """The clip, whole. Raises what the writing raised: NonFinite, DiskFull ..."""
        self._writer.join()
        if self._error is not None:
            raise self._error
        return self._clip

    def _write(self) -> None:
        begun = time.time()
        try:
            self._begin_watching()
            write_clip(self._arriving(), self._clip, fps=self._take.recipe.fps)
        except BaseException as error:
            self._error = error
            # The decode may wait for room that nobody makes any more.
            self._frames.close(error)
        ended = time.time()
        self._take.timeline.append(Span(kind="write", begun=begun, ended=ended, on_card=False))

    def _arriving(self) -> Iterator[Frames]:
        for chunk in self._frames:
            self._first.add(chunk)
            yield chunk
            # Only here: the chunk was found finite and is in the file.
            self._show(chunk)
        self._first.end()

    def _begin_watching(self) -> None:
        if self._watch is not None:
            try:
                self._watch.begin()
            except Exception as error:
                self._stop_watching(error)

    def _show(self, chunk: Frames) -> None:
        """Let the watcher see the frames as the file gives them back."""
        if self._watch is not None:
            try:
                self._watch.see(quantised(chunk))
            except Exception as error:
                self._stop_watching(error)

    def _stop_watching(self, error: Exception) -> None:
        # Not a silent fallback: whoever watched knows that it has not seen all, and so does
        # the receipt. The clip itself lacks nothing.
        self._watch = None
        self._take.notes.append(
            f"the frames were not watched to their end ({type(error).__name__}: {error}); "
            "the clip is whole and is measured from its file"
        )


def develop(take: Take, model: LoadedModel, latents: Latents) -> Developing:
    """Decode all of `latents`; the clip is whole once `finish` of what is returned has returned.

    Raises NonFinite, or what the decode or the writing raises.
    """
    film = Developing(take)
    try:
        with take.phase("decode"):
            for chunk in model.decode(latents.x):
                film.add(chunk)
    except BaseException as error:
        film.give_up(error)
        raise
    film.end()
    return film
