"""Which devices this machine can render on, found without torch."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from manifests.cards import ALL_CARDS, CardRules
from manifests.device import NO_DEVICE
from manifests.errors import BadInput, Fault
from manifests.placement import CardPlacement
from render.order import Placement
from tasks.nvml import driver, text

NOWHERE_ELSE = CardPlacement()
"""Every part of a model on the card that renders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One device that a worker process can own."""

    name: str
    """For people: `cpu`, `NVIDIA H200 #0`."""
    torch_device: str
    """What the worker calls it: `cpu`, or `cuda:0` (it sees only its own cards)."""
    visible: str | None
    """CUDA_VISIBLE_DEVICES of the worker: UUIDs, its own card first; None for a CPU."""
    placement: Placement = field(default_factory=Placement)
    """Which of the other cards it sees holds which part of a model, as the worker counts them."""
    memory: int | None = None
    """Bytes of the card; None on a CPU, and where the driver does not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a night has to render on."""

    cards: tuple[Device, ...]
    """Those that render takes, one each; on a machine without cards the CPU. Empty where all of
    them are on hosts."""
    upscaler: Device | None = None
    """A card that only upscales."""

    @property
    def torch_device(self) -> str:
        """What every rendering worker calls its own device."""
        return self.cards[0].torch_device if self.cards else "cuda:0"


def find_machine(
    wanted: str, placement: CardPlacement = NOWHERE_ELSE, *, rules: CardRules = ALL_CARDS
) -> Machine:
    """The devices to render on (`wanted` as for `find_devices`), with the parts placed elsewhere.

    A card that `placement` names helps the others and renders no takes of its own; `rules` say
    which of the rest may be used. Raises BadInput when a card is named that is not there, or when
    none is left to render. `none` is a machine without any.
    """
    if wanted == NO_DEVICE:
        return Machine(cards=())
    devices = _allowed(find_devices(wanted), rules)
    named = {**placement.parts, **({"upscale": placement.upscale} if placement.upscale else {})}
    if not named:
        return Machine(cards=devices)
    known = {f"cuda:{index}": card for index, card in enumerate(_cuda_cards())}
    for part, card in named.items():
        if devices[0].visible is None or card not in known:
            raise BadInput([_no_such_card(f"placement.{part}", card, tuple(known.values()))])
    helping = {known[card].visible for card in named.values()}
    rendering = tuple(device for device in devices if device.visible not in helping)
    if not rendering:
        raise BadInput([_none_left(named, wanted)])
    others = list(dict.fromkeys(placement.parts.values()))
    seen = [known[card].visible or "" for card in others]
    inside = {part: f"cuda:{1 + others.index(card)}" for part, card in placement.parts.items()}
    return Machine(
        cards=tuple(
            replace(
                device,
                visible=",".join([device.visible or "", *seen]),
                placement=Placement(**inside),
            )
            for device in rendering
        ),
        upscaler=known[placement.upscale] if placement.upscale else None,
    )


def _allowed(devices: tuple[Device, ...], rules: CardRules) -> tuple[Device, ...]:
    """The devices that the studio's rules leave. Raises BadInput where a card is mistyped."""
    if not rules.include and not rules.exclude:
        return devices
    cards = _cuda_cards()
    known = {str(index) for index in range(len(cards))} | {card.visible for card in cards}
    for column in ("include", "exclude"):
        for name in getattr(rules, column):
            if name not in known:
                raise BadInput([_no_such_rule(f"cards.{column}", name, cards)])
    if devices[0].visible is None:
        return devices
    may = {card.visible for i, card in enumerate(cards) if rules.allows(i, card.visible or "")}
    left = tuple(device for device in devices if device.visible in may)
    if not left:
        fault = Fault(
            file=Path("studio.yaml"),
            column="cards",
            problem="no card is left to render: include and exclude take all of them",
            remedy="take one card out of exclude, or add it to include",
        )
        raise BadInput([fault])
    return left


def _no_such_rule(column: str, name: str, cards: tuple[Device, ...]) -> Fault:
    there = ", ".join(f"{i} {card.name} {card.visible}" for i, card in enumerate(cards))
    return Fault(
        file=Path("studio.yaml"),
        column=column,
        value=name,
        problem=f"card {name!r} is not on this machine, or not in use",
        remedy=f"name one that is ({there or 'there is no CUDA card at all'}), or take it out",
    )


def count_cards(
    wanted: str, placement: CardPlacement = NOWHERE_ELSE, *, rules: CardRules = ALL_CARDS
) -> int | None:
    """Devices that would render here; None where nobody can tell: what is asked for is not on this
    machine, or all of them are on hosts."""
    try:
        return len(find_machine(wanted, placement, rules=rules).cards) or None
    except BadInput:
        return None


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
    raise BadInput([_no_such_card("device", wanted, cards)])


def _cuda_cards() -> tuple[Device, ...]:
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    with driver() as nvml:
        found = [] if nvml is None else [_card(nvml, i) for i in range(nvml.nvmlDeviceGetCount())]
    return tuple(
        card
        for index, card in enumerate(found)
        if allowed is None or {str(index), card.visible} & set(allowed.split(","))
    )


def _card(nvml: Any, index: int) -> Device:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    return Device(
        name=f"{text(nvml.nvmlDeviceGetName(handle))} #{index}",
        torch_device="cuda:0",
        visible=text(nvml.nvmlDeviceGetUUID(handle)),
        memory=int(nvml.nvmlDeviceGetMemoryInfo(handle).total),
    )


def _no_such_card(column: str, wanted: str, cards: tuple[Device, ...]) -> Fault:
    there = ", ".join(card.name for card in cards) or "no CUDA card at all"
    remedy = f"write auto or cpu, or one of the cards that are here ({there})"
    if column != "device":
        remedy = f"name a card that is here and renders ({there}), or take it out of placement"
    return Fault(
        file=Path("studio.yaml"),
        column=column,
        value=wanted,
        problem=f"device {wanted!r} is not on this machine, or not in use",
        remedy=remedy,
    )


def _none_left(named: dict[str, str], wanted: str) -> Fault:
    parts = ", ".join(f"{part} {card}" for part, card in named.items())
    return Fault(
        file=Path("studio.yaml"),
        column="placement",
        problem=f"no card is left to render: device is {wanted!r}, and {parts} take the rest",
        remedy="leave one card out of placement, or name another device",
    )
