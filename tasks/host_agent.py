"""A host: a machine that joins the nights of another one and renders for them.

One process that owns the workers of this machine's cards (nannies of `distributed`) and speaks for
them. A stay lasts as long as the night; then the host waits for the next one. It ends its workers
by itself when it has heard nothing for the lease: by then they have been given up over there.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from pydantic import ValidationError

from manifests.errors import RushesError
from manifests.settings import Studio
from tasks.crew import Crew, Post
from tasks.host_facts import code_facts, leave_token, model_places, reads_token
from tasks.host_keys import security
from tasks.host_talk import EVERYBODY, TO_HEAD, TO_HOSTS, Answer, Hello, Said, told_posts
from tasks.nannies import nanny_options, settings_for
from tasks.neighbours import Neighbours
from tasks.yielding import Yielding

RETRY = 3.0
"""Seconds between looks for a night."""
CONNECT = 5.0
"""Seconds that the machine of the night gets to answer a connection."""
ASK_AGAIN = 0.5
"""Seconds between two hellos; the first may come before it is known who listens here."""
ANSWER = 30.0
"""Seconds that it gets to answer a hello."""
START = 120.0
"""Seconds that a worker gets to start."""
CLOSE = 5.0
"""Seconds that a worker, or the connection, gets to end."""
KILL_EVERY = 0.05
"""Seconds between looks for workers that are to be ended and have a process now."""


class NotLetIn(RushesError):
    """The machine of the night refused this host, and asking again would not help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A machine that joins."""

    name: str
    address: str
    """Where the nights are: `tls://10.0.0.5:8786`."""
    studio: Studio
    crew: Crew
    scratch: Path
    """A folder on its own disk."""
    tls: Path | None
    drain: float
    """Seconds that takes in work get to end when the host is told to leave."""
    neighbours: Neighbours | None
    """Whose work goes first on its cards; None: nobody's."""


Tell = Callable[[str], None]


async def serve_nights(host: Host, *, stop: asyncio.Event, tell: Tell) -> None:
    """Join every night at the host's address until `stop` is set. Raises NotLetIn, BadInput."""
    import dask
    import distributed  # noqa: F401 - it sets its own loggers as it is imported

    dask.config.set(settings_for(host.crew.posts))
    # What becomes of this host is told in words; the engine's own chatter is not.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    host.scratch.mkdir(parents=True, exist_ok=True)
    said = ""
    while not stop.is_set():
        try:
            words = await _Stay(host, tell).last(stop)
        except (OSError, TimeoutError) as error:
            words = f"no night at {host.address} ({type(error).__name__}); waiting for one"
        if words != said:
            tell(words)
        said = words
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(stop.wait(), RETRY)


