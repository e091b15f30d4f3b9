"""Leaving a card to others while the night runs, and coming back to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from render.errors import MachineFailure
from tasks.crew import Post
from tasks.neighbours import Manners, Neighbours, Use


class CardYielded(MachineFailure):
    """The card was left to others in the middle of a call; the call is made again elsewhere."""


class HostLost(CardYielded):
    """The host went away in the middle of a call; the call is made again elsewhere."""


class Places(Protocol):
    """Where takes are seated: cards by their number."""

    def leave(self, card: int) -> None:
        """Somebody else uses it."""

    def come_back(self, card: int) -> None:
        """It is ours again."""

    def squeeze(self, card: int, room: int | None) -> None:
        """Others leave so many bytes of its memory; None: all."""


class Yielding:
    """Looks at the cards of a pool. On one that others use nobody is seated, and its worker gets a
    new process, which holds no memory of the card: what was in work there goes on from its
    checkpoint on another card, or on this one later."""

    def __init__(
        self,
        posts: Sequence[Post],
        neighbours: Neighbours | None,
        *,
        seats: Places,
        pids: Callable[[], Mapping[str, int]],
        restart: Callable[[str], Awaitable[None]],
        tell: Callable[[str], None],
    ) -> None:
        """`neighbours` None: the cards are never left."""
        self._posts, self._neighbours, self._seats = tuple(posts), neighbours, seats
        self._pids, self._restart, self._tell = pids, restart, tell
        self._manners = {
            post.name: Manners() if neighbours is None else Manners(neighbours.courtesy)
            for post in posts
        }
        self._tight: set[int] = set()
        """Cards of whose memory others hold a part."""
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Look once, then go on looking."""
        if self._neighbours is not None and any(map(_uuids, self._posts)):
            await self._look(self._neighbours)
            self._task = asyncio.create_task(self._go_on(self._neighbours))

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def is_away(self, name: str) -> bool:
        """Whether the card of this worker is left to others."""
        manners = self._manners.get(name)
        return manners is not None and manners.away

    async def _go_on(self, neighbours: Neighbours) -> None:
        try:
            while True:
                await asyncio.sleep(neighbours.courtesy.every)
                await self._look(neighbours)
        except Exception as error:
            self._tell(
                f"cards are not watched for others any more: {type(error).__name__}: {error}"
            )

    async def _look(self, neighbours: Neighbours) -> None:
        every = [uuid for post in self._posts for uuid in _uuids(post)]
        found = await asyncio.to_thread(neighbours.look, every, [*self._pids().values()])
        for card, post in enumerate(self._posts):
            seen = [found[uuid] for uuid in _uuids(post) if uuid in found]
            if not seen:
                continue  # the card cannot be asked: nothing changes
            self._squeeze(card, post, found.get(_uuids(post)[0]))
            others = sorted(frozenset().union(*(use.others for use in seen)))
            manners = self._manners[post.name]
            was = manners.away
            if manners.look(others=bool(others)) == was:
                continue
            if was:
                self._tell(f"{post.title} is free again: takes are rendered on it")
                self._seats.come_back(card)
            else:
                self._tell(
                    f"{post.title} is used by others (process {', '.join(map(str, others))}): "
                    f"it is left until it has been free for {neighbours.courtesy.quiet:.0f} s"
                )
                self._seats.leave(card)
                await self._restart(post.name)

    def _squeeze(self, card: int, post: Post, use: Use | None) -> None:
        """Have takes wait that need more memory than others leave of their own card."""
        room = None if use is None else use.room
        if (room is None) != (card not in self._tight):
            (self._tight.discard if room is None else self._tight.add)(card)
            words = f"others leave {(room or 0) / 2**30:.0f} GiB of its memory: larger takes wait"
            self._tell(f"{post.title}: {'its memory is free again' if room is None else words}")
        self._seats.squeeze(card, room)


def _uuids(post: Post) -> list[str]:
    """Of its own card and of those that hold parts of its model."""
    visible = None if post.device is None else post.device.visible
    return [uuid for uuid in (visible or "").split(",") if uuid]
