"""What a model's noise levels are: its own table, and what a level means to it.

Two kinds of model, `manifests.stage.Noise`:

* **flow** mixes `x = sigma*noise + (1 - sigma)*clean`. Its table is the shifted uniform one,
  `sigma(t) = a*t / (1 + (a - 1)*t)` for t = k/1000, k = 1..1000, with `a` the shift (Esser et al.
  2024, section 5.3.2), so that sigma runs from 1 (pure noise) to 0 (clean). The model is told
  `1000*sigma`, a float.
* **eps** adds `x = clean + sigma*noise` and predicts the noise. Its table follows from the betas
  that it was trained with, `sigma_k = sqrt((1 - abar_k) / abar_k)` with `abar_k` the product of
  `1 - beta` up to k = 0..999 (Karras et al. 2022, appendix C.3). It is told k, and between two
  levels the k that lies between them in log sigma.

No torch here: the planner shows these numbers. Levels are float64; ComfyUI rounds the same values
to float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from manifests.stage import BETAS, Noise

Levels = NDArray[np.float64]

TABLE_SIZE = 1000
"""Levels of a model's own table."""


@dataclass(frozen=True, slots=True)
class Table:
    """The noise levels that a model was trained at."""

    levels: Levels
    """1000 rising values."""
    timesteps: tuple[float, float]
    """Of the highest and of the lowest level."""
    at: Callable[[Levels], Levels]
    """Levels at timesteps, also between those of the table."""


def table_of(noise: Noise, *, shift: float) -> Table:
    """The table of a kind of model; `shift` bends a flow model's and is 1 for the others."""
    return _flow_table(shift) if noise is Noise.FLOW else _eps_table(noise)


def share_of_noise(sigma: float, noise: Noise) -> float:
    """How much of `x` is noise at level `sigma`, 0 (clean) to 1: one scale for all models.

    flow: sigma itself. eps: `sigma / sqrt(1 + sigma**2)`, the noise's weight in what the model
    is shown.
    """
    return sigma if noise is Noise.FLOW else sigma / math.sqrt(1.0 + sigma * sigma)


def level_words(sigma: float, noise: Noise) -> str:
    """A level as a person reads it: `0.870`, and `1.314 (80 % noise)` where it is no share."""
    if noise is Noise.FLOW:
        return f"{sigma:.3f}"
    return f"{sigma:.3f} ({share_of_noise(sigma, noise):.0%} noise)".replace("%", " %")


def timestep_of(sigma: float, noise: Noise) -> float:
    """The timestep that a model is told at level `sigma` > 0, a float, not rounded.

    NOTE: for eps models ComfyUI rounds it to the nearest whole one; diffusers does not.
    """
    if noise is Noise.FLOW:
        return TABLE_SIZE * sigma
    log_levels = np.log(_eps_table(noise).levels)
    return float(np.interp(math.log(sigma), log_levels, np.arange(TABLE_SIZE)))


def shifted(t: Levels, *, shift: float) -> Levels:
    """sigma(t) of a flow model for t in 0..1: `a*t / (1 + (a-1)*t)`; the identity for shift 1."""
    return shift * t / (1.0 + (shift - 1.0) * t)


def _flow_table(shift: float) -> Table:
    levels = shifted(np.arange(1, TABLE_SIZE + 1) / TABLE_SIZE, shift=shift)
    # NOTE: ComfyUI spaces the model's timesteps, which are shifted already, and shifts them
    # again; the lowest of them therefore comes out about `shift` times larger than the table's.
    ends = (float(levels[-1]), float(levels[0]))
    return Table(levels, ends, lambda t: shifted(t, shift=shift))


@cache
def _eps_table(noise: Noise) -> Table:
    first, last = BETAS
    if noise is Noise.EPS_LINEAR:
        betas = np.linspace(first, last, TABLE_SIZE)
    else:
        betas = np.linspace(math.sqrt(first), math.sqrt(last), TABLE_SIZE) ** 2
    abar = np.cumprod(1.0 - betas)
    levels = np.sqrt((1.0 - abar) / abar)
    levels.setflags(write=False)
    log_levels, k = np.log(levels), np.arange(TABLE_SIZE)
    ends = (float(TABLE_SIZE - 1), 0.0)
    return Table(levels, ends, lambda t: np.exp(np.interp(t, k, log_levels)))
