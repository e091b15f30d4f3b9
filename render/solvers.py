"""Solvers of the probability-flow ODE on flow-matching models, in float32.

A solver takes one step from noise level `sigma` to `sigma_next`, given the model's velocity `v`
at `x`; the clean picture the model has in mind is `x0 = x - sigma*v`. Solvers with a memory hand
it out as plain tensors, so that a checkpoint can keep it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from manifests.stage import Sampler

History = dict[str, Tensor]
"""What a solver remembers, by name; empty when it remembers nothing."""


class Solver(ABC):
    """One run over falling noise levels; made anew for each stage."""

    @abstractmethod
    def step(self, x: Tensor, v: Tensor, *, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        """`x` at `sigma_next`.

        Args:
            x: latents at `sigma`, float32.
            v: velocity (noise - clean) the model sees there, same shape, float32.
            sigma: float32 scalar in (0, 1].
            sigma_next: float32 scalar, 0 <= sigma_next < sigma.
        """

    def state(self) -> History:
        """What the next step needs from the steps before."""
        return {}

    def load_state(self, history: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave. Raises ValueError when it is another solver's."""
        if history:
            raise ValueError(f"{type(self).__name__} remembers nothing, got {sorted(history)}")


class Euler(Solver):
    """`x + (sigma_next - sigma) * v`: exact where the velocity is constant."""

    def step(self, x: Tensor, v: Tensor, *, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        """One straight step along `v`."""
        return x + (sigma_next - sigma) * v


class DPMpp2M(Solver):
    """DPM-Solver++(2M), Lu et al. 2022, algorithm 2, with lambda = -log(sigma).

    NOTE: lambda is that of a variance-exploding model, as ComfyUI has it, not the half log-SNR
    log((1-sigma)/sigma) of a flow; the published looks of this sampler come from that.
    """

    def __init__(self) -> None:
        self._x0: Tensor | None = None
        self._sigma: Tensor | None = None

    def step(self, x: Tensor, v: Tensor, *, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        """Second order from the second step on; first order at the start and down to 0.

        A level that repeats is no step: x comes back as it is, and the history stays.
        """
        if bool(sigma_next == sigma):
            return x
        x0 = x - sigma * v
        target = x0
        h = sigma.log() - sigma_next.log()
        if self._x0 is not None and self._sigma is not None and sigma_next > 0:
            r = (self._sigma.log() - sigma.log()) / h
            target = (1 + 1 / (2 * r)) * x0 - (1 / (2 * r)) * self._x0
        self._x0, self._sigma = x0, sigma
        return (sigma_next / sigma) * x - torch.expm1(-h) * target

    def state(self) -> History:
        """The clean picture `x0` of the step before, and its noise level `sigma`."""
        if self._x0 is None or self._sigma is None:
            return {}
        return {"x0": self._x0, "sigma": self._sigma}

    def load_state(self, history: Mapping[str, Tensor]) -> None:
        """Go on from `x0` and `sigma`; an empty history starts over at first order."""
        if history and set(history) != {"x0", "sigma"}:
            raise ValueError(f"DPMpp2M remembers x0 and sigma, got {sorted(history)}")
        self._x0, self._sigma = history.get("x0"), history.get("sigma")


@dataclass(frozen=True, slots=True, kw_only=True)
class SolverKind:
    """A solver and what a planner may know of it."""

    make: Callable[[], Solver]
    order: int
    """Order of accuracy, once it has a history."""
    remembers: bool
    """Whether a later part of a split schedule needs its history to go on unchanged."""


SOLVERS: MappingProxyType[Sampler, SolverKind] = MappingProxyType(
    {
        Sampler.EULER: SolverKind(make=Euler, order=1, remembers=False),
        Sampler.DPMPP_2M: SolverKind(make=DPMpp2M, order=2, remembers=True),
    }
)
"""Every sampler a stage may name."""
