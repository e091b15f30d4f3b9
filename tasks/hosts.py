"""The hosts of a night, as the machine of the night sees them: let in, given work, given up.

A host that says nothing for its lease is given up: its workers are taken out of the engine's
books, so that their calls fail and are made again elsewhere. It may come back to life; the doors
of the folders (`manifests.door`) see to it that it changes nothing there, and it is told to begin
a new stay.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from distributed.diagnostics.plugin import SchedulerPlugin
from pydantic import TypeAdapter, ValidationError

from render.order import RenderOrder
from tasks.admission import Hosting, refusal, unreadable
from tasks.crew import Crew, Post
from tasks.engine import Engine
from tasks.host_book import HostBook, HostCard, HostLine
from tasks.host_facts import leave_token
from tasks.host_talk import EVERYBODY, MOST_WORDS, TO_HEAD, TO_HOSTS, Answer, Hello, Said
from tasks.yielding import CardYielded, HostLost

JOINING = 180.0
"""Seconds that a host gets to start its workers."""
OLD = 24 * 3600.0
"""Seconds after which a word in the shared folder is of no use any more."""
SETTLE = 2.0
"""Seconds in which the loss of a host is seen, once one of its workers is lost."""
_MESSAGE: TypeAdapter[Hello | Said] = TypeAdapter(Hello | Said)


class Guests(Protocol):
    """Who gives the hosts work: the pool."""

    def admit(self, crew: Crew) -> None:
        """A host was let in."""

    def arrived(self, host: str) -> None:
        """Its workers are up."""

    def departed(self, host: str) -> None:
        """It gets no more work."""

    def left_to_others(self, name: str, *, away: bool) -> None:
        """A card is used by somebody else, or is free again."""

    def squeezed(self, name: str, room: int | None) -> None:
        """Others leave so many bytes of a card's memory; None: all."""

    def in_work(self, host: str) -> int:
        """Calls in work there."""

    def rendering(self) -> Mapping[str, Post]:
        """What is rendered where, by take id."""

    def tell(self, words: str) -> None:
        """What people should know."""

    async def restart(self, name: str) -> None:
        """Give a worker a new process."""


@dataclass(slots=True, kw_only=True)
class _Stay:
    """A host from its hello to its end."""

    hello: Hello
    crew: Crew
    token: str
    heard: float
    """When it said something last."""
    begun: float
    here: bool = False
    """Its workers are up."""
    leaving: bool = False
    drained: bool = False
    lost: str = ""
    """Why it was given up."""
    away: set[str] = field(default_factory=set)


