"""Noise levels are ComfyUI's, fall from 1 to 0, and refuse what cannot be laid out."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import examples

from manifests.schedules import (
    SPACINGS,
    end_sigma,
    sigmas,
    split_sigmas,
    stage_sigmas,
    start_sigma,
)
from manifests.stage import Noise, Sampler, Schedule, Stage, StageKind

schedules = st.sampled_from(list(Schedule))
shifts = st.floats(0.5, 20.0)


def test_all_tables_of_comfyui(comfyui_sigmas: dict[str, Any]) -> None:
    """Each of the 72 tables that ComfyUI computed is met to 1e-6."""
    tables = comfyui_sigmas["tables"]
    assert len(tables) == 72
    for key, expected in tables.items():
        shift, schedule, steps, denoise, _ = key.split("|")
        actual = sigmas(
            schedule=Schedule(schedule),
            steps=int(steps),
            denoise=float(denoise),
            shift=float(shift),
        )
        assert actual == pytest.approx(expected["sigmas"], abs=1e-6, rel=0), key


def test_all_split_windows_of_comfyui(comfyui_sigmas: dict[str, Any]) -> None:
    """Each of the 10 schedules that ComfyUI cut in windows is cut alike, leftover noise too."""
    cuts = comfyui_sigmas["advanced"]
    assert len(cuts) == 10
    for key, windows in cuts.items():
        shift, schedule, steps, _, _ = key.split("|")
        for name, expected in windows.items():
            window = re.fullmatch(r"stage\d start(\d+) end(\d+) leftover=(\w+)", name)
            assert window is not None, name
            actual = split_sigmas(
                schedule=Schedule(schedule),
                steps=int(steps),
                shift=float(shift),
                start_step=int(window[1]),
                end_step=int(window[2]),
                leftover_noise=window[3] == "enable",
            )
            assert actual == pytest.approx(expected, abs=1e-6, rel=0), (key, name)


def test_uni_pc_leaves_out_the_last_level_of_a_longer_schedule(
    comfyui_sigmas: dict[str, Any],
) -> None:
    """uni_pc's levels are those ComfyUI computes for one step more, but the last above 0."""
    whole = [key for key in comfyui_sigmas["tables"] if "|1.0|" in key]
    assert len(whole) == 36
    for key in whole:
        shift, schedule, longer, _, _ = key.split("|")
        *levels, _left_out, zero = comfyui_sigmas["tables"][key]["sigmas"]
        actual = sigmas(
            schedule=Schedule(schedule),
            steps=int(longer) - 1,
            shift=float(shift),
            sampler=Sampler.UNI_PC,
        )
        assert actual == pytest.approx([*levels, zero], abs=1e-6, rel=0), key


@given(
    schedule=st.sampled_from([s for s in Schedule if s not in ("beta", "ddim_uniform")]),
    steps=st.integers(1, 60),
    denoise=st.floats(0.1, 0.99),
    shift=shifts,
)
@settings(deadline=None, max_examples=examples(40))
def test_a_later_stage_of_uni_pc_ends_the_same_schedule(
    schedule: Schedule, steps: int, denoise: float, shift: float
) -> None:
    """With `denoise` uni_pc runs its steps too: the last of a schedule for int(steps/denoise)."""
    given_ = {"schedule": schedule, "shift": shift, "sampler": Sampler.UNI_PC}
    levels = sigmas(**given_, steps=steps, denoise=denoise)
    assert levels == sigmas(**given_, steps=int(steps / denoise))[-(steps + 1) :]
    assert len(levels) == steps + 1


def test_a_split_of_uni_pc_is_cut_from_its_own_schedule() -> None:
    """The windows of uni_pc join to uni_pc's schedule, not to another sampler's."""
    common = {"schedule": Schedule.SIMPLE, "steps": 8, "shift": 5.0, "sampler": Sampler.UNI_PC}
    first = split_sigmas(**common, end_step=3, leftover_noise=True)
    assert first[:-1] + split_sigmas(**common, start_step=3) == sigmas(**common)


