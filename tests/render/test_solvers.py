"""Solvers are exact where theory says so, and a history carries them over a break."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.stage import Sampler, Schedule
from render.schedules import sigmas
from render.solvers import SOLVERS, DPMpp2M, Euler, Solver

# Levels of a schedule lie a thousandth apart or more; nearer ones differ by rounding alone.
levels = st.lists(st.integers(10, 990), min_size=1, max_size=8, unique=True).map(
    lambda inner: torch.tensor([1.0, *(level / 1000 for level in sorted(inner, reverse=True)), 0.0])
)


def _solve(solver: Solver, x: torch.Tensor, s: torch.Tensor, velocity: object) -> torch.Tensor:
    assert callable(velocity)
    for sigma, sigma_next in pairwise(s):
        x = solver.step(x, velocity(x, sigma), sigma=sigma, sigma_next=sigma_next)
    return x


def test_every_sampler_has_a_solver() -> None:
    """No sampler can be named that cannot be run."""
    assert set(SOLVERS) == set(Sampler)


@pytest.mark.parametrize("sampler", list(Sampler))
@given(s=levels, seed=st.integers(0, 9))
@settings(deadline=None, max_examples=25)
def test_a_straight_path_is_followed_exactly(sampler: Sampler, s: torch.Tensor, seed: int) -> None:
    """A model that always means the same clean picture is solved exactly on any levels."""
    generator = torch.Generator().manual_seed(seed)
    noise, clean = torch.randn(2, 3, 4, generator=generator)
    x = _solve(SOLVERS[sampler].make(), noise, s, lambda x, sigma: (x - clean) / sigma)
    torch.testing.assert_close(x, clean, atol=1e-5, rtol=0)


@pytest.mark.parametrize("sampler", list(Sampler))
def test_a_level_that_repeats_is_no_step(sampler: Sampler) -> None:
    """Many steps on a small shift repeat levels; the result is that of the levels once each."""
    noise, clean = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1))
    once, twice = torch.tensor([1.0, 0.9, 0.4, 0.0]), torch.tensor([1.0, 0.9, 0.9, 0.4, 0.0])
    ends = [
        _solve(SOLVERS[sampler].make(), noise, s, lambda x, sigma: (x - clean) / sigma)
        for s in (once, twice)
    ]
    assert torch.equal(*ends)


@given(s=levels, speed=st.floats(-2.0, 2.0))
@settings(deadline=None, max_examples=25)
def test_euler_is_exact_on_a_constant_velocity(s: torch.Tensor, speed: float) -> None:
    """Where the velocity is constant, the steps add up to minus that velocity."""
    start = torch.full((3,), 0.5)
    end = _solve(Euler(), start, s, lambda x, sigma: torch.full_like(x, speed))
    torch.testing.assert_close(end, start - speed, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("sampler", "order"), [(Sampler.EULER, 1), (Sampler.DPMPP_2M, 2)])
def test_the_error_falls_with_the_order(sampler: Sampler, order: int) -> None:
    """Twice the steps halve Euler's error and quarter that of DPM++ 2M, as described."""
    assert SOLVERS[sampler].order == order

    # x0(sigma) = sigma**2 makes dx/dsigma = (x - sigma**2)/sigma, solved by c*sigma - sigma**2.
    def error(steps: int) -> float:
        s = torch.logspace(0, -1, steps + 1, dtype=torch.float64)
        start = torch.tensor([2.0], dtype=torch.float64)
        end = _solve(SOLVERS[sampler].make(), start, s, lambda x, sigma: (x - sigma**2) / sigma)
        return float((end - (3.0 * s[-1] - s[-1] ** 2)).abs())

    assert error(40) / error(80) == pytest.approx(2**order, rel=0.15)


@pytest.mark.parametrize("sampler", list(Sampler))
@pytest.mark.parametrize("cut", [1, 4, 7])
def test_a_history_carries_over_a_break(sampler: Sampler, cut: int) -> None:
    """A run that is cut and goes on from its state is the uncut run, bit for bit."""
    s = torch.tensor(sigmas(schedule=Schedule.BETA, steps=8, shift=5.0))
    noise = torch.randn(5, generator=torch.Generator().manual_seed(0))

    def velocity(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return torch.sin(3 * x) + sigma * x

    first, second = SOLVERS[sampler].make(), SOLVERS[sampler].make()
    x = _solve(first, noise, s[: cut + 1], velocity)
    second.load_state(first.state())
    assert torch.equal(
        _solve(second, x, s[cut:], velocity), _solve(SOLVERS[sampler].make(), noise, s, velocity)
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
    with pytest.raises(ValueError, match="x0 and sigma"):
        DPMpp2M().load_state({"older": torch.zeros(1)})
