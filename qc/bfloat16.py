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
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

_USUAL = (1, 3, 240, 416)
"""Shape of most pictures: half of 832x480."""
_NATIVE = ("avx512_bf16", "amx_bf16")


def multiplied_here() -> bool:
    """Whether this machine's processor multiplies bfloat16 by itself (AVX-512 BF16 or AMX)."""
    # NOTE: a torch without that question does not know; float32 is then right, and slower.
    ask: Any = getattr(torch.cpu, "get_capabilities", dict)
    has: Mapping[str, Any] = ask()
    return any(bool(has.get(name)) for name in _NATIVE)


class Trunk:
    """A copy of a network's slices that computes in bfloat16, from weights that are `diffused`.

    Where the processor multiplies bfloat16, convolutions have their weights laid out for it once
    and not at every call, and clip what they give themselves: the same bits in a twelfth less time.
    """

    def __init__(self, slices: Iterable[torch.nn.Module]) -> None:
        """`slices`, each behind the one before: poolings, and convolutions with a ReLU each."""
        values, self._slices = torch.zeros(_USUAL), list[list[Step]]()
        for part in slices:
            steps, values = _steps(copy.deepcopy(part).eval(), values)
            self._slices.append(steps)

    def __call__(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """What each slice gives (n, C, h, w), float32, of `pixels` (n, 3, H, W)."""
        values, found = pixels.to(torch.bfloat16, memory_format=torch.channels_last), []
        for steps in self._slices:
            for step in steps:
                values = step(values)
            found.append(values.float())
        return found


Step = Callable[[torch.Tensor], torch.Tensor]


@torch.no_grad()
def _steps(part: torch.nn.Module, values: torch.Tensor) -> tuple[list[Step], torch.Tensor]:
    """Those of a slice that `values` of the usual size come into, and what it makes of them."""
    steps: list[Step] = []
    for module in part.children():
        if isinstance(module, torch.nn.Conv2d):
            size, values = values.shape, module(values)
            module.weight.copy_(diffused(module.weight))
            module = module.to(torch.bfloat16).to(memory_format=torch.channels_last)
            steps.append(_laid_out(module, size) if _lays_out() else module)
        else:
            values = module(values)
            # Where convolutions are laid out, ReLU is done with the one before it.
            if not (isinstance(module, torch.nn.ReLU) and _lays_out()):
                steps.append(module)
    return steps, values


def _lays_out() -> bool:
    # NOTE: torch's own compiler uses these two; they are not promised, hence the question.
    wanted = ("_convolution_pointwise", "_reorder_convolution_weight")
    return multiplied_here() and all(hasattr(torch.ops.mkldnn, name) for name in wanted)


def _laid_out(module: torch.nn.Conv2d, size: torch.Size) -> Step:
    """The convolution and the ReLU behind it.

    The layout is chosen for inputs of `size`, fits all, and is no good at all without one.
    """
    ops: Any = torch.ops.mkldnn
    how = (list(module.padding), list(module.stride), list(module.dilation), module.groups)
    weight = ops._reorder_convolution_weight(module.weight, *how, list(size))

    def step(values: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = ops._convolution_pointwise(
            values, weight, module.bias, *how, "relu", [], ""
        )
        return result

    return step


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