@pytest.mark.parametrize(
    ("shift", "denoise", "steps", "schedule", "expected"),
    [
        (8, 0.45, 25, "simple", 0.870),
        (5, 0.45, 25, "simple", 0.807),
        (3, 0.45, 25, "simple", 0.715),
        (8, 0.45, 25, "beta", 0.862),
        (5, 0.45, 25, "karras", 0.086),
        (8, 0.30, 28, "simple", 0.776),
        (3, 0.30, 28, "simple", 0.565),
    ],
)
def test_start_sigma_of_known_recipes(
    shift: float, denoise: float, steps: int, schedule: str, expected: float
) -> None:
    """The level at which published second stages restart, as the documentation's table says."""
    stage = Stage(
        kind=StageKind.RENOISE,
        steps=steps,
        cfg=1.0,
        shift=shift,
        denoise=denoise,
        schedule=Schedule(schedule),
    )
    assert start_sigma(stage) == pytest.approx(expected, abs=6e-4)
    assert end_sigma(stage) == 0.0


def test_every_schedule_has_a_spacing() -> None:
    """No schedule can be named that cannot be laid out."""
    assert set(SPACINGS) == set(Schedule)


@given(schedule=schedules, steps=st.integers(1, 120), shift=shifts)
@settings(deadline=None, max_examples=examples(80))
def test_levels_fall_from_at_most_one_to_zero(schedule: Schedule, steps: int, shift: float) -> None:
    """Levels stay in 0..1, never rise, and end with 0 exactly."""
    levels = sigmas(schedule=schedule, steps=steps, shift=shift)
    assert levels[0] <= 1.0
    assert levels[-1] == 0.0
    assert all(high >= low for high, low in pairwise(levels))


@given(
    schedule=st.sampled_from([s for s in Schedule if s not in ("beta", "ddim_uniform")]),
    steps=st.integers(1, 60),
    denoise=st.floats(0.1, 1.0),
    shift=shifts,
)
@settings(deadline=None, max_examples=examples(80))
def test_a_renoise_stage_runs_its_steps(
    schedule: Schedule, steps: int, denoise: float, shift: float
) -> None:
    """However small the denoise, a stage runs exactly the steps it names."""
    levels = sigmas(schedule=schedule, steps=steps, denoise=denoise, shift=shift)
    assert len(levels) == steps + 1


@given(schedule=schedules, steps=st.integers(2, 60), shift=shifts, data=st.data())
@settings(deadline=None, max_examples=examples(60))
def test_windows_join_to_the_whole(
    schedule: Schedule, steps: int, shift: float, data: st.DataObject
) -> None:
    """A schedule cut anywhere, leftover noise handed on, is the schedule."""
    whole = sigmas(schedule=schedule, steps=steps, shift=shift)
    cut = data.draw(st.integers(1, max(1, len(whole) - 2)))
    first = split_sigmas(
        schedule=schedule, steps=steps, shift=shift, end_step=cut, leftover_noise=True
    )
    if cut < len(whole) - 1:
        rest = split_sigmas(schedule=schedule, steps=steps, shift=shift, start_step=cut)
        assert first[:-1] + rest == whole


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"steps": 1001}, "1..1000"),
        ({"denoise": 0.0}, "denoise is 0"),
        ({"denoise": 1.5}, "denoise is 1.5"),
        ({"denoise": float("nan")}, "denoise is nan"),
        ({"shift": 0.0}, "shift is 0"),
        ({"shift": float("inf")}, "shift is inf"),
        ({"steps": 100, "denoise": 0.05}, "lays out 2000 steps"),
        ({"noise": Noise.EPS}, "a model that predicts noise has none"),
    ],
)
def test_what_cannot_be_laid_out_is_refused(values: dict[str, Any], said: str) -> None:
    """A value out of range is named, with what is allowed."""
    with pytest.raises(ValueError, match=re.escape(said)):
        sigmas(**{"schedule": Schedule.SIMPLE, "steps": 20, "shift": 5.0, **values})


@pytest.mark.parametrize("window", [(5, 5), (6, 3), (20, None), (-1, 4)])
def test_an_empty_window_is_refused(window: tuple[int, int | None]) -> None:
    """A split stage without a step is an error, not a stage that does nothing."""
    stage = Stage(
        kind=StageKind.SPLIT,
        steps=20,
        cfg=1.0,
        shift=5.0,
        start_step=window[0],
        end_step=window[1],
    )
    with pytest.raises(ValueError, match="holds no step"):
        stage_sigmas(stage)


@pytest.mark.slow
def test_schedules_need_no_torch() -> None:
    """The planner shows noise levels without loading torch."""
    code = "import sys, manifests.schedules; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
