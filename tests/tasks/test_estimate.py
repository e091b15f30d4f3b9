"""Estimates and the words about a stage's start."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.schedules import start_sigma
from manifests.stage import Noise, Recipe, Sampler, Schedule, Stage, StageKind
from tasks.estimate import disk_bytes, estimate, start_words, tokens


def recipe(
    *, width: int = 128, frames: int = 17, family: str = "pocket", **stage: object
) -> Recipe:
    first = Stage(kind=StageKind.RENOISE, steps=12, cfg=3.0, shift=3.0)
    return Recipe(
        preset="p",
        family=family,
        model="m",
        model_id="id",
        prompt="",
        negative="",
        width=width,
        height=128,
        frames=frames,
        fps=8,
        seed=1,
        stages=(replace(first, **stage),),
    )


def test_an_estimate_without_history_says_that_it_is_a_guess() -> None:
    """The plan never shows a guess as if it were measured."""
    assert estimate(recipe(), ledger=None).basis.startswith("guess")


def test_history_wins_over_the_guess() -> None:
    """The median of what steps took here, times the steps, and a tenth more."""

    class History:
        def step_seconds(self, **_: object) -> list[float]:
            return [1.0, 2.0, 300.0]

    found = estimate(recipe(), ledger=History())  # type: ignore[arg-type]
    assert found.seconds == pytest.approx(1.1 * 12 * 2.0)
    assert found.basis == "history (3 stages)"


@given(st.integers(4, 60), st.integers(4, 60))
def test_more_steps_never_take_less_time(few: int, more: int) -> None:
    """Estimates rise with the steps."""
    few, more = sorted((few, more))
    assert (
        estimate(recipe(steps=few), ledger=None).seconds
        <= estimate(recipe(steps=more), ledger=None).seconds
    )


def test_guidance_doubles_the_forwards() -> None:
    """CFG 1 skips the unconditional call: half the time."""
    guided = estimate(recipe(cfg=3.0), ledger=None).seconds
    assert guided == pytest.approx(2 * estimate(recipe(cfg=1.0), ledger=None).seconds)


def test_the_guess_counts_how_often_the_model_is_asked() -> None:
    """dpmpp_sde asks twice a step but once in the last; outside its interval guidance is free."""
    plain = estimate(recipe(cfg=1.0), ledger=None).seconds
    twice = estimate(recipe(cfg=1.0, sampler=Sampler.DPMPP_SDE), ledger=None).seconds
    assert twice == pytest.approx(plain * 23 / 12)
    never = estimate(recipe(cfg=3.0, cfg_interval=(0.0, 0.01)), ledger=None).seconds
    assert never == pytest.approx(plain)


def test_tokens_count_patches_of_latent_frames() -> None:
    """81 frames of 832x480 are 21 x 52 x 30 tokens."""
    wan = replace(recipe(frames=81, width=832), height=480)
    assert tokens(wan) == 21 * 52 * 30


def test_disk_is_at_least_the_raw_clip() -> None:
    """What a take may write is never estimated below its 16-bit frames."""
    assert disk_bytes(recipe()) >= 6 * 128 * 128 * 17


def test_karras_on_a_flow_model_is_warned_about() -> None:
    """Denoise 0.45 with karras restarts at 0.10 on shift 8 and refines nothing."""
    stage = Stage(
        kind=StageKind.RENOISE,
        steps=25,
        cfg=3.5,
        shift=8.0,
        denoise=0.45,
        schedule=Schedule.KARRAS,
    )
    words = start_words(stage, 1, start_sigma(stage))
    assert words is not None
    assert "sigma 0.103: it refines almost nothing" in words
    simple = replace(stage, schedule=Schedule.SIMPLE)
    assert start_words(simple, 1, start_sigma(simple)) is None


@pytest.mark.parametrize(
    ("denoise", "words"),
    [
        (0.10, "restarts at sigma 0.081 (8 % noise): it refines almost nothing"),
        (0.30, None),
        (0.45, None),
        (0.55, None),
        (0.75, "(99 % noise): it throws away what the stages before it made"),
    ],
)
def test_karras_on_an_eps_model_is_held_against_its_share_of_noise(
    denoise: float, words: str | None
) -> None:
    """Published denoise values are sensible there, though their sigmas are above 1."""
    stage = Stage(
        kind=StageKind.RENOISE,
        steps=25,
        cfg=7.5,
        shift=1.0,
        denoise=denoise,
        schedule=Schedule.KARRAS,
        noise=Noise.EPS_LINEAR,
    )
    said = start_words(stage, 1, start_sigma(stage))
    assert (said is None) == (words is None)
    assert words is None or (said is not None and words in said)


def test_animatediff_is_guessed_from_its_arithmetic() -> None:
    """16 frames of 512x512 ask for 17.7 TFLOP a call: 0.059 s at 300 TFLOP a second."""
    clip = replace(
        recipe(width=512, frames=16, family="animatediff", steps=20, cfg=7.5), height=512
    )
    found = estimate(clip, ledger=None)
    assert found.basis.startswith("guess (arithmetic")
    assert found.seconds == pytest.approx(1.1 * 40 * 17.7 / 300, rel=0.01)


def test_ltx2_is_guessed_from_its_arithmetic() -> None:
    """121 frames of 768x512 are 6,144 tokens and 199 TFLOP a call, two calls a guided step."""
    clip = replace(recipe(width=768, frames=121, family="ltx2", steps=30, cfg=4.0), height=512)
    found = estimate(clip, ledger=None)
    assert found.basis.startswith("guess (arithmetic")
    assert found.seconds == pytest.approx(1.1 * 60 * 199 / 300, rel=0.01)
