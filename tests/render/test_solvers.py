"""Solvers are exact where theory says so, and a history carries them over a break."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.samplers import SAMPLERS
from manifests.schedules import middle_sigma, sigmas
from manifests.stage import Noise, Sampler, Schedule
from render.solver import FreshNoise, Solver, SolverSetup, Velocity, alpha
from render.solver_ode import DPMpp2M, Euler
from render.solvers import SOLVERS

SETUP = SolverSetup(shift=5.0, seed=3)
STOCHASTIC = [sampler for sampler in Sampler if SAMPLERS[sampler].stochastic]

# Levels of a schedule lie a thousandth apart or more; nearer ones differ by rounding alone.
levels = st.lists(st.integers(10, 990), min_size=1, max_size=8, unique=True).map(
    lambda inner: torch.tensor([1.0, *(level / 1000 for level in sorted(inner, reverse=True)), 0.0])
)


def _solve(solver: Solver, x: torch.Tensor, s: torch.Tensor, velocity: Velocity) -> torch.Tensor:
    for sigma, sigma_next in pairwise(s):
        x = solver.step(x, velocity, sigma=sigma, sigma_next=sigma_next)
    return x


def _towards(clean: torch.Tensor) -> Velocity:
    """A model that always means the same clean picture."""
    return lambda x, sigma: (x - clean) / sigma


def test_every_sampler_has_a_solver() -> None:
    """No sampler can be named that cannot be run."""
    assert set(SOLVERS) == set(SAMPLERS) == set(Sampler)


@pytest.mark.parametrize("sampler", list(Sampler))
@given(s=levels, seed=st.integers(0, 9))
@settings(deadline=None, max_examples=25)
def test_a_straight_path_is_followed_exactly(sampler: Sampler, s: torch.Tensor, seed: int) -> None:
    """A model that always means the same clean picture is solved exactly on any levels."""
    generator = torch.Generator().manual_seed(seed)
    noise, clean = torch.randn(2, 3, 4, generator=generator)
    x = _solve(SOLVERS[sampler](SETUP), noise, s, _towards(clean))
    torch.testing.assert_close(x, clean, atol=1e-5, rtol=0)


@pytest.mark.parametrize("sampler", list(Sampler))
def test_a_level_that_repeats_is_no_step(sampler: Sampler) -> None:
    """Many steps on a small shift repeat levels; the result is that of the levels once each."""
    noise, clean = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1))
    once, twice = torch.tensor([1.0, 0.9, 0.4, 0.0]), torch.tensor([1.0, 0.9, 0.9, 0.4, 0.0])
    ends = [_solve(SOLVERS[sampler](SETUP), noise, s, _towards(clean)) for s in (once, twice)]
    assert torch.equal(*ends)


@given(s=levels, speed=st.floats(-2.0, 2.0))
@settings(deadline=None, max_examples=25)
def test_euler_is_exact_on_a_constant_velocity(s: torch.Tensor, speed: float) -> None:
    """Where the velocity is constant, the steps add up to minus that velocity."""
    start = torch.full((3,), 0.5)
    end = _solve(Euler(), start, s, lambda x, sigma: torch.full_like(x, speed))
    torch.testing.assert_close(end, start - speed, atol=1e-5, rtol=0)


@pytest.mark.parametrize("noise", list(Noise))
@pytest.mark.parametrize("sampler", list(Sampler))
def test_the_noise_left_is_what_the_level_says(sampler: Sampler, noise: Noise) -> None:
    """Down to any level the latents are alpha*clean + sigma*(noise of unit spread), uncorrelated.

    So a stochastic solver takes out as much noise as it adds, on either kind of model.
    """
    top = 1.0 if noise is Noise.FLOW else 14.6
    s = top * torch.tensor([1.0, 0.8, 0.5, 0.3])
    start = torch.randn(40_000, generator=torch.Generator().manual_seed(5))
    clean = 0.7
    x = alpha(s[0], noise) * clean + s[0] * start
    solver = SOLVERS[sampler](SolverSetup(noise=noise, shift=5.0, seed=5))
    x = _solve(solver, x, s, _towards(torch.tensor(clean)))
    left = (x - alpha(s[-1], noise) * clean) / s[-1]
    assert float(left.mean()) == pytest.approx(0.0, abs=0.02)
    assert float(left.std()) == pytest.approx(1.0, abs=0.015)


@pytest.mark.parametrize(
    ("sampler", "falls"), [(Sampler.EULER, 2.0), (Sampler.DPMPP_2M, 4.0), (Sampler.UNI_PC, 8.0)]
)
def test_the_error_falls_with_the_order(sampler: Sampler, falls: float) -> None:
    """Twice the steps halve Euler's error and quarter that of DPM++ 2M; UniPC's corrector is
    worth one order more than its predictor."""
    assert falls == 2.0 ** (SAMPLERS[sampler].order + (sampler is Sampler.UNI_PC))

    # x0(sigma) = sigma**2 makes dx/dsigma = (x - sigma**2)/sigma, solved by c*sigma - sigma**2.
    def error(steps: int) -> float:
        s = 0.9 * torch.logspace(0, -1, steps + 1, dtype=torch.float64)
        start = 3.0 * s[:1] - s[:1] ** 2
        end = _solve(SOLVERS[sampler](SETUP), start, s, lambda x, sigma: (x - sigma**2) / sigma)
        return float((end - (3.0 * s[-1] - s[-1] ** 2)).abs())

    assert error(40) / error(80) == pytest.approx(falls, rel=0.15)


@pytest.mark.parametrize("sampler", list(Sampler))
@pytest.mark.parametrize("cut", [1, 4, 7])
def test_a_history_carries_over_a_break(sampler: Sampler, cut: int) -> None:
    """A run that is cut and goes on from its state is the uncut run, bit for bit."""
    s = torch.tensor(sigmas(schedule=Schedule.BETA, steps=8, shift=5.0))
    noise = torch.randn(5, generator=torch.Generator().manual_seed(0))

    def velocity(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return torch.sin(3 * x) + sigma * x

    first, second = SOLVERS[sampler](SETUP), SOLVERS[sampler](SETUP)
    x = _solve(first, noise, s[: cut + 1], velocity)
    second.load_state(first.state())
    assert torch.equal(
        _solve(second, x, s[cut:], velocity), _solve(SOLVERS[sampler](SETUP), noise, s, velocity)
    )


def test_dpmpp_2m_without_its_history_differs() -> None:
    """The history matters: without it the second part is another result."""
    s = torch.tensor(sigmas(schedule=Schedule.SIMPLE, steps=8, shift=5.0))
    noise = torch.randn(5, generator=torch.Generator().manual_seed(0))
    half = _solve(DPMpp2M(), noise, s[:5], lambda x, sigma: torch.sin(3 * x))
    cut = _solve(DPMpp2M(), half, s[4:], lambda x, sigma: torch.sin(3 * x))
    whole = _solve(DPMpp2M(), noise, s, lambda x, sigma: torch.sin(3 * x))
    assert not torch.equal(cut, whole)


def test_a_foreign_history_is_refused() -> None:
    """A solver does not go on from what another one remembers."""
    with pytest.raises(ValueError, match="remembers nothing"):
        Euler().load_state({"x0": torch.zeros(1)})
    for sampler in set(Sampler) - {Sampler.EULER}:
        with pytest.raises(ValueError, match=r"remembers .*, got \['older'\]"):
            SOLVERS[sampler](SETUP).load_state({"older": torch.zeros(1)})


@pytest.mark.parametrize("sampler", list(Sampler))
def test_who_remembers_says_so(sampler: Sampler) -> None:
    """After a step, a solver holds a history exactly where the planner's facts say so."""
    solver = SOLVERS[sampler](SETUP)
    _solve(solver, torch.ones(3), torch.tensor([1.0, 0.5]), lambda x, sigma: x)
    assert bool(solver.state()) == SAMPLERS[sampler].remembers


