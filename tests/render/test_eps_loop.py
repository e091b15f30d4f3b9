"""The stage loop on a model that predicts noise: what a level means at a stage's start and end."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import examples
from torch import Tensor

from manifests.noise import table_of
from manifests.schedules import sigmas
from manifests.stage import Noise, Sampler, Schedule
from render.sampling import Latents, draw_noise, enter_stage
from render.solver import SolverSetup
from render.solvers import SOLVERS

pytestmark = pytest.mark.usefixtures("one_thread")
SHAPE = (1, 4, 2, 4, 4)
EPS = st.sampled_from([Noise.EPS, Noise.EPS_LINEAR])


def _down(x: Tensor, levels: list[float], *, mean: float, sampler: Sampler) -> Tensor:
    """Down the levels with the exact noise predictor of pictures of spread 1 around `mean`."""

    def predicted_noise(x: Tensor, sigma: Tensor) -> Tensor:
        return sigma * (x - mean) / (1 + sigma**2)

    solver = SOLVERS[sampler](SolverSetup(noise=Noise.EPS_LINEAR, seed=5))
    for sigma, sigma_next in pairwise(torch.tensor(levels, dtype=torch.float32)):
        x = solver.step(x, predicted_noise, sigma=sigma, sigma_next=sigma_next)
    return x


@given(kind=EPS, sigma=st.floats(0.05, 10.0))
@settings(deadline=None, max_examples=examples(30))
def test_noise_is_added_to_the_picture(kind: Noise, sigma: float) -> None:
    """A stage that restarts keeps the whole picture and adds noise of its level."""
    picture, noise = draw_noise(SHAPE, seed=1), draw_noise(SHAPE, seed=2)
    x = enter_stage(Latents(x=picture, sigma=0.0), noise=noise, sigma=sigma, shape=SHAPE, kind=kind)
    assert torch.allclose(x, picture + sigma * noise, atol=1e-5)


@pytest.mark.parametrize("kind", [Noise.EPS, Noise.EPS_LINEAR])
def test_a_full_start_has_the_spread_of_noised_pictures(kind: Noise) -> None:
    """At the top of the table the noise is scaled by sqrt(1 + sigma^2), as in ComfyUI."""
    noise = draw_noise(SHAPE, seed=2)
    for schedule in (Schedule.SIMPLE, Schedule.KARRAS, Schedule.BETA):
        top = sigmas(schedule=schedule, steps=12, shift=1.0, noise=kind)[0]
        x = enter_stage(None, noise=noise, sigma=top, shape=SHAPE, kind=kind)
        assert torch.allclose(x, noise * math.sqrt(1 + top**2), rtol=1e-6)
        assert top == pytest.approx(float(table_of(kind, shift=1.0).levels[-1]))


@given(kind=EPS, leftover=st.floats(0.1, 3.0), sigma=st.floats(0.1, 3.0))
@settings(deadline=None, max_examples=examples(30))
def test_leftover_noise_stays_as_it_is(kind: Noise, leftover: float, sigma: float) -> None:
    """Noise that a split hands on is not divided away: x is passed on bit for bit."""
    before = Latents(x=draw_noise(SHAPE, seed=1), sigma=leftover)
    for level in (leftover, sigma):
        x = enter_stage(before, noise=None, sigma=level, shape=SHAPE, kind=kind)
        assert torch.equal(x, before.x)


@pytest.mark.parametrize("sampler", [s for s in Sampler if s is not Sampler.LCM])
def test_the_solvers_serve_a_model_that_predicts_noise(sampler: Sampler) -> None:
    """With the exact noise predictor of a Gaussian, a run ends in that Gaussian.

    Not lcm: it takes the expected picture for the picture, which only distilled models allow.
    """
    levels = sigmas(schedule=Schedule.KARRAS, steps=200, shift=1.0, noise=Noise.EPS_LINEAR)
    shape = (1, 4, 16, 16, 16)
    start = enter_stage(
        None, noise=draw_noise(shape, seed=3), sigma=levels[0], shape=shape, kind=Noise.EPS_LINEAR
    )
    end = _down(start, levels, mean=0.5, sampler=sampler)
    assert float(end.mean()) == pytest.approx(0.5, abs=0.05)
    assert float(end.std()) == pytest.approx(1.0, abs=0.05)
