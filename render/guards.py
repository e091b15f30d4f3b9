"""Looks at the latents while they are sampled: a night must not spend hours on a lost take.

One reduction tells all: the spread (standard deviation) of the latents is NaN or infinite where
any value is, far above what the noise level implies where they explode, and near 0 where they
collapse. A sane model stays near what the level implies all the way.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from manifests.stage import Noise
from render.errors import Diverged, NonFinite

CHECK_EVERY = 4
"""Steps between two looks: a look makes the card wait, a lost night costs more."""
EXPLODED = 100.0
"""Times the spread that the noise level implies."""
COLLAPSED = 0.02
"""Times the same."""


def is_time(done: int, steps: int) -> bool:
    """Whether to look behind step `done` (1-based) of a stage of `steps`: and always at its end."""
    return done % CHECK_EVERY == 0 or done == steps


def implied_spread(sigma: float, noise: Noise) -> float:
    """Standard deviation at level `sigma` of noise mixed with clean latents of spread 1."""
    clean = 1.0 - sigma if noise is Noise.FLOW else 1.0
    return math.hypot(sigma, clean)


def check_latents(x: Tensor, *, sigma: float, noise: Noise, place: str) -> None:
    """Raise, naming `place`, if `x` at level `sigma` cannot become a picture any more.

    Raises:
        NonFinite: values of `x` are NaN or infinite.
        Diverged: its spread is out of all proportion to the noise level.
    """
    # NOTE: correction 0, since the spread of one single value would be NaN else.
    spread = float(x.std(correction=0))
    implied = implied_spread(sigma, noise)
    if math.isfinite(spread) and COLLAPSED * implied <= spread <= EXPLODED * implied:
        return
    if bad := int((~torch.isfinite(x)).sum()):
        raise NonFinite(
            f"{place}: {bad} of {x.numel()} latent values are NaN or infinite; "
            "render it in a higher precision, then with a new seed"
        )
    what = "collapsed" if spread < implied else "exploded"
    raise Diverged(
        f"{place}: the latents {what}: their spread is {spread:.3g}, where noise level "
        f"{sigma:.3g} means {implied:.3g}; render it in a higher precision, then with a new seed"
    )
