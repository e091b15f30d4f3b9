"""What a solver is: one step from a noise level to the next, and a memory in plain tensors.

A solver goes from level `sigma` to `sigma_next`, asking the model for its velocity `v`; the clean
picture that the model has in mind is `x0 = x - sigma*v`, on flow models (`v = noise - clean`) and
on eps models (`v` is the noise) alike. What differs is the weight of the picture in the latents,
`x = alpha*clean + sigma*noise`: `alpha` is `1 - sigma` on a flow model and 1 on an eps model.

Levels stay on the CPU, in float32: no card decides a coefficient.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from manifests.stage import Noise

History = dict[str, Tensor]
"""What a solver remembers, by name; empty when it remembers nothing."""

Velocity = Callable[[Tensor, Tensor], Tensor]
"""The model, guidance included: latents `x` and their level `sigma` -> velocity like `x`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SolverSetup:
    """What a solver is made for."""

    noise: Noise = Noise.FLOW
    """How the model mixes noise and picture."""
    shift: float = 1.0
    """Of the stage's schedule: says how near to 1 a level may come on a flow model."""
    seed: int = 0
    """Of the noise that the solver adds; of no use to a deterministic one."""


class Solver(ABC):
    """One run over falling noise levels; made anew for each stage."""

    @abstractmethod
    def step(self, x: Tensor, velocity: Velocity, *, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        """`x` at `sigma_next`. A level that repeats is no step: `x` comes back as it is.

        Args:
            x: latents at `sigma`, float32.
            velocity: the model; asked at levels between `sigma` and `sigma_next`.
            sigma: scalar on the CPU, above 0; at most 1 on a flow model.
            sigma_next: scalar on the CPU, 0 <= sigma_next <= sigma.
        """

    def state(self) -> History:
        """What the next step needs from the steps before, as tensors that no step changes."""
        return {}

    def load_state(self, history: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave; an empty history starts over.

        Raises ValueError when it is another solver's.
        """
        if history:
            raise ValueError(f"{type(self).__name__} remembers nothing, got {sorted(history)}")


class FreshNoise:
    """Standard normal noise, one draw after another, the same on every card.

    Each draw has a seed of its own, made from the run's seed and the number of the draw. So the
    state is two whole numbers, and no draw is that of the noise a stage starts from.
    """

    def __init__(self, seed: int) -> None:
        self._seed, self._drawn = seed % 2**63, 0

    def draw(self, x: Tensor) -> Tensor:
        """The next noise, of the shape, type and device of `x`; drawn in float32 on the CPU."""
        text = f"solver noise {self._seed} {self._drawn}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
        self._drawn += 1
        return torch.randn(x.shape, generator=torch.Generator("cpu").manual_seed(seed)).to(x)

    def state(self) -> History:
        """`noise_seed` and `noise_drawn`, int64 scalars."""
        return {
            "noise_seed": torch.tensor(self._seed, dtype=torch.int64),
            "noise_drawn": torch.tensor(self._drawn, dtype=torch.int64),
        }

    def load_state(self, history: Mapping[str, Tensor]) -> None:
        """Go on behind the draws that `history` counts; an empty one changes nothing."""
        if history:
            self._seed = int(history["noise_seed"])
            self._drawn = int(history["noise_drawn"])


class StochasticSolver(Solver):
    """A solver whose only memory is how much noise it has drawn."""

    def __init__(self, setup: SolverSetup) -> None:
        self._setup = setup
        self._noise = FreshNoise(setup.seed)

    def state(self) -> History:
        """Seed and number of the draws so far."""
        return self._noise.state()

    def load_state(self, history: Mapping[str, Tensor]) -> None:
        """Go on behind those draws."""
        check_names(self, history, {"noise_seed", "noise_drawn"})
        self._noise.load_state(history)


def alpha(sigma: Tensor, noise: Noise) -> Tensor:
    """The weight of the clean picture in latents at `sigma`."""
    return 1.0 - sigma if noise is Noise.FLOW else torch.ones_like(sigma)


def check_names(solver: Solver, history: Mapping[str, Tensor], names: set[str]) -> None:
    """Raise ValueError unless `history` is empty or holds exactly `names`."""
    if history and set(history) != names:
        raise ValueError(
            f"{type(solver).__name__} remembers {', '.join(sorted(names))}, got {sorted(history)}"
        )
