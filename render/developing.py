"""From latents to a clip: frames leave the card as they are decoded and are written beside it.

The decode runs on the caller's thread and holds the card; a second thread writes what comes out.
When the last frame is decoded the card is free, though the file may not be whole yet.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from render.clip import write_clip
from render.families.base import Frames, LoadedModel
from render.order import Span
from render.sampling import Latents
from render.take import Take

CLIP = "clip.mkv"


class Developing:
    """A clip while it is written. `finish` must be called, also after an error."""

    def __init__(self, take: Take) -> None:
        self._take = take
        self._clip = take.order.folder / CLIP
        self._frames: queue.SimpleQueue[Frames | BaseException | None] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._writer = threading.Thread(target=self._write, name="clip writer", daemon=True)
        self._writer.start()

    def add(self, chunk: Frames) -> None:
        """Hand on a chunk of decoded frames."""
        self._frames.put(chunk)

    def end(self) -> None:
        """No frame follows."""
        self._frames.put(None)

    def give_up(self, error: BaseException) -> None:
        """The decode failed: the file is not published."""
        self._frames.put(error)

    def finish(self) -> Path:
        """The clip, whole. Raises what the writing raised: NonFinite, DiskFull ..."""
        self._writer.join()
        if self._error is not None:
            raise self._error
        return self._clip

    def _write(self) -> None:
        begun = time.time()
        try:
            write_clip(self._arriving(), self._clip, fps=self._take.recipe.fps)
        except BaseException as error:
            self._error = error
        ended = time.time()
        self._take.timeline.append(Span(kind="write", begun=begun, ended=ended, on_card=False))

    def _arriving(self) -> Iterator[Frames]:
        while (chunk := self._frames.get()) is not None:
            if isinstance(chunk, BaseException):
                raise chunk
            if self._take.watch is not None:
                self._take.watch(chunk)
            yield chunk


def develop(take: Take, model: LoadedModel, latents: Latents) -> Developing:
    """Decode all of `latents`; the clip is whole once `finish` of what is returned has returned.

    Raises NonFinite, or what the decode raises.
    """
    film = Developing(take)
    try:
        with take.phase("decode"):
            for chunk in model.decode(latents.x):
                film.add(chunk)
    except BaseException as error:
        film.give_up(error)
        film._writer.join()
        raise
    film.end()
    return film
