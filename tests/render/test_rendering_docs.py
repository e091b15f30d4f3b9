"""The figures in docs/rendering.md are the ones the code computes."""

from __future__ import annotations

import re
from pathlib import Path

from manifests.noise import share_of_noise
from manifests.samplers import SAMPLERS
from manifests.schedules import sigmas
from manifests.stage import Noise, Sampler, Schedule

PAGE = (Path(__file__).parents[2] / "docs" / "rendering.md").read_text(encoding="utf-8")


def test_the_table_of_start_levels_is_computed() -> None:
    """Every start sigma in the table is that of its denoise, steps, schedule and shift."""
    rows = re.findall(r"^\| (0\.\d+) \| (\d+) \| (\w+) \| (\S+) \| (\S+) \| (\S+) \|$", PAGE, re.M)
    assert len(rows) == 9
    for denoise, steps, schedule, *written in rows:
        computed = [
            sigmas(
                schedule=Schedule(schedule), steps=int(steps), denoise=float(denoise), shift=shift
            )[0]
            for shift in (3.0, 5.0, 8.0)
        ]
        assert [f"{sigma:.3f}" for sigma in computed] == written


def test_the_table_of_levels_on_eps_models_is_computed() -> None:
    """Start sigma and share of noise are those of karras on AnimateDiff's betas."""
    rows = re.findall(r"^\| (0\.\d+) \| (\d+) \| (\d\.\d+) \| (0\.\d+) \|$", PAGE, re.M)
    assert len(rows) == 4
    for denoise, steps, *written in rows:
        noise = Noise.EPS_LINEAR
        start = sigmas(
            schedule=Schedule.KARRAS,
            steps=int(steps),
            denoise=float(denoise),
            shift=1.0,
            noise=noise,
        )[0]
        assert [f"{start:.3f}", f"{share_of_noise(start, noise):.3f}"] == written


def test_every_schedule_is_named() -> None:
    """A schedule that exists is a schedule that is documented."""
    assert all(f"`{schedule}`" in PAGE for schedule in Schedule)


def test_the_table_of_samplers_is_what_the_planner_knows() -> None:
    """Order, model calls, noise and memory of every sampler are those in the code."""
    rows = re.findall(r"^\| `(\w+)` \| (\d) \| (\d) \| (yes|no) \| ([^|]+) \|", PAGE, re.M)
    written = {
        Sampler(name): (int(order), int(calls), noise == "yes", memory != "nothing")
        for name, order, calls, noise, memory in rows
    }
    assert written == {
        sampler: (facts.order, facts.calls, facts.stochastic, facts.remembers)
        for sampler, facts in SAMPLERS.items()
    }