class Hosts:
    """Membership of the hosts. For one event loop, that of the engine."""

    def __init__(
        self,
        engine: Engine,
        hosting: Hosting,
        guests: Guests,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine, self._hosting, self._guests, self._clock = engine, hosting, guests, clock
        self._stays: dict[str, _Stay] = {}
        """By session; those that are over are gone."""
        self._ended: dict[str, str] = {}
        """Words of stays that are over, by session."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._told_to_wait: set[str] = set()
        self._book = HostBook(hosting.book)

    async def start(self) -> None:
        """Let hosts in from now on."""
        await asyncio.to_thread(self._forget_old_words)
        self._engine.subscribe(TO_HEAD, self._heard)
        self._engine.scheduler.add_plugin(_Goodbyes(self._connection_gone), name="rushes-hosts")
        self._keeper = asyncio.create_task(self._go_on(), name="hosts")
        self._write()

    async def stop(self) -> None:
        """The night is over: the hosts are told, and end their workers by themselves."""
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
        self._engine.scheduler.remove_plugin("rushes-hosts")
        self._stays.clear()
        self._say(EVERYBODY, "over")
        for task in self._tasks:
            task.cancel()
        self._book.close()
        await asyncio.sleep(0.1)  # the word is on its way before the line is cut

    def _forget_old_words(self) -> None:
        """Remove what machines that died left for each other days ago."""
        for path in self._hosting.tokens.glob("*.h*"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > OLD:
                    path.unlink()

    def is_here(self, post: Post) -> bool:
        """Whether the stay in which this worker was known goes on; a worker of our own is here."""
        return not post.host or post.session in self._stays

    async def left(self, post: Post) -> CardYielded | None:
        """Whether a worker was lost because its host went; None: by what it did."""
        deadline = self._clock() + SETTLE
        while post.session in self._stays and self._clock() < deadline:
            if self._stays[post.session].leaving:
                return CardYielded(f"{post.host} left")
            await asyncio.sleep(0.05)
        if post.session in self._stays:
            return None
        return HostLost(f"{post.host} {self._ended.get(post.session, 'left')}")

    @asynccontextmanager
    async def a_card(
        self, order: RenderOrder, count: Callable[[], int], why: str
    ) -> AsyncIterator[bool]:
        """Wait for a card for a take, as long as the studio does; whether there is one."""
        need = f" of {order.least_memory / 2**30:.0f} GiB" if order.least_memory else ""
        words = f"takes of {order.recipe.model} wait for a host with a card{need}"
        if words not in self._told_to_wait:
            self._told_to_wait.add(words)
            self._guests.tell(f"{words}{f' ({why})' if why else ''}")
        deadline = self._clock() + self._hosting.patience
        while not count() and self._clock() < deadline:
            await asyncio.sleep(0.2)
        yield count() > 0

    # ------------------------------------------------------------------ what is heard

    def _heard(self, message: Any) -> None:
        try:
            said = _MESSAGE.validate_python(message)
        except ValidationError as error:
            if (unread := unreadable(message, error)) is not None:
                session, words = unread
                self._say(session, "refused", words)
            return
        stay = self._stays.get(said.session)
        if isinstance(said, Hello):
            self._greet(said, stay)
        elif stay is None:
            self._say(said.session, "lost", self._ended.get(said.session, "it is not known here"))
        else:
            stay.heard = self._clock()
            self._listen(stay, said)

    def _greet(self, hello: Hello, stay: _Stay | None) -> None:
        if stay is None:
            here = {other.hello.host for other in self._stays.values()}
            if (refused := refusal(hello, self._hosting, here=here)) is not None:
                self._say(hello.session, "refused", refused.words, again=refused.again)
                return
            token = leave_token(self._hosting.tokens, f"{hello.session}.head")
            now = self._clock()
            stay = _Stay(hello=hello, crew=hello.crew(), token=token, heard=now, begun=now)
            self._stays[hello.session] = stay
            self._guests.admit(stay.crew)
        self._say(hello.session, "welcome", token=stay.token, lease=self._hosting.lease)

    def _listen(self, stay: _Stay, said: Said) -> None:
        host = stay.hello.host
        match said.says:
            case "ready":
                if not stay.here:
                    stay.here = True
                    self._guests.arrived(host)
                    names = ", ".join(post.device.name for post in stay.crew.cards if post.device)
                    self._guests.tell(f"{host} joined with {len(stay.crew.cards)} card(s): {names}")
            case "pulse":
                pass
            case "away" | "back":
                self._away(stay, said)
            case "room":
                self._guests.squeezed(f"{host}/{said.card}", said.room)
            case "leaving":
                if not stay.leaving:
                    stay.leaving = True
                    self._guests.departed(host)
                    self._guests.tell(f"{host} leaves: it finishes what it has, as far as it can")
            case "left":
                self._end(stay, said.words or "left")
        self._write()

    def _away(self, stay: _Stay, said: Said) -> None:
        name = f"{stay.hello.host}/{said.card}"
        if name not in {post.name for post in stay.crew.cards}:
            return
        away = said.says == "away"
        (stay.away.add if away else stay.away.discard)(name)
        self._guests.left_to_others(name, away=away)
        self._guests.tell(f"{stay.hello.host}: {said.words}")
        if away:
            self._spawn(self._guests.restart(name))

    # ------------------------------------------------------------------ how a stay ends

    def _connection_gone(self, client: str) -> None:
        for stay in [stay for stay in self._stays.values() if stay.hello.client == client]:
            self._end(stay, "was cut off")

    def _end(self, stay: _Stay, words: str) -> None:
        """It is over: its workers are forgotten, and what they had is sent elsewhere."""
        session, host = stay.hello.session, stay.hello.host
        del self._stays[session]
        self._ended[session] = words
        self._guests.departed(host)
        self._guests.tell(f"{host} {words}")
        self._say(session, "lost", words)
        self._spawn(self._engine.forget_all([post.name for post in stay.crew.posts]))
        for end in ("head", "host"):
            with suppress(OSError):
                (self._hosting.tokens / f"{session}.{end}").unlink(missing_ok=True)
        self._write()

    async def _go_on(self) -> None:
        await self._telling(self._keep(), "hosts are not watched any more, and leave")

    async def _telling(self, work: Awaitable[None], words: str) -> None:
        """Do what nobody waits for, and say so where it breaks."""
        try:
            await work
        except Exception as error:
            self._guests.tell(f"{words}: {type(error).__name__}: {error}")

    async def _keep(self) -> None:
        """Give word of life, and give up those that gave none."""
        every = min(1.0, self._hosting.lease / 5)
        looked = self._clock()
        while True:
            await asyncio.sleep(every)
            now = self._clock()
            if now - looked > self._hosting.lease / 2:
                # It was us who did not listen: what they said in the meantime comes first.
                for stay in self._stays.values():
                    stay.heard = now
            looked = now
            self._say(EVERYBODY, "beat")
            self._write()
            for stay in list(self._stays.values()):
                self._look_at(stay, now)

    def _look_at(self, stay: _Stay, now: float) -> None:
        silent = now - stay.heard
        if stay.here and silent > self._hosting.lease:
            self._end(stay, f"has said nothing for {silent:.0f} s: its takes are given to others")
        elif not stay.here and now - stay.begun > JOINING:
            self._end(stay, f"did not start its workers within {JOINING:.0f} s")
        elif stay.leaving and not stay.drained and not self._guests.in_work(stay.hello.host):
            stay.drained = True
            self._say(stay.hello.session, "drained")

    def _say(self, session: str, says: Any, words: str = "", **more: Any) -> None:
        # NOTE: what differs between two machines may be long; an answer that is cut is still one.
        answer = Answer(session=session, says=says, words=words[:MOST_WORDS], **more)
        self._engine.say(TO_HOSTS, answer.model_dump())

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.create_task(self._telling(work, "a host's worker was not put in order"))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _write(self) -> None:
        self._book.write(self._engine.address, [self._line(stay) for stay in self._stays.values()])

    def _line(self, stay: _Stay) -> HostLine:
        rendering = self._guests.rendering()
        return HostLine(
            host=stay.hello.host,
            state="leaving" if stay.leaving else "here" if stay.here else "joining",
            cards=tuple(
                HostCard(
                    name=post.device.name,
                    memory=post.device.memory,
                    away=post.name in stay.away,
                    takes=tuple(take for take, at in rendering.items() if at.name == post.name),
                )
                for post in stay.crew.cards
                if post.device is not None
            ),
        )


class _Goodbyes(SchedulerPlugin):
    """Told by the engine of every connection that ends."""

    def __init__(self, gone: Callable[[str], None]) -> None:
        self._gone = gone

    def remove_client(self, scheduler: Any, client: str) -> None:
        # NOTE: else the engine complains, loudly, of each word that it cannot tell it any more.
        scheduler.unsubscribe_topic(TO_HOSTS, client)
        self._gone(client)