@pytest.mark.parametrize("sampler", list(Sampler))
def test_only_a_stochastic_solver_depends_on_the_seed(sampler: Sampler) -> None:
    """The seed of a solver's noise changes what a stochastic one makes, and nothing else."""
    s = torch.tensor([1.0, 0.6, 0.3])
    ends = [
        _solve(SOLVERS[sampler](SolverSetup(seed=seed)), torch.ones(8), s, lambda x, sigma: x)
        for seed in (1, 1, 2)
    ]
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[0], ends[2]) == (sampler not in STOCHASTIC)


@given(seed=st.integers(0, 2**63 - 1), drawn=st.integers(0, 3))
@settings(deadline=None, max_examples=25)
def test_each_draw_is_new_and_can_be_taken_up(seed: int, drawn: int) -> None:
    """No draw is the noise a stage starts from, nor another draw; a state goes on behind it."""
    noise, like = FreshNoise(seed), torch.zeros(64)
    start = torch.randn(64, generator=torch.Generator().manual_seed(seed))
    draws = [noise.draw(like) for _ in range(drawn)]
    taken_up = FreshNoise(0)
    taken_up.load_state(noise.state())
    last = noise.draw(like)
    assert torch.equal(taken_up.draw(like), last)
    assert not any(torch.equal(last, other) for other in (start, *draws))


def test_stochastic_solvers_are_comfyuis_but_for_the_noise(comfyui: Path) -> None:
    """Given our noise, ComfyUI's formulas end where ours do: 36 runs, both kinds of model.

    Six digits of the ends are kept; the order of float32 sums alone differs.
    """
    ends = json.loads((comfyui / "stochastic.json").read_text(encoding="utf-8"))["ends"]
    assert len(ends) == 36
    for key, expected in ends.items():
        noise, shift, schedule, denoise, sampler = key.split("|")
        levels = sigmas(
            schedule=Schedule(schedule),
            steps=8,
            denoise=float(denoise),
            shift=float(shift),
            noise=Noise(noise),
        )
        s = torch.tensor(levels)
        start = torch.linspace(-2, 2, 6) * (1 if noise == "flow" else s[0])
        setup = SolverSetup(noise=Noise(noise), shift=float(shift), seed=7)
        x = _solve(
            SOLVERS[Sampler(sampler)](setup),
            start,
            s,
            lambda x, sigma: (x - torch.tanh(2 * x / (1 + sigma))) / sigma,
        )
        assert x.tolist() == pytest.approx(expected, abs=2e-6), key


def test_both_noises_of_a_dpmpp_sde_step_are_one_path() -> None:
    """The noise at the middle of a step is part of the noise at its end, as on a Brownian path."""
    asked: list[torch.Tensor] = []

    def silent(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        asked.append(x)
        return x / sigma  # always means the picture 0: what is left of x is noise alone

    start = torch.zeros(40_000)
    s = torch.tensor([0.9, 0.3])
    end = _solve(SOLVERS[Sampler.DPMPP_SDE](SETUP), start, s, silent)
    middle = middle_sigma(0.9, 0.3, shift=5.0, noise=Noise.FLOW)
    expected = math.sqrt((0.9 - middle) / (0.9 - 0.3))
    actual = float(torch.corrcoef(torch.stack([asked[1], end]))[0, 1])
    assert actual == pytest.approx(expected, abs=0.02)
