"""The parts of one model on several cards: which part runs where, and who keeps it there."""

from __future__ import annotations

import torch
from torch import nn

from render.memory import Residence
from render.order import Placement


class Rooms:
    """A residence for each card that holds a part of the model."""

    def __init__(self, device: torch.device, placement: Placement) -> None:
        """`device` holds every part that `placement` does not name."""
        self._device = device
        named = {
            "text_encoder": placement.text_encoder,
            "image_encoder": placement.text_encoder,
            "transformer_2": placement.low_expert,
            "vae": placement.vae,
        }
        self._cards = {part: torch.device(card) for part, card in named.items() if card is not None}
        self._residences = {card: Residence(card) for card in (device, *self._cards.values())}

    @property
    def residences(self) -> tuple[Residence, ...]:
        """Of all cards, the one that renders first."""
        return tuple(self._residences.values())

    def bring(self, part: str, module: nn.Module) -> torch.device:
        """Have a part ready to run: the device where it is, to which its inputs must go."""
        card = self._cards.get(part, self._device)
        self._residences[card].bring(module)
        return card

    def leave(self, part: str, module: nn.Module) -> None:
        """A part has done its work for this take. It leaves the card that renders; on a card of
        its own it stays, ready for the next take."""
        if self._cards.get(part, self._device) == self._device:
            self._residences[self._device].send_away(module)

    def empty(self) -> None:
        """Forget every module: the model is let go."""
        self._residences = {card: Residence(card) for card in self._residences}
