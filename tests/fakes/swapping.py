"""Blocks of transformers swapped in and out on a CPU too, where there is nowhere to swap to: the
hooks are those of a card."""

from __future__ import annotations

from torch import nn

from render.memory import Residence


def bring_swapped(self: Residence, module: nn.Module) -> None:
    """In place of `Residence.bring`: what has blocks is run block by block from then on."""
    if hasattr(module, "blocks") and module not in self._streamed:
        self._stream(module)
        self._streamed.append(module)
