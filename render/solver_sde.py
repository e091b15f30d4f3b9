"""Stochastic solvers: fresh noise in every step but the last.

The formulas are ComfyUI's, for flow and for eps models; the noise is not (`FreshNoise`), so a
seed gives other pictures than it gives there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from manifests.samplers import nearest_to_noise
from manifests.stage import Noise
from render.solver import StochasticSolver, Velocity, alpha


class EulerA(StochasticSolver):
    """Ancestral Euler: a step down to `sigma_next**2 / sigma`, then noise up to `sigma_next`."""

    def step(self, x: Tensor, velocity: Velocity, *, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        """One Euler step too far, and fresh noise for the part that was too far."""
        if bool(sigma_next == sigma):
            return x
        x0 = x - sigma * velocity(x, sigma)
        if bool(sigma_next == 0):
            return x0
        down = sigma_next * (sigma_next / sigma)
        kept = alpha(sigma_next, self._setup.noise) / alpha(down, self._setup.noise)
        added = (sigma_next**2 - (down * kept) ** 2).clamp(min=0.0).sqrt()
        ratio = down / sigma
        return kept * (ratio * x + (1 - ratio) * x0) + added * self._noise.draw(x)


class LCM(StochasticSolver):
    """For distilled models: the clean picture at once, and fresh noise up to the next level."""

    def step(self, x: Tensor, velocity: Velocity, *, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        """`alpha_next*x0 + sigma_next*noise`; nothing of the old noise is kept."""
        if bool(sigma_next == sigma):
            return x
        x0 = x - sigma * velocity(x, sigma)
        if bool(sigma_next == 0):
            return x0
        return alpha(sigma_next, self._setup.noise) * x0 + sigma_next * self._noise.draw(x)


class DPMppSDE(StochasticSolver):
    """DPM-Solver++(SDE), Lu et al. 2022, with a model call half way (in lambda) of each step.

    `lambda = log(alpha/sigma)`. The noise of a step is one Brownian path in sigma: its increment
    down to the middle is part of the increment over the whole step, as in ComfyUI, but the path
    is drawn step by step and not bisected from its ends. So a schedule of other length meets
    another path, where ComfyUI's tree would show the same one at other points.
    """

    def step(self, x: Tensor, velocity: Velocity, *, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        """Ancestral steps to the middle and, with what the model says there, to the end."""
        if bool(sigma_next == sigma):
            return x
        sigma = self._below_noise(sigma)
        x0 = x - sigma * velocity(x, sigma)
        if bool(sigma_next == 0):
            return x0
        middle = self._sigma((self._lambda(sigma) + self._lambda(sigma_next)) / 2)
        first, second = self._noise.draw(x), self._noise.draw(x)
        whole = ((sigma - middle).sqrt() * first + (middle - sigma_next).sqrt() * second) / (
            sigma - sigma_next
        ).sqrt()
        x_middle = self._ancestral(x, x0, first, sigma=sigma, to=middle)
        x0_middle = x_middle - middle * velocity(x_middle, middle)
        return self._ancestral(x, x0_middle, whole, sigma=sigma, to=sigma_next)

    def _ancestral(
        self, x: Tensor, x0: Tensor, noise: Tensor, *, sigma: Tensor, to: Tensor
    ) -> Tensor:
        """From `sigma` to `to` if the clean picture is `x0`: too far down, and noise added."""
        high, low = (-self._lambda(sigma)).exp(), (-self._lambda(to)).exp()
        up = torch.minimum(low, (low**2 * (high**2 - low**2) / high**2).sqrt())
        down = (low**2 - up**2).sqrt()
        ratio = down / high
        weight, before = alpha(to, self._setup.noise), alpha(sigma, self._setup.noise)
        return weight / before * ratio * x + weight * (1 - ratio) * x0 + weight * up * noise

    def _below_noise(self, sigma: Tensor) -> Tensor:
        if self._setup.noise is not Noise.FLOW or bool(sigma < 1):
            return sigma
        return torch.full_like(sigma, nearest_to_noise(self._setup.shift))

    def _lambda(self, sigma: Tensor) -> Tensor:
        return -sigma.logit() if self._setup.noise is Noise.FLOW else -sigma.log()

    def _sigma(self, lam: Tensor) -> Tensor:
        return (-lam).sigmoid() if self._setup.noise is Noise.FLOW else (-lam).exp()
