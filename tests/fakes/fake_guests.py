"""A pool that hosts are admitted to and a wire to them, without any process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.crew import Crew, Post
from tasks.host_talk import TO_HOSTS, Answer


class Guests:
    """A pool that writes down what it is told; see `tasks.hosts.Guests`."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.here: list[str] = []
        self.away: set[str] = set()
        self.renewed: list[str] = []
        self.busy = 0
        """Calls that are in work at any host."""

    def admit(self, crew: Crew) -> None:
        self.told.append(f"admitted {crew.host}")

    def arrived(self, host: str) -> None:
        self.here.append(host)

    def departed(self, host: str) -> None:
        self.here = [other for other in self.here if other != host]

    def left_to_others(self, name: str, *, away: bool) -> None:
        (self.away.add if away else self.away.discard)(name)

    def squeezed(self, name: str, room: int | None) -> None:
        self.told.append(f"{name} has {room}")

    def in_work(self, host: str) -> int:
        return self.busy

    def rendering(self) -> Mapping[str, Post]:
        return {}

    def tell(self, words: str) -> None:
        self.told.append(words)

    async def restart(self, name: str) -> None:
        self.renewed.append(name)


class Wire:
    """An engine that only carries words, and writes down whom it is to forget."""

    address = "tcp://127.0.0.1:8786"

    def __init__(self) -> None:
        self.said: list[Answer] = []
        self.forgotten: list[str] = []

    def say(self, topic: str, message: dict[str, Any]) -> None:
        assert topic == TO_HOSTS
        self.said.append(Answer.model_validate(message))

    async def forget_all(self, names: Sequence[str]) -> None:
        self.forgotten += names
