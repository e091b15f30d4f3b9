"""Which worker processes a machine gets: one for each card, and hands that need no card.

Scoring and encoding run in processes of their own, so that neither their threads nor their crash
touch a take that samples. A machine without cards has one worker that does everything in turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tasks.gpus import Device, Machine

SEATS = 3
"""Takes in a card's worker: one has the card, one waits for it, one is being written."""
MOST_HANDS = 3
"""Hands for each card, at most: more than keep up with a card only take memory."""
CORES_PER_HAND = 4
"""A hand for so many cores, so that a small machine is not crowded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """One worker process."""

    name: str
    """`card-0`, `hand-1`, `upscaler`: unique; the first is also its resource in the engine."""
    device: Device | None
    """The card it owns; None: it sees none."""
    seats: int
    """Calls it works on at once."""
    threads: int
    """CPU threads of each library in it."""
    hand: bool
    """Whether it scores and finishes what needs no card."""
    host: str = ""
    """Of a host that joined: its name; empty on the machine of the night."""
    session: str = ""
    """Of a host: which of its stays this is."""
    scratch: Path | None = None
    """Of a host: a folder on its own disk."""
    host_memory: int | None = None
    """Bytes of the host's memory; None: as this machine's."""

    @property
    def title(self) -> str:
        """For people: the name of its card, else its own; a host's before it."""
        if self.device is None:
            return self.name
        return f"{self.host}/{self.device.name}" if self.host else self.device.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """All worker processes of a machine."""

    cards: tuple[Post, ...]
    """Those that render; on a machine without cards the one worker."""
    hands: tuple[Post, ...]
    """Those that only score and finish; empty where the renderer does it."""
    upscaler: Post | None
    """The one that upscales on a card of its own; None: the cards that render do it."""
    host: str = ""
    """Whose crew it is; empty: of the machine of the night."""

    @property
    def posts(self) -> tuple[Post, ...]:
        """All of them."""
        return (*self.cards, *self.hands, *((self.upscaler,) if self.upscaler else ()))

    @property
    def lanes(self) -> int:
        """Shots in work at once, such that no card waits for one that is scored or finished."""
        if not self.hands:
            return len(self.cards)
        return sum(post.seats for post in self.cards) + len(self.hands) + len(self.cards)


def crew_for(machine: Machine, *, cores: int, apart: bool = False) -> Crew:
    """The crew of a machine; `cores` CPU threads are shared out, each worker gets at least one.

    `apart`: there are hands also where a CPU renders, or nothing at all: hosts may bring cards.
    """
    if not apart and all(device.visible is None for device in machine.cards):
        posts = tuple(
            Post(name=f"card-{index}", device=device, seats=1, threads=cores, hand=True)
            for index, device in enumerate(machine.cards)
        )
        return Crew(cards=posts, hands=(), upscaler=None)
    number = max(1, len(machine.cards))
    hands = number * max(1, min(MOST_HANDS, cores // (CORES_PER_HAND * number)))
    # Half of the cores launch kernels and write clips, the other half scores and encodes.
    card_threads, hand_threads = max(1, cores // (2 * number)), max(1, cores // (2 * hands))
    return Crew(
        cards=tuple(
            Post(
                name=f"card-{i}",
                device=device,
                seats=1 if device.visible is None else SEATS,
                threads=card_threads,
                hand=False,
            )
            for i, device in enumerate(machine.cards)
        ),
        hands=tuple(
            Post(name=f"hand-{i}", device=None, seats=1, threads=hand_threads, hand=True)
            for i in range(hands)
        ),
        upscaler=None
        if machine.upscaler is None
        else Post(
            name="upscaler",
            device=machine.upscaler,
            seats=1,
            threads=hand_threads,
            hand=False,
        ),
    )
