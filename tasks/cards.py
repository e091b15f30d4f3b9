"""The cards of a night and how much memory each has, without torch."""

from __future__ import annotations

from dataclasses import dataclass

from manifests.errors import BadInput
from manifests.settings import Studio
from render.footprint import GIB
from tasks.gpus import find_machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A card that renders takes, or would."""

    name: str
    """For people: `NVIDIA H200 #0`, or `a card of 24 GiB`."""
    memory: int
    """Bytes."""


def cards_of(studio: Studio, *, card_gb: float | None = None) -> tuple[Card, ...]:
    """The cards to plan for; none where the night renders on a CPU.

    `card_gb`, else the studio's `card_memory_gb`, stands for a card of that size, so that a night
    can be planned for another machine.
    """
    given = card_gb or studio.card_memory_gb
    if given is not None:
        return (Card(name=f"a card of {given:g} GiB", memory=int(given * GIB)),)
    try:
        devices = find_machine(studio.device, studio.placement, rules=studio.cards).cards
    except BadInput:
        # It is named where a night is begun; a plan may be made on another machine.
        return ()
    return tuple(
        Card(name=device.name, memory=device.memory)
        for device in devices
        if device.memory is not None
    )
