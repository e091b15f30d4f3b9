"""What families have in common whose parts come as a diffusers pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from manifests.stage import Lora
from render.families.base import LoadedModel, LoadRequest
from render.families.loras import LoraShelf
from render.memory import Residence, release
from render.order import Placement
from render.placement import Rooms


class PipedModel(LoadedModel):
    """A pipeline's components, where they are, and the LoRAs over them."""

    def __init__(self, pipe: Any, request: LoadRequest) -> None:
        self.device = torch.device(request.device)
        self.name = request.model.name
        self._pipe = pipe
        self._loras = LoraShelf(pipe)
        self._rooms = Rooms(self.device, request.placement if self.places_parts else Placement())

    @property
    def residences(self) -> tuple[Residence, ...]:
        """One for each card that holds a part."""
        return self._rooms.residences

    @property
    def components(self) -> Mapping[str, nn.Module]:
        """Its modules, as the pipeline names them."""
        parts = self._pipe.components.items()
        return {name: part for name, part in parts if isinstance(part, nn.Module)}

    @property
    def notes(self) -> tuple[str, ...]:
        """What of the loaded LoRAs is left out: text is read once for all stages, without them."""
        return self._loras.notes

    def load_loras(self, loras: Sequence[Lora]) -> None:
        """Load into everything that samples; what they hold for the text encoder is left out."""
        self._loras.load(loras)

    def use_loras(self, loras: Sequence[Lora]) -> None:
        """Switch adapters; the weights of the model are never touched."""
        self._loras.use(loras)

    def close(self) -> None:
        """Drop the components and free the card."""
        self._pipe, self._loras = None, LoraShelf(None)
        self._rooms.empty()
        release(self.device)
