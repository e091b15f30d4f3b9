"""A small part of a clip, decoded from the latents of an early stage: what a look is shown.

All frames of one window are decoded, as the clip will be, so that what stands still, jumps or is
not the still's is seen in real pixels. The window lies where the latents change most: if even that
part stands still, so does all of the picture. It has a quarter of the width and height, but no
side of less than `LEAST` latent pixels, below which the VAE would see more edge than picture.

Tried and left: the latents averaged to half their size, decoded whole. Averages of latents are not
the latents of a smaller picture: the bundled VAE makes mush of them (17 to 21 dB).

A look must never be what a take runs out of memory by: the VAE is only used where it fits beside
what is on the card, and leaves the card again if it was not there before.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor
from torch.nn.functional import avg_pool2d

from render.families.base import Frames, LoadedModel
from render.look import Box, Glimpse

PART = 4
"""The window has one in so many of the latent rows and columns."""
LEAST = 8
"""Latent pixels: no side of it is shorter, where the picture has so many."""


def glimpse(model: LoadedModel, latents: Tensor) -> Glimpse | None:
    """What can be shown of the clean latents (1, C, T, h, w); None where nothing can.

    Raises what the decode raises.
    """
    factors = model.preview_factors
    colours = None if factors is None else factors.colours(latents.float().cpu().numpy())
    top, left, height, width = window(latents)
    rows, columns = latents.shape[-2:]
    share = height * width / (rows * columns)
    frames = None
    if model.may_decode_beside(share=share):
        with model.vae_beside(share=share):
            frames = _decoded(model, latents[..., top : top + height, left : left + width])
    if colours is None and frames is None:
        return None
    box = Box(
        left=left / columns,
        top=top / rows,
        right=(left + width) / columns,
        bottom=(top + height) / rows,
    )
    return Glimpse(colours=colours, frames=frames, box=box)


def window(latents: Tensor) -> tuple[int, int, int, int]:
    """Where the latents (1, C, T, h, w) change most in time: (top, left, height, width).

    The step from the first latent frame is left out where there are others: it may hold one frame
    alone and then differs in kind.
    """
    rows, columns = latents.shape[-2:]
    height, width = (min(side, max(LEAST, -(-side // PART))) for side in (rows, columns))
    steps = latents.float().diff(dim=2).abs().mean(dim=1)[0]
    if len(steps) == 0:
        return (rows - height) // 2, (columns - width) // 2, height, width
    change = (steps[1:] if len(steps) > 1 else steps).mean(dim=0)
    means = avg_pool2d(change[None, None], (height, width), stride=1)[0, 0]
    at = int(means.argmax())
    return at // means.shape[1], at % means.shape[1], height, width


def _decoded(model: LoadedModel, part: Tensor) -> Frames:
    return np.concatenate(list(model.decode(part.contiguous())))
