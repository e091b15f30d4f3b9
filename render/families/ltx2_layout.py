"""How LTX-2's latents are laid out: picture and sound in one tensor, and text for both in another.

LTX-2 samples picture and sound together, each attending to the other. The stage loop, its
solvers, noise and checkpoints know one tensor, so both lie in one row `(1, N)`: first the picture
`(1, C, T, h, w)`, then the sound `(1, c, L, m)`, each in memory order. The noise of a seed is
therefore the stock pipeline's, which draws the picture and then the sound from one generator
(torch draws normal numbers in groups of 16, and a picture of 128 channels fills its groups).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The shapes behind one row of latents."""

    picture: tuple[int, int, int, int, int]
    """(1, C, T, h, w)."""
    sound: tuple[int, int, int, int]
    """(1, c, L, m): channels, moments of 40 ms, bands of the compressed spectrogram."""

    @property
    def row(self) -> tuple[int, int]:
        """(1, N): the shape of the latents that are sampled."""
        return (1, math.prod(self.picture) + math.prod(self.sound))

    def split(self, row: Tensor) -> tuple[Tensor, Tensor]:
        """Picture and sound of a row (1, N), as views."""
        picture, sound = row.split([math.prod(self.picture), math.prod(self.sound)], dim=1)
        return picture.view(self.picture), sound.view(self.sound)

    def join(self, picture: Tensor, sound: Tensor) -> Tensor:
        """One row (1, N) of a picture and its sound: what `split` takes apart."""
        return torch.cat([picture.reshape(1, -1), sound.reshape(1, -1)], dim=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextLayout:
    """The widths of the text for picture and sound, which lie side by side with their mask."""

    picture: int
    sound: int

    def join(self, picture: Tensor, sound: Tensor, mask: Tensor) -> Tensor:
        """(1, S, picture + sound + 1) of both embeddings and the mask (1, S) of 0 and 1."""
        return torch.cat([picture, sound, mask.unsqueeze(-1).to(picture)], dim=-1)

    def split(self, text: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Embeddings for picture and sound (1, S, D), and the mask (1, S)."""
        picture, sound, mask = text.split([self.picture, self.sound, 1], dim=-1)
        # Whole in memory: another stride, another kernel, another last bit.
        return picture.contiguous(), sound.contiguous(), mask.squeeze(-1)
