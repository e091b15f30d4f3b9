"""Who may join a night as a host, and in which words the others are refused: all faults at once."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from manifests.settings import Studio
from tasks.engine import Gate
from tasks.host_book import BOOK
from tasks.host_facts import code_facts, differences, model_places, reads_token
from tasks.host_talk import SESSION, Hello, ToldPost

MOST_SKEW = 10.0
"""Seconds by which two clocks may differ: takes stop and are timed by the clock of their host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosting:
    """How hosts come in, and when they are given up."""

    gate: Gate
    root: Path
    """The shared folder."""
    tokens: Path
    """Folder in it where both sides leave a word for the other."""
    lease: float
    """Seconds without a word after which a host is given up."""
    patience: float
    """Seconds that a take waits for a host that has a card for it."""
    facts: dict[str, str]
    models: dict[str, str]
    book: Path
    """Where it is written down who is here."""


def hosting_of(studio: Studio) -> Hosting | None:
    """As the studio's settings have it; None where it has no hosts."""
    rules = studio.hosts
    if rules.listen is None:
        return None
    address, _, port = rules.listen.rpartition(":")
    return Hosting(
        gate=Gate(host=address.strip("[]"), port=int(port), tls=rules.tls),
        root=studio.root,
        tokens=studio.state_dir / "hosts",
        lease=rules.lease_seconds,
        patience=60 * rules.wait_minutes,
        facts=dict(code_facts()),
        models=model_places(studio),
        book=studio.state_dir / BOOK,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Why a host is not let in."""

    words: str
    again: bool
    """Whether it may ask again later, as it is."""


def refusal(hello: Hello, hosting: Hosting, *, here: Collection[str]) -> Refused | None:
    """Why a host is not let in; None: it is. `here` are the names of those that are."""
    faults = [*_faults(hello, hosting), *_post_faults(hello.posts)]
    passing = [*_clock_faults(hello)]
    if hello.host in here:
        passing.append(
            f"a host named {hello.host} is here; it is given up {hosting.lease:.0f} s after its "
            "last word, or name this one otherwise (--name)"
        )
    if not faults and not passing:
        return None
    return Refused(words="; ".join([*faults, *passing]), again=not faults)


def _clock_faults(hello: Hello) -> Iterator[str]:
    """A clock that is off: NTP sets it in time, or the hello was long under way."""
    if abs(skew := hello.clock - time.time()) > MOST_SKEW:
        yield f"its clock is {skew:+.0f} s off; have both set by NTP"


def _faults(hello: Hello, hosting: Hosting) -> Iterator[str]:
    """What differs between the two machines."""
    if other := differences(hello.facts, hosting.facts):
        yield f"it does not run the same as the night: {'; '.join(other)}; install the same"
    if hello.root != str(hosting.root):
        yield (
            f"the studio is {hello.root} there and {hosting.root} here; mount it under the same "
            "path, which takes are sent with"
        )
    elif not reads_token(hosting.tokens, f"{hello.session}.host", hello.token):
        yield (
            f"{hosting.root} is another folder there: what {hello.host} wrote into "
            f"{hosting.tokens} cannot be read here; mount the same share"
        )
    if other := differences(hello.models, hosting.models):
        yield f"models lie elsewhere: {'; '.join(other)}; the same settings are needed"


def _post_faults(posts: Iterable[ToldPost]) -> Iterator[str]:
    """Workers that could not be told apart, or that are not what they are called.

    The engine sends a call to a worker by its name, and a card has one worker: of two that share
    either, one would get what is meant for the other.
    """
    posts = tuple(posts)
    for name in _twice(post.name for post in posts):
        yield f"two of its workers are named {name}"
    # NOTE: the first is its own; those behind it hold parts of models, for several workers.
    for card in _twice(post.uuid.partition(",")[0] for post in posts if post.uuid):
        yield f"two of its workers have the card {card}"
    for post in posts:
        if post.is_hand and post.device is not None:
            yield f"its {post.name} has a card ({post.device}), which hands have not"
        elif not post.is_hand and post.device is None:
            yield f"its {post.name} names no card"


def _twice(names: Iterable[str]) -> list[str]:
    return [name for name, times in Counter(names).items() if times > 1]


def unreadable(message: Any, error: ValidationError) -> tuple[str, str] | None:
    """Session and words for a hello that cannot be read, of an older or newer Rushes perhaps.

    None: it is no hello; whoever speaks another language is not answered.
    """
    if not isinstance(message, dict) or message.get("says") != "hello":
        return None
    session = message.get("session")
    if not isinstance(session, str) or not re.fullmatch(SESSION, session):
        return None
    # NOTE: the first part of a place is the kind of message that was tried.
    found = dict.fromkeys(
        f"{'.'.join(map(str, each['loc'][1:]))}: {each['msg'].lower()}"
        for each in error.errors(include_url=False, include_context=False, include_input=False)
        if each["loc"][:1] == (Hello.__name__,)
    )
    return session, f"its hello cannot be read here ({'; '.join(found)}); install the same"
