"""LoRAs in compiled blocks: slots whose content is swapped, so that a new LoRA compiles nothing.

A compiled block depends on the names, shapes and strengths of the adapters in it. So here an
adapter is a slot with a name that stays (`slot_1`), its matrices are padded with zeros to a rank
that serves most LoRAs, and its strength is a tensor that is written to. Only another number of
LoRAs at once, other layers or a higher rank than any before make another graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from peft.tuners.lora import LoraLayer

RANK = 64
"""Least rank of a slot; higher ones are rounded up to a power of two."""


class Slots:
    """Which LoRA lies in which slot of one set of transformers."""

    def __init__(self, nets: Mapping[str, Any]) -> None:
        self._nets = nets
        self._names: dict[str, str] = {}
        """Slot by the hash of the LoRA in it."""
        self._free: list[str] = []
        """Slots that exist and hold nothing that is wanted."""
        self._rank = 0
        self._scales: dict[str, list[tuple[Any, float]]] = {}
        """Layers that a slot has, each with the scale that strength 1 means (alpha / rank)."""

    def __contains__(self, sha256: str) -> bool:
        return sha256 in self._names

    def keep(self, wanted: Iterable[str]) -> None:
        """Give free the slots of all LoRAs but the `wanted` ones (hashes)."""
        for sha256 in set(self._names) - set(wanted):
            self._free.append(self._names.pop(sha256))
        self._free.sort(reverse=True)

    def fit(self, weights: Mapping[str, torch.Tensor]) -> bool:
        """Whether a LoRA can be swapped in, or has a slot made for it, as the slots are now."""
        return not self._free or _slot_rank(weights) <= self._rank

    def take(self, sha256: str, weights: Mapping[str, torch.Tensor]) -> tuple[str, bool]:
        """A slot for a LoRA: its name, and whether it exists and is to be swapped into.

        Its content is zeroed, so that nothing of the LoRA before can stay unnoticed.
        """
        swap = bool(self._free)
        name = self._free.pop() if swap else f"slot_{len(self._names) + 1}"
        self._names[sha256] = name
        if swap:
            for layer, _ in self._scales[name]:
                layer.lora_B[name].weight.data.zero_()
            return name, True
        self._rank = max(self._rank, _slot_rank(weights))
        for net in self._nets.values():
            net.enable_lora_hotswap(target_rank=self._rank, check_compiled="ignore")
        return name, False

    def filled(self, net: Any, name: str) -> bool:
        """Whether the slot changes anything in `net`."""
        layers = _layers(net, name)
        return any(bool(layer.lora_B[name].weight.any()) for layer in layers)

    def loaded(self, name: str) -> None:
        """A LoRA was laid into slot `name` of every transformer: learn its scales anew."""
        layers = [layer for net in self._nets.values() for layer in _layers(net, name)]
        self._scales[name] = [(layer, float(layer.scaling[name])) for layer in layers]
        for layer, scale in self._scales[name]:
            # On the host whatever the layer's device: a scalar there serves every device.
            layer.scaling[name] = torch.tensor(scale)

    def use(self, strengths: Mapping[str, float]) -> None:
        """Switch on exactly these LoRAs (by hash) at these strengths."""
        active = {self._names[sha256]: strength for sha256, strength in strengths.items()}
        for net in self._nets.values():
            if not active:
                net.disable_lora()
                continue
            net.enable_lora()
            net.set_adapter(sorted(active))  # one order, one graph
        for name, strength in active.items():
            for layer, scale in self._scales[name]:
                layer.scaling[name].fill_(scale * strength)

    def forget(self) -> None:
        """The adapters were unloaded."""
        self._names.clear()
        self._free.clear()
        self._scales.clear()
        self._rank = 0


def _layers(net: Any, name: str) -> list[Any]:
    return [part for part in net.modules() if isinstance(part, LoraLayer) and name in part.scaling]


def _slot_rank(weights: Mapping[str, torch.Tensor]) -> int:
    """Rank of a slot that holds a LoRA of these weights, by whatever names its two halves have."""
    ranks = [
        weight.shape[0] if half == "down" else weight.shape[1]
        for name, weight in weights.items()
        if weight.ndim > 1 and (half := _half(name)) is not None
    ]
    return max(RANK, 1 << (max(ranks, default=1) - 1).bit_length())


def _half(name: str) -> str | None:
    if "lora_A" in name or "lora_down" in name:
        return "down"
    return "up" if "lora_B" in name or "lora_up" in name else None
