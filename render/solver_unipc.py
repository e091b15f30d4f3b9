"""UniPC, Zhao et al. 2023: a predictor, and a corrector that asks for no further model call.

Second order, B(h) = expm1(h), data prediction, first order in the step down to 0: what diffusers'
UniPCMultistepScheduler computes with the settings that Wan ships, bit for bit in float32. ComfyUI's
uni_pc is another one (third order, another lambda).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from manifests.stage import Noise
from render.solver import History, Solver, SolverSetup, Velocity, alpha

LAST_BELOW_NOISE = 1.0 - 1e-6
"""A flow model's level 1 is taken for this one: there log(alpha) is finite."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the model said at a level."""

    x0: Tensor
    sigma: Tensor


@dataclass(frozen=True, slots=True)
class _Hop:
    """Coefficients of a step between two levels, float32 scalars."""

    keep: Tensor
    """Of the latents."""
    phi: Tensor
    """`alpha * expm1(-h)`, of the clean picture and of its changes."""
    h: Tensor
    """Negative difference of lambda = log(alpha/sigma)."""


class UniPC(Solver):
    """UniPC-2 in its B2 variant."""

    def __init__(self, setup: SolverSetup) -> None:
        self._kind = setup.noise
        self._seen: tuple[_Seen, ...] = ()
        """The last two, the latest at the end."""
        self._corrected: Tensor | None = None
        """Latents that the last predictor started from."""
        self._order = 0
        """Of the last predictor."""

    def step(self, x: Tensor, velocity: Velocity, *, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        """Correct `x` by what the model says at it, then predict `x` at the next level."""
        if bool(sigma_next == sigma):
            return x
        if self._kind is Noise.FLOW:
            sigma = sigma.clamp(max=LAST_BELOW_NOISE)
        now = _Seen(x - sigma * velocity(x, sigma), sigma)
        if self._corrected is not None:
            x = self._correct(self._corrected, now)
        self._seen = (*self._seen, now)[-2:]
        self._order = 1 if bool(sigma_next == 0) else len(self._seen)
        self._corrected = x
        return self._predict(x, sigma_next)

    def _predict(self, x: Tensor, sigma_next: Tensor) -> Tensor:
        """UniP: `x` at the next level from what the model said here and one step before."""
        now = self._seen[-1]
        hop = self._hop(now.sigma, sigma_next)
        x_next = hop.keep * x - hop.phi * now.x0
        if self._order == 1:
            return x_next
        before = self._seen[-2]
        change = (before.x0 - now.x0) / self._ratio(before.sigma, now.sigma, hop)
        return x_next - hop.phi * (0.5 * change)

    def _correct(self, x: Tensor, now: _Seen) -> Tensor:
        """UniC: the last step once more from its start `x`, knowing what the model says `now`."""
        start = self._seen[-1]
        hop = self._hop(start.sigma, now.sigma)
        x_now = hop.keep * x - hop.phi * start.x0
        change = now.x0 - start.x0
        if self._order == 1:
            return x_now - hop.phi * (0.5 * change)
        before = self._seen[-2]
        ratio = self._ratio(before.sigma, start.sigma, hop)
        rho = _corrector_weights(ratio, hop.h)
        earlier = (before.x0 - start.x0) / ratio
        return x_now - hop.phi * (rho[0] * earlier + rho[1] * change)

    def _hop(self, sigma: Tensor, sigma_next: Tensor) -> _Hop:
        h = self._lambda(sigma) - self._lambda(sigma_next)
        phi = alpha(sigma_next, self._kind) * torch.expm1(h)
        return _Hop(keep=sigma_next / sigma, phi=phi, h=h)

    def _ratio(self, before: Tensor, start: Tensor, hop: _Hop) -> Tensor:
        """How far back the step before began, in units of this step; negative."""
        return (self._lambda(before) - self._lambda(start)) / -hop.h

    def _lambda(self, sigma: Tensor) -> Tensor:
        return torch.log(alpha(sigma, self._kind)) - torch.log(sigma)

    def state(self) -> History:
        """The last one or two clean pictures with their levels, and the predictor's start."""
        if self._corrected is None:
            return {}
        kept = {"corrected": self._corrected, "order": torch.tensor(self._order)}
        for age, seen in enumerate(reversed(self._seen)):
            kept |= {f"x0.{age}": seen.x0, f"sigma.{age}": seen.sigma}
        return kept

    def load_state(self, history: Mapping[str, Tensor]) -> None:
        """Go on from there; an empty history starts over at first order."""
        ages = [age for age in (1, 0) if f"x0.{age}" in history]
        names = {"corrected", "order", *(f"{key}.{age}" for key in ("x0", "sigma") for age in ages)}
        if history and (set(history) != names or 0 not in ages):
            raise ValueError(f"UniPC remembers corrected, order, x0, sigma, got {sorted(history)}")
        self._seen = tuple(
            _Seen(history[f"x0.{age}"], history[f"sigma.{age}"].cpu()) for age in ages
        )
        self._corrected = history.get("corrected")
        self._order = int(history["order"]) if history else 0


def _corrector_weights(ratio: Tensor, h: Tensor) -> Tensor:
    """Weights of the earlier change and of the latest one, from their order conditions."""
    base = torch.expm1(h)
    phi_2 = base / h - 1
    phi_3 = phi_2 / h - 1 / 2
    nodes = torch.stack([ratio, torch.ones_like(ratio)])
    conditions = torch.stack([torch.pow(nodes, 0), torch.pow(nodes, 1)])
    return torch.linalg.solve(conditions, torch.stack([phi_2 * 1 / base, phi_3 * 2 / base]))
