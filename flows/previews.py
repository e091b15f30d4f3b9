"""Pictures of takes, on the pages of their shots in Prefect: one image for each take.

It is written over, not added to: the strip of each stage, the first frames, at last the strip of
the finished take, and under it what became of the take. Our own server shows the file itself
(`flows.shown`); on another one the picture stands in the artifact as a `data:` URL, some ten
kilobytes.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from prefect import get_run_logger

from flows.artifact import write, write_over
from flows.shown import address
from flows.watch import Watcher
from render.backend import Progress

LAST_WORDS_SECONDS = 10.0
"""What a server may take to write the last picture of a shot; the shot waits no longer."""
LARGEST = 200_000
"""Bytes; a larger picture is named, not shown, where it would stand in the artifact."""
EMPTY_PICTURE = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
"""One transparent pixel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Picture:
    """A picture of a take, and what it shows."""

    take_id: str
    path: Path | None
    """None: the one that is shown already."""
    words: str
    settled: bool = False
    """Whether it tells what became of the take; what is still told of its making comes too late."""


class Board(Watcher):
    """Hands the pictures of takes to the flows of their shots."""

    def __init__(self, root: Path = Path()) -> None:
        """`root` is the studio's."""
        self._root = root
        self._queues: dict[str, asyncio.Queue[_Picture | None]] = {}

    def progress(self, progress: Progress) -> None:
        """See `Watcher`. Called in the loop in which the shots' flows run."""
        if progress.preview is not None:
            words = _words(progress)
            self._put(_Picture(take_id=progress.take_id, path=progress.preview, words=words))

    def became(self, take_id: str, words: str, *, picture: Path | None) -> None:
        """Say under a take's picture what became of the take; `picture` takes the place of those
        from its making. A take that has no picture at all stays without."""
        self._put(_Picture(take_id=take_id, path=picture, words=words, settled=True))

    def _put(self, picture: _Picture) -> None:
        if (queue := self._queues.get(_shot_of(picture.take_id))) is not None:
            queue.put_nowait(picture)

    @asynccontextmanager
    async def showing(self, take_id: str) -> AsyncIterator[None]:
        """Inside the block, inside a shot's flow: its takes' pictures are put on its page.

        `take_id` is that of any take of the shot. A server that fails costs the pictures and a
        line in the log, never the shot.
        """
        queue: asyncio.Queue[_Picture | None] = asyncio.Queue()
        self._queues[_shot_of(take_id)] = queue
        writer = asyncio.create_task(_write(queue, self._root))
        try:
            yield
        finally:
            del self._queues[_shot_of(take_id)]
            queue.put_nowait(None)
            with suppress(TimeoutError):
                await asyncio.wait_for(writer, LAST_WORDS_SECONDS)


EMPTY = Board()
BOARD: ContextVar[Board] = ContextVar("board", default=EMPTY)
"""The board of the night that is running; outside one, a board that nobody tells of anything."""


class _Page:
    """The artifact of one take."""

    def __init__(self, take_id: str, root: Path) -> None:
        self._number = take_id.rpartition("/t")[2]
        self._root = root
        self._artifact: UUID | None = None
        self._made: _Picture | None = None
        """The last one from its making."""
        self._became: _Picture | None = None

    async def show(self, picture: _Picture) -> None:
        """Show this picture instead of the last, under words that still hold. Raises what the
        server raises."""
        if picture.settled:
            self._became = picture
        else:
            self._made = picture
        known = [each for each in (self._became, self._made) if each is not None]
        path = next((each.path for each in known if each.path is not None), None)
        if path is not None:
            await self._write(path, f"take {self._number}, {known[0].words}")

    async def _write(self, path: Path, words: str) -> None:
        data = await asyncio.to_thread(picture_url, self._root, path)
        if data is None:
            words, data = f"{words}: {path}", EMPTY_PICTURE
        if self._artifact is None or not await write_over(self._artifact, data, words):
            self._artifact = await write("image", data, words)


async def _write(queue: asyncio.Queue[_Picture | None], root: Path) -> None:
    """Put pictures on their pages until the shot ends or the server fails."""
    pages: dict[str, _Page] = {}
    try:
        while (picture := await queue.get()) is not None:
            page = pages.setdefault(picture.take_id, _Page(picture.take_id, root))
            await page.show(picture)
    except Exception as error:
        get_run_logger().warning(
            "no further pictures on this page: %s: %s", type(error).__name__, error
        )


def picture_url(root: Path, picture: Path) -> str | None:
    """Where a page finds a picture; None where it is gone, empty, or too large for the page."""
    try:
        size = picture.stat().st_size
    except OSError:
        return None
    if not size:
        return None
    if (url := address(root, picture)) is not None:
        return url
    if size > LARGEST:
        return None
    return f"data:image/jpeg;base64,{base64.b64encode(picture.read_bytes()).decode()}"


def _words(progress: Progress) -> str:
    stage = f"stage {progress.stage} of {progress.stages}"
    return f"while it renders: {stage if progress.stage else 'first frames'}"


def _shot_of(take_id: str) -> str:
    """What all takes of a shot have in common: their ids without the number."""
    return take_id.rpartition("/")[0]
