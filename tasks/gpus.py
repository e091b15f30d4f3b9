"""Which devices this machine can render on, found without torch."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass

from manifests.errors import BadInput, Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One device that a worker process can own."""

    name: str
    """For people: `cpu`, `NVIDIA H200 #0`."""
    torch_device: str
    """What the worker calls it: `cpu`, or `cuda:0` (it sees only its own card)."""
    visible: str | None
    """CUDA_VISIBLE_DEVICES of the worker: the card's UUID; None for a CPU."""


def find_devices(wanted: str) -> tuple[Device, ...]:
    """The devices to render on: `auto` is every CUDA card, or the CPU where there is none.

    `wanted` may also be `cpu`, `cuda` (every card) or `cuda:N`. Raises BadInput when a card is
    asked for that is not there.
    """
    cpu = Device(name="cpu", torch_device="cpu", visible=None)
    if wanted == "cpu":
        return (cpu,)
    cards = _cuda_cards()
    if wanted == "auto":
        return cards or (cpu,)
    index = wanted.removeprefix("cuda").removeprefix(":")
    if index == "" and cards:
        return cards
    if index.isdigit() and int(index) < len(cards):
        return (cards[int(index)],)
    raise BadInput([_no_such_card(wanted, cards)])


def _cuda_cards() -> tuple[Device, ...]:
    try:
        import pynvml
    except ImportError:
        return ()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
        cards = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            name, uuid = (
                _text(pynvml.nvmlDeviceGetName(handle)),
                _text(pynvml.nvmlDeviceGetUUID(handle)),
            )
            if allowed is None or {str(index), uuid} & set(allowed.split(",")):
                cards.append(Device(name=f"{name} #{index}", torch_device="cuda:0", visible=uuid))
        return tuple(cards)
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _no_such_card(wanted: str, cards: tuple[Device, ...]) -> Fault:
    from pathlib import Path

    there = ", ".join(card.name for card in cards) or "no CUDA card at all"
    return Fault(
        file=Path("studio.yaml"),
        column="device",
        value=wanted,
        problem=f"device {wanted!r} is not on this machine",
        remedy=f"write auto or cpu, or one of the cards that are here ({there})",
    )
