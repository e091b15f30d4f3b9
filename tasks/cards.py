"""The cards of a night and how much memory each has, without torch."""

from __future__ import annotations

from contextlib import suppress
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
    sizes = _sizes() if any(device.visible for device in devices) else {}
    return tuple(
        Card(name=device.name, memory=sizes[uuid])
        for device in devices
        if (uuid := (device.visible or "").partition(",")[0]) in sizes
    )


def _sizes() -> dict[str, int]:
    """Bytes of every card of this machine, by UUID."""
    import pynvml

    pynvml.nvmlInit()
    try:
        handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
        return {
            str(_text(pynvml.nvmlDeviceGetUUID(handle))): int(
                pynvml.nvmlDeviceGetMemoryInfo(handle).total
            )
            for handle in handles
        }
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
