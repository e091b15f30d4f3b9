"""Attempts at a folder: of all that were sent to work in it, the latest alone can write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from manifests.door import DoorStuck, open_door, take_away
from render.errors import Superseded


@asynccontextmanager
async def attempt(function: str, order: Any) -> AsyncIterator[Path | None]:
    """A door for a call of `tasks.worker.<function>`; None for one that writes nothing.

    Doors that earlier attempts had are taken away before it opens, and it is when the block ends.
    Raises Superseded where an earlier attempt cannot be kept out.
    """
    folder = _folder(function, order)
    if folder is None:
        yield None
        return
    try:
        door = await asyncio.to_thread(open_door, folder, function)
    except (DoorStuck, OSError) as error:
        raise Superseded(f"{folder} cannot be given to a new attempt: {error}") from error
    try:
        yield door
    finally:
        # What cannot be removed now stands in the way of the next attempt, which says so.
        with suppress(DoorStuck, OSError):
            await asyncio.to_thread(take_away, door)


def _folder(function: str, order: Any) -> Path | None:
    match function:
        case "render":
            return Path(order.folder)
        case "finish":
            return Path(order.destination).parent
        case "picture":
            return Path(order).parent
        case _:
            return None
