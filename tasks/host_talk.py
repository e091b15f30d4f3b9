"""What a host and the machine of the night say to each other; checked as it comes in.

Messages travel under two topics of the engine, one for each direction. A stay of a host, from its
hello to its end, is a session: both sides end one for good and begin another.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from manifests.hosts import HOST_NAME
from render.order import Placement
from tasks.crew import Crew, Post
from tasks.gpus import Device

TO_HEAD, TO_HOSTS = "rushes-to-head", "rushes-to-hosts"
"""Topics."""
EVERYBODY = 32 * "0"
"""Session of what is said to all hosts."""
SESSION = r"[0-9a-f]{32}"
_Session = Annotated[str, Field(pattern=f"^{SESSION}$")]
_UPSCALER = "upscaler"
MOST_WORDS = 2000
"""Characters; who tells more cuts it."""
_Words = Annotated[str, Field(max_length=MOST_WORDS)]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    session: _Session


_Card = Annotated[str, Field(pattern=r"^cuda:[0-9]{1,2}$")]


class ToldPlacement(BaseModel):
    """Which other card that a worker sees holds which part of a model; None: its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text_encoder: _Card | None = None
    low_expert: _Card | None = None
    vae: _Card | None = None


class ToldPost(BaseModel):
    """One worker process of a host."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=rf"^((card|hand)-[0-9]{{1,3}}|{_UPSCALER})$")]
    seats: Annotated[int, Field(ge=1, le=64)]
    threads: Annotated[int, Field(ge=1, le=4096)]
    device: str | None = None
    """Name of its card; None: a hand."""
    torch_device: Literal["cpu", "cuda:0"] = "cpu"
    uuid: str | None = None
    """Of the card, for CUDA_VISIBLE_DEVICES; those behind it hold parts of a model."""
    placement: ToldPlacement = ToldPlacement()
    memory: Annotated[int, Field(ge=0)] | None = None
    """Bytes of the card."""

    @property
    def is_hand(self) -> bool:
        """Whether it is called one that works without a card."""
        return self.name.startswith("hand-")


class Hello(_Message):
    """A host wants to join."""

    says: Literal["hello"] = "hello"
    host: Annotated[str, Field(pattern=f"^{HOST_NAME}$")]
    client: str
    """By which the engine knows the host's own connection."""
    root: str
    token: str
    """What it wrote into the shared folder."""
    clock: float
    """Seconds since the epoch, there."""
    facts: dict[str, str]
    models: dict[str, str]
    scratch: str
    memory: Annotated[int, Field(gt=0)]
    """Bytes of the host."""
    posts: Annotated[tuple[ToldPost, ...], Field(min_length=1, max_length=256)]

    def crew(self) -> Crew:
        """Its workers as the pool knows them: named after their host."""
        cards = [self._post(told) for told in self.posts if told.name.startswith("card-")]
        hands = [self._post(told) for told in self.posts if told.is_hand]
        upscalers = [self._post(told) for told in self.posts if told.name == _UPSCALER]
        return Crew(
            cards=tuple(cards),
            hands=tuple(hands),
            upscaler=upscalers[0] if upscalers else None,
            host=self.host,
        )

    def _post(self, told: ToldPost) -> Post:
        device = None
        if told.device is not None:
            device = Device(
                name=told.device,
                torch_device=told.torch_device,
                visible=told.uuid,
                placement=Placement(**told.placement.model_dump()),
                memory=told.memory,
            )
        return Post(
            name=f"{self.host}/{told.name}",
            device=device,
            seats=told.seats,
            threads=told.threads,
            hand=told.is_hand,
            host=self.host,
            session=self.session,
            scratch=Path(self.scratch),
            host_memory=self.memory,
        )


class Said(_Message):
    """What a host says after its hello."""

    says: Literal["ready", "pulse", "away", "back", "room", "leaving", "left"]
    card: str = ""
    """`away`, `back`, `room`: name of the worker, `card-0`."""
    room: Annotated[int, Field(ge=0)] | None = None
    """`room`: bytes that others leave of its card's memory; None: all of it."""
    words: _Words = ""


class Answer(_Message):
    """What the machine of the night says."""

    says: Literal["welcome", "refused", "beat", "drained", "lost", "over"]
    words: _Words = ""
    token: str = ""
    """`welcome`: what it wrote into the shared folder."""
    again: bool = False
    """`refused`: whether to ask again later."""
    lease: float = 0.0
    """`welcome`: seconds without a word from the other side after which a stay is over."""


def told_posts(crew: Crew) -> tuple[ToldPost, ...]:
    """A host's own crew, as it tells of it."""
    return tuple(
        ToldPost(
            name=post.name,
            seats=post.seats,
            threads=post.threads,
            **({} if post.device is None else _told_device(post.device)),
        )
        for post in crew.posts
    )


def _told_device(device: Device) -> dict[str, Any]:
    return {
        "device": device.name,
        "torch_device": device.torch_device,
        "uuid": device.visible,
        "placement": asdict(device.placement),
        "memory": device.memory,
    }