class _Stay:
    """From one hello to its end."""

    def __init__(self, host: Host, tell: Tell) -> None:
        self._host, self._tell = host, tell
        self._session = uuid.uuid4().hex
        self._tokens = host.studio.state_dir / "hosts"
        self._answers: asyncio.Queue[Answer] = asyncio.Queue()
        self._client: Any = None
        self._nannies: dict[str, Any] = {}
        """By name of their post."""
        self._starting: list[asyncio.Task[None]] = []
        self._heard = time.monotonic()
        self._lease = ANSWER
        self._drained = asyncio.Event()
        self._over = ""
        self._saying: set[asyncio.Future[None]] = set()

    async def last(self, stop: asyncio.Event) -> str:
        """Join, work, leave; in words, how it ended.

        Raises OSError or TimeoutError where there is no night, and NotLetIn.
        """
        from distributed import Client

        self._client = await Client(
            self._host.address,
            asynchronous=True,
            set_as_default=False,
            security=security(self._host.tls),
            timeout=CONNECT,
        )
        try:
            self._client.subscribe_topic(TO_HOSTS, self._listen)
            hello = self._hello()
            return await self._ask(hello, stop) or await self._work(hello.crew(), stop)
        finally:
            await self._put_down()

    # ------------------------------------------------------------------ joining

    async def _ask(self, hello: Hello, stop: asyncio.Event) -> str:
        """Say hello until it is answered; words where it is refused for now, or told to leave."""
        deadline = time.monotonic() + ANSWER
        while time.monotonic() < deadline:
            if stop.is_set():
                await self._say("left")
                return "left"
            # NOTE: an earlier one may wait at a machine that has just begun its night, and is busy.
            await self._send(hello.model_copy(update={"clock": time.time()}))
            with suppress(asyncio.TimeoutError):
                answer = await asyncio.wait_for(self._answers.get(), ASK_AGAIN)
                if answer.says == "refused" and answer.again:
                    return f"not let in yet: {answer.words}"
                if answer.says != "welcome":
                    raise NotLetIn(
                        f"{self._host.address} does not let this host in: {answer.words}"
                    )
                self._check(answer)
                self._lease = answer.lease
                return ""
        raise TimeoutError(f"{self._host.address} does not answer")

    def _hello(self) -> Hello:
        host = self._host
        return Hello(
            session=self._session,
            host=host.name,
            client=str(self._client.id),
            root=str(host.studio.root),
            token=leave_token(self._tokens, f"{self._session}.host"),
            clock=time.time(),
            facts=dict(code_facts()),
            models=model_places(host.studio),
            scratch=str(host.scratch),
            memory=psutil.virtual_memory().total,
            posts=told_posts(host.crew),
        )

    def _check(self, answer: Answer) -> None:
        if not reads_token(self._tokens, f"{self._session}.head", answer.token):
            raise NotLetIn(
                f"{self._host.studio.root} is another folder on the machine of the night: what it "
                f"wrote into {self._tokens} cannot be read here; mount the same share"
            )

    # ------------------------------------------------------------------ working

    async def _work(self, crew: Crew, stop: asyncio.Event) -> str:
        from distributed import Nanny

        host, posts = self._host, crew.posts
        keys = security(host.tls)
        self._nannies = {
            post.name: Nanny(
                host.address,
                name=post.name,
                security=keys,
                preload=["tasks.keep_on"],
                **nanny_options(post, alone=len(posts) == 1, scratch=host.scratch),
            )
            for post in posts
        }
        self._tell(f"let in at {host.address}; starting {len(posts)} worker(s)")
        try:
            up = await self._start(stop)
        except (TimeoutError, RuntimeError, OSError) as error:
            await self._say("left", words="could not start its workers")
            return f"the workers could not be started ({type(error).__name__}: {error})"
        if not up:
            await self._say("left", words="left before its workers were up")
            return "left before its workers were up"
        yielding = Yielding(
            host.crew.cards,
            host.neighbours,
            seats=HostCards(host.crew.cards, self._say_soon),
            pids=self._pids,
            restart=_by_the_head,
            tell=self._tell,
        )
        await self._say("ready")
        self._tell(f"joined {host.address} with {len(host.crew.cards)} card(s)")
        await yielding.start()
        try:
            await self._keep(stop)
        finally:
            await yielding.stop()
        return self._over or "left"

    async def _start(self, stop: asyncio.Event) -> bool:
        """Start every worker; False where the host was told to leave meanwhile.

        Raises TimeoutError, RuntimeError or OSError where one could not be started.
        """
        self._starting = [
            asyncio.create_task(asyncio.wait_for(_up(nanny), START))
            for nanny in self._nannies.values()
        ]
        told = asyncio.create_task(_set(stop))
        try:
            waited_for = {told, *self._starting}
            while not stop.is_set() and len(waited_for) > 1:
                done, waited_for = await asyncio.wait(
                    waited_for, return_when=asyncio.FIRST_COMPLETED
                )
                for each in done:
                    each.result()
        finally:
            told.cancel()
        return not stop.is_set()

    async def _keep(self, stop: asyncio.Event) -> None:
        """Give word of life until the stay is over, one way or another."""
        every, drained_by = min(1.0, self._lease / 5), float("inf")
        looked = self._heard = time.monotonic()
        while not self._over:
            if stop.is_set() and drained_by == float("inf"):
                drained_by = time.monotonic() + self._host.drain
                self._tell(f"leaving: what is in work has {self._host.drain:.0f} s to end")
                await self._say("leaving")
            with suppress(asyncio.TimeoutError):
                waits_for = self._drained if drained_by < float("inf") else stop
                await asyncio.wait_for(waits_for.wait(), every)
            now = time.monotonic()
            if self._drained.is_set() or now > drained_by:
                self._over = "left"
                await self._say("left")
            elif now - looked > self._lease / 2:
                self._over = f"stood still for {now - looked:.0f} s; joining anew"
            elif now - self._heard > self._lease:
                self._over = f"heard nothing from {self._host.address} for {self._lease:.0f} s"
            elif self._client.status != "running":
                self._over = "the night is over, or the connection is cut"
            elif any(str(nanny.status.name) != "running" for nanny in self._nannies.values()):
                self._over = "a worker could not be started again"
                await self._say("left", words=self._over)
            else:
                await self._say("pulse")
            looked = time.monotonic()

    # ------------------------------------------------------------------ talking

    def _listen(self, event: tuple[float, Any]) -> None:
        try:
            answer = Answer.model_validate(event[1])
        except ValidationError:
            return
        if answer.session not in (self._session, EVERYBODY):
            return
        self._heard = time.monotonic()
        match answer.says:
            case "welcome" | "refused":
                self._answers.put_nowait(answer)
            case "drained":
                self._drained.set()
            case "lost":
                self._over = f"given up over there: this host {answer.words}"
            case "over":
                self._over = "the night is over; waiting for the next one"
            case "beat":
                pass

    async def _say(self, says: Any, **more: Any) -> None:
        """Tell the machine of the night; silence where it cannot be reached: the lease decides."""
        with suppress(OSError, asyncio.TimeoutError):
            await self._send(Said(session=self._session, says=says, **more))

    async def _send(self, message: Hello | Said) -> None:
        sent = self._client.log_event(TO_HEAD, message.model_dump(mode="json"))
        await asyncio.wait_for(sent, self._lease)

    def _say_soon(self, says: str, card: str, words: str, room: int | None = None) -> None:
        task = asyncio.ensure_future(self._say(says, card=card, words=words, room=room))
        self._saying.add(task)
        task.add_done_callback(self._saying.discard)

    def _pids(self) -> dict[str, int]:
        found = {name: nanny.pid for name, nanny in self._nannies.items()}
        return {name: pid for name, pid in found.items() if pid is not None}

    async def _put_down(self) -> None:
        """End every worker at once, and the connection; nothing of this stay is left."""
        closing = (nanny.close(timeout=CLOSE) for nanny in self._nannies.values())
        ending: asyncio.Future[list[Any]] = asyncio.gather(
            *closing, *self._starting, return_exceptions=True
        )
        await asyncio.sleep(0)  # from here on nobody is started again
        deadline = time.monotonic() + 2 * CLOSE
        while not ending.done() and time.monotonic() < deadline:
            # NOTE: again and again: one that was only being started has a process a moment later.
            for pid in self._pids().values():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await asyncio.wait([ending], timeout=KILL_EVERY)
        ending.cancel()
        with suppress(OSError, asyncio.TimeoutError):
            await asyncio.wait_for(self._client.close(), CLOSE)
        with suppress(OSError):
            (self._tokens / f"{self._session}.host").unlink(missing_ok=True)


async def _up(nanny: Any) -> None:
    await nanny


async def _set(event: asyncio.Event) -> None:
    await event.wait()


async def _by_the_head(_name: str) -> None:
    """A card that is left gets its new process from over there, where its takes are known."""


class HostCards:
    """Seats of this host, which are given over there."""

    def __init__(self, posts: Sequence[Post], say: Callable[..., None]) -> None:
        self._posts, self._say = tuple(posts), say
        self._rooms: dict[int, int | None] = {}

    def leave(self, card: int) -> None:
        """Others use it."""
        self._say("away", self._posts[card].name, f"{self._posts[card].title} is used by others")

    def come_back(self, card: int) -> None:
        """It is ours again."""
        self._say("back", self._posts[card].name, f"{self._posts[card].title} is free again")

    def squeeze(self, card: int, room: int | None) -> None:
        """Others leave so many bytes of its memory; None: all. Told when it changes."""
        if self._rooms.get(card) != room:
            self._rooms[card] = room
            self._say("room", self._posts[card].name, "", room)
