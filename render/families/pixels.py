"""From what a VAE decodes to frames of a clip."""

from __future__ import annotations

import torch
from torch import Tensor

from render.errors import NonFiniteFrames
from render.families.base import Frames


def frames_of(decoded: Tensor, *, done: int) -> Frames:
    """Frames 0..1 of decoded pixels (1, 3, T, H, W) in -1..1, as the stock pipelines make them.

    `done` counts the frames before these, for the message. Raises NonFiniteFrames.
    """
    pixels = (decoded * 0.5 + 0.5).clamp(0, 1)[0].permute(1, 2, 3, 0).cpu().float()
    if not bool(torch.isfinite(pixels).all()):
        raise NonFiniteFrames(
            f"decode: frame {done} or later holds NaN or infinity; render again with "
            "`vae_precision: float32`, then with a new seed"
        )
    return pixels.numpy()
