"""Deterministic solvers with one model call a step: euler and dpmpp_2m, as ComfyUI has them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from render.solver import History, Solver, SolverSetup, Velocity, check_names


class Euler(Solver):
    """`x + (sigma_next - sigma) * v`: exact where the velocity is constant."""

    def __init__(self, setup: SolverSetup | None = None) -> None:
        """`setup` changes nothing: the step is the same for every kind of model."""

    def step(self, x: Tensor, velocity: Velocity, *, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        """One straight step along `v`."""
        if bool(sigma_next == sigma):
            return x
        return x + (sigma_next - sigma) * velocity(x, sigma)


class DPMpp2M(Solver):
    """DPM-Solver++(2M), Lu et al. 2022, algorithm 2, with lambda = -log(sigma).

    NOTE: lambda is that of a variance-exploding model, as ComfyUI has it, not the half log-SNR
    log((1-sigma)/sigma) of a flow; the published looks of this sampler come from that.
    """

    def __init__(self, setup: SolverSetup | None = None) -> None:
        """`setup` changes nothing, see the note above."""
        self._x0: Tensor | None = None
        self._sigma: Tensor | None = None

    def step(self, x: Tensor, velocity: Velocity, *, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        """Second order from the second step on; first order at the start and down to 0."""
        if bool(sigma_next == sigma):
            return x
        x0 = x - sigma * velocity(x, sigma)
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
        check_names(self, history, {"x0", "sigma"})
        self._x0 = history.get("x0")
        self._sigma = history["sigma"].cpu() if history else None
