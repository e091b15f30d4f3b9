"""Pictures of takes in work, on the pages of their shots in Prefect: one artifact for each take.

The pictures stand inside the artifact, as `data:` URLs: the server shows no files of a disk. They
are small (some ten kilobytes a strip), and an artifact is written over, not added to.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import Artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate

from flows.watch import Watcher
from render.backend import Progress

LAST_WORDS_SECONDS = 10.0
"""What a server may take to write the last picture of a shot; the shot waits no longer."""
LARGEST = 200_000
"""Bytes; a larger picture is named, not shown."""


class Board(Watcher):
    """Hands the pictures that workers tell of to the flows of their shots."""

    def __init__(self) -> None:
        self._queues: dict[str, asyncio.Queue[Progress | None]] = {}

    def progress(self, progress: Progress) -> None:
        """See `Watcher`. Called in the loop in which the shots' flows run."""
        queue = self._queues.get(_shot_of(progress.take_id))
        if queue is not None and progress.preview is not None:
            queue.put_nowait(progress)

    @asynccontextmanager
    async def showing(self, take_id: str) -> AsyncIterator[None]:
        """Inside the block, inside a shot's flow: its takes' pictures are put on its page.

        `take_id` is that of any take of the shot. A server that fails costs the pictures and a
        line in the log, never the shot.
        """
        queue: asyncio.Queue[Progress | None] = asyncio.Queue()
        self._queues[_shot_of(take_id)] = queue
        writer = asyncio.create_task(_write(queue))
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

    def __init__(self, take_id: str) -> None:
        self._number = take_id.rpartition("/t")[2]
        self._pictures: dict[str, Path] = {}
        self._artifact: UUID | None = None

    async def add(self, progress: Progress) -> None:
        """Show one more picture. Raises what the server raises."""
        assert progress.preview is not None, "only pictures are handed on"
        words = f"stage {progress.stage} of {progress.stages}" if progress.stage else "first frames"
        self._pictures[words] = progress.preview
        data = await asyncio.to_thread(self._markdown)
        if self._artifact is None:
            artifact = Artifact(
                type="markdown", description=f"take {self._number}, while it renders", data=data
            )
            self._artifact = (await artifact.acreate()).id
            return
        async with get_client() as client:
            await client.update_artifact(self._artifact, ArtifactUpdate(data=data))

    def _markdown(self) -> str:
        lines = [f"## take {self._number}", ""]
        for words, path in self._pictures.items():
            lines += [f"**{words}**", "", _shown(words, path), ""]
        return "\n".join(lines)


async def _write(queue: asyncio.Queue[Progress | None]) -> None:
    """Put pictures on their pages until the shot ends or the server fails."""
    pages: dict[str, _Page] = {}
    try:
        while (progress := await queue.get()) is not None:
            page = pages.setdefault(progress.take_id, _Page(progress.take_id))
            await page.add(progress)
    except Exception as error:
        get_run_logger().warning(
            "no further pictures on this page: %s: %s", type(error).__name__, error
        )


def _shown(words: str, path: Path) -> str:
    """A picture in Markdown; its path where it cannot be shown."""
    try:
        data = path.read_bytes()
    except OSError:
        data = b""
    if not 0 < len(data) <= LARGEST:
        return f"`{path}`"
    return f"![{words}](data:image/jpeg;base64,{base64.b64encode(data).decode()})"


def _shot_of(take_id: str) -> str:
    """What all takes of a shot have in common: their ids without the number."""
    return take_id.rpartition("/")[0]
