"""Lost latents are seen within a few steps; sane ones never stop a night."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import examples

from manifests.stage import Noise
from render.errors import Diverged, NonFinite
from render.guards import (
    CHECK_EVERY,
    COLLAPSED,
    EXPLODED,
    check_latents,
    implied_spread,
    is_time,
)
from render.sampling import draw_noise

NOISE = draw_noise((1, 4, 3, 8, 8), seed=0)


def _at(sigma: float, noise: Noise, *, clean: float = 1.0) -> torch.Tensor:
    """Latents of clean spread `clean` at a noise level."""
    picture = clean * draw_noise(tuple(NOISE.shape), seed=1)
    return sigma * NOISE + ((1 - sigma) if noise is Noise.FLOW else 1.0) * picture


@given(
    noise=st.sampled_from(list(Noise)),
    share=st.floats(0.0, 1.0),
    clean=st.floats(0.1, 30.0),
    offset=st.floats(-3.0, 3.0),
)
@settings(deadline=None, max_examples=examples(60))
def test_sane_latents_pass_at_every_level(
    noise: Noise, share: float, clean: float, offset: float
) -> None:
    """Pictures flat or wild, of any mean, at any level of either kind of model, are let through."""
    sigma = share if noise is Noise.FLOW else 14.6 * share
    check_latents(_at(sigma, noise, clean=clean) + offset, sigma=sigma, noise=noise, place="here")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("at", [0, 5, -1])
def test_one_broken_value_is_enough(value: float, at: int) -> None:
    """A single NaN or infinity anywhere is found, counted, and called by its name."""
    x = NOISE.clone()
    x.view(-1)[at] = value
    with pytest.raises(NonFinite, match=r"stage 1, step 4 of 9: 1 of 768 latent") as caught:
        check_latents(x, sigma=0.5, noise=Noise.FLOW, place="stage 1, step 4 of 9")
    assert not isinstance(caught.value, Diverged)


@given(noise=st.sampled_from(list(Noise)), share=st.floats(0.0, 1.0), factor=st.floats(1.05, 1e30))
@settings(deadline=None, max_examples=examples(60))
def test_what_left_every_proportion_is_refused(noise: Noise, share: float, factor: float) -> None:
    """Above the upper limit latents exploded, below the lower one they collapsed."""
    sigma = share if noise is Noise.FLOW else 14.6 * share
    unit = implied_spread(sigma, noise) * NOISE / NOISE.std(correction=0)
    with pytest.raises(Diverged, match="exploded"):
        check_latents(unit * EXPLODED * factor, sigma=sigma, noise=noise, place="here")
    with pytest.raises(Diverged, match="collapsed"):
        check_latents(unit * COLLAPSED / factor, sigma=sigma, noise=noise, place="here")


def test_the_implied_spread_is_that_of_the_mixture() -> None:
    """Noise alone at the top of a flow model, the picture alone at the bottom, a sum for eps."""
    assert implied_spread(1.0, Noise.FLOW) == implied_spread(0.0, Noise.FLOW) == 1.0
    assert implied_spread(0.5, Noise.FLOW) == pytest.approx(math.sqrt(0.5))
    for noise, sigma in ((Noise.FLOW, 0.3), (Noise.EPS, 7.0)):
        measured = float(_at(sigma, noise).std())
        assert measured == pytest.approx(implied_spread(sigma, noise), rel=0.1)


@given(st.integers(1, 100))
def test_no_stage_runs_far_unseen(steps: int) -> None:
    """A stage is looked at every few steps and always at its end."""
    looked = [done for done in range(1, steps + 1) if is_time(done, steps)]
    assert looked[-1] == steps
    assert all(b - a <= CHECK_EVERY for a, b in zip([0, *looked], looked, strict=False))
