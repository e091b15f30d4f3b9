"""Noise tables are those of the models and of ComfyUI, and one scale says what a level means."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import examples

from manifests.noise import TABLE_SIZE, level_words, share_of_noise, table_of, timestep_of
from manifests.schedules import sigmas
from manifests.stage import BETAS, Noise, Schedule

EPS = [Noise.EPS, Noise.EPS_LINEAR]
kinds = st.sampled_from(list(Noise))


@given(shift=st.floats(0.5, 20.0))
@settings(deadline=None, max_examples=20)
def test_a_flow_table_rises_to_one(shift: float) -> None:
    """A flow model's levels rise strictly and end with 1 exactly."""
    levels = table_of(Noise.FLOW, shift=shift).levels
    assert len(levels) == TABLE_SIZE
    assert levels[-1] == 1.0
    assert all(levels[1:] > levels[:-1])


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "name"), [(EPS[0], "scaled_linear"), (EPS[1], "linear")])
def test_an_eps_table_is_the_schedulers(noise: Noise, name: str) -> None:
    """Levels and the timesteps between them are diffusers', up to its float32."""
    from diffusers import EulerDiscreteScheduler

    first, last = BETAS
    stock = EulerDiscreteScheduler(beta_start=first, beta_end=last, beta_schedule=name)
    levels = table_of(noise, shift=1.0).levels
    assert levels == pytest.approx(stock.sigmas[:-1].flip(0).numpy(), rel=1e-4)
    between = [20.0, 3.3, 1.0, 0.4, 0.05] if noise is Noise.EPS_LINEAR else [9.0, 1.0, 0.1]
    stock.set_timesteps(sigmas=[*between, 0.0])
    told = [timestep_of(sigma, noise) for sigma in between]
    assert told == pytest.approx(stock.timesteps.tolist()[: len(between)], abs=0.02)


def test_all_eps_tables_of_comfyui(comfyui: Path) -> None:
    """Each of 54 schedules on both tables is ComfyUI's, to 2e-6 of each level."""
    tables = json.loads((comfyui / "eps_sigmas.json").read_text())["tables"]
    assert len(tables) == 54
    for key, expected in tables.items():
        noise, schedule, steps, denoise = key.split("|")
        actual = sigmas(
            schedule=Schedule(schedule),
            steps=int(steps),
            denoise=float(denoise),
            shift=1.0,
            noise=Noise(noise),
        )
        assert actual == pytest.approx(expected, rel=2e-6), key


@given(schedule=st.sampled_from(list(Schedule)), steps=st.integers(1, 120), noise=kinds)
@settings(deadline=None, max_examples=examples(80))
def test_levels_of_every_kind_fall_to_zero(schedule: Schedule, steps: int, noise: Noise) -> None:
    """Levels start inside the table, never rise, and end with 0 exactly."""
    levels = sigmas(schedule=schedule, steps=steps, shift=1.0, noise=noise)
    assert levels[0] <= table_of(noise, shift=1.0).levels[-1] * (1 + 1e-12)
    assert levels[-1] == 0.0
    assert all(high >= low for high, low in pairwise(levels))


@given(noise=kinds, k=st.integers(0, TABLE_SIZE - 1), shift=st.floats(1.0, 12.0))
@settings(deadline=None, max_examples=examples(60))
def test_a_model_is_told_the_timestep_of_its_level(noise: Noise, k: int, shift: float) -> None:
    """At a level of its table an eps model is told the index, a flow model 1000 sigma."""
    sigma = float(table_of(noise, shift=1.0 if noise is not Noise.FLOW else shift).levels[k])
    expected = 1000 * sigma if noise is Noise.FLOW else k
    assert timestep_of(sigma, noise) == pytest.approx(expected, abs=1e-6)


@given(noise=kinds, pair=st.tuples(st.floats(0, 1), st.floats(0, 1)))
@settings(deadline=None, max_examples=examples(60))
def test_more_noise_is_a_greater_share(noise: Noise, pair: tuple[float, float]) -> None:
    """The share of noise rises with the level, from 0 (clean) to at most 1."""
    top = table_of(noise, shift=1.0).levels[-1]
    low, high = sorted(pair)
    shares = [share_of_noise(top * part, noise) for part in (0.0, low, high, 1.0)]
    assert shares[0] == 0.0
    assert shares == sorted(shares)
    assert 0.99 < shares[-1] <= 1.0


def test_published_second_stages_make_sense_on_an_eps_model() -> None:
    """Karras at denoise 0.45 refines a good deal on an eps model, and almost nothing on a flow."""

    def share(noise: Noise, shift: float) -> float:
        level = sigmas(schedule=Schedule.KARRAS, steps=25, denoise=0.45, shift=shift, noise=noise)
        return share_of_noise(level[0], noise)

    assert share(Noise.EPS_LINEAR, 1.0) == pytest.approx(0.796, abs=5e-4)
    assert share(Noise.EPS, 1.0) == pytest.approx(0.675, abs=5e-4)
    assert share(Noise.FLOW, 5.0) == pytest.approx(0.086, abs=5e-4)


def test_tables_cannot_be_changed() -> None:
    """A table is shared by all who ask for it, so nobody can write to it."""
    with pytest.raises(ValueError, match="read-only"):
        np.put(table_of(Noise.EPS, shift=1.0).levels, 0, 1.0)


def test_a_level_is_told_with_its_share() -> None:
    """A flow's sigma is its share; an eps level says what it means."""
    assert level_words(0.87, Noise.FLOW) == "0.870"
    assert level_words(1.314, Noise.EPS_LINEAR) == "1.314 (80 % noise)"
