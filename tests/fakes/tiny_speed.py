"""A tiny Wan under a speed level: loading it, asking it, and compilers that count or fail."""

from __future__ import annotations

from typing import Any

import torch
from plain_render import load_plain
from torch import Tensor

from manifests.stage import Expert
from render.families.base import LoadedModel, Position
from render.order import ModelRef
from render.speed_compile import FailureMemory
from render.speed_levers import Accelerator


class Counting:
    """A compiler that compiles nothing and counts the graphs it is given."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: Any, inputs: Any) -> Any:
        self.graphs += 1
        return graph.forward


class Failing(Counting):
    """A compiler that is not there."""

    def __call__(self, graph: Any, inputs: Any) -> Any:
        super().__call__(graph, inputs)
        raise RuntimeError("Failed to find C compiler")


def load_tiny_wan(ref: ModelRef, *, precision: str = "float32") -> LoadedModel:
    """The model of a folder, on the CPU."""
    return load_plain(ref, precision=precision)


def velocity_of(
    model: LoadedModel,
    *,
    frames: int = 5,
    width: int = 32,
    height: int = 32,
    sigma: float = 0.9,
    seed: int = 0,
    branch: str = "cond",
) -> Tensor:
    """One call of the model at latents and text that are drawn from their seeds."""
    shape = model.latent_shape(width=width, height=height, frames=frames)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    net: Any = model.components["transformer"]
    text = torch.randn(1, 512, 16, generator=torch.Generator().manual_seed(len(branch)))
    text = text.to(net.dtype)
    at = Position(sigma=torch.tensor(sigma), expert=Expert.AUTO, step=0, steps=3)
    with torch.inference_mode():
        return model.velocity(x, at, text, image=None, branch=branch)


def accelerator_of(model: LoadedModel, compiler: Any = None) -> Accelerator:
    """Its levers, with no failure known."""
    return Accelerator(model, failures=FailureMemory(), compiler=compiler)
