"""Estimates and the words about a stage's start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.schedules import start_sigma
from manifests.stage import Noise, Recipe, Sampler, Schedule, Stage, StageKind
from render.order import Receipt, Span, StageReceipt
from reports.ledger_times import Rendered
from tasks.estimate import (
    HISTORY,
    Estimate,
    Estimator,
    History,
    card_kind,
    disk_bytes,
    start_words,
    tokens,
)


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


def estimate(of: Recipe, *, ledger: History | None) -> Estimate:
    """Of a take on any card."""
    return Estimator(ledger).of(of)


def test_an_estimate_without_history_says_that_it_is_a_guess() -> None:
    """The plan never shows a guess as if it were measured."""
    assert estimate(recipe(), ledger=None).basis.startswith("guess")


def test_a_take_that_several_cards_rendered_says_nothing_of_the_pace_of_one() -> None:
    """Nor does the time of its load go unheard."""
    made = receipt(recipe(), seconds=1.0, device="cuda:0 Card")
    spans = (Span(kind="meet", begun=0.0, ended=0.2, on_card=True),)

    class Gangs:
        def latest_rendered(self, most: int) -> list[Rendered]:
            together = replace(made, timeline=spans, load_seconds=7.0)
            return [Rendered(recipe=recipe(), receipt=together)]

    estimator = Estimator(Gangs())
    assert estimator.of(recipe()).basis.startswith("guess")
    assert estimator.load_seconds(recipe()) == 7.0


class Past:
    """A ledger of takes that were rendered, each of one stage."""

    def __init__(self, *takes: tuple[Recipe, float, str]) -> None:
        """(recipe, seconds of its stage, card), newest first."""
        self._takes = takes

    def latest_rendered(self, most: int) -> list[Rendered]:
        return [
            Rendered(recipe=each, receipt=receipt(each, seconds=seconds, device=card))
            for each, seconds, card in self._takes[:most]
        ]


def receipt(of: Recipe, *, seconds: float, device: str, resumed: bool = False) -> Receipt:
    """What a worker would have said of it."""
    stage = StageReceipt(
        index=0,
        start_sigma=1.0,
        steps=12,
        seed=1,
        seconds=seconds,
        resumed=resumed,
        latents=Path("l"),
        latents_sha256="",
        latents_std=1.0,
    )
    return Receipt(
        take_id="t",
        recipe_fingerprint=of.fingerprint,
        clip=Path("c"),
        clip_sha256="",
        frames=of.frames,
        width=of.width,
        height=of.height,
        fps=of.fps,
        stages=(stage,),
        seconds=seconds,
        load_seconds=7.0,
        encode_seconds=0.0,
        decode_seconds=0.0,
        peak_memory=0,
        device=device,
    )


H200, L40 = "cuda:0 NVIDIA H200", "cuda:1 NVIDIA L40"


def test_history_wins_over_the_guess() -> None:
    """The median of what a model call took here, times the calls, and a tenth more."""
    found = estimate(
        recipe(), ledger=Past(*((recipe(), seconds, H200) for seconds in (12.0, 24.0, 3600.0)))
    )
    assert found.seconds == pytest.approx(1.1 * 24.0)
    assert found.basis == "history (3 stages)"


def test_history_with_guidance_tells_of_takes_without_it() -> None:
    """What is kept is the time of a model call; a step under guidance asks twice."""
    found = estimate(recipe(cfg=1.0), ledger=Past((recipe(cfg=3.0), 24.0, H200)))
    assert found.seconds == pytest.approx(1.1 * 12.0)


@given(st.lists(st.floats(0.1, 1000), min_size=1, max_size=40))
def test_the_range_holds_the_estimate_and_narrows_with_history(took: list[float]) -> None:
    """Low, expected, high: in this order; ten equal takes leave less open than one."""
    found = estimate(recipe(), ledger=Past(*((recipe(), seconds, H200) for seconds in took)))
    assert 0 < found.low <= found.seconds <= found.high
    once, often = (
        estimate(recipe(), ledger=Past(*[(recipe(), took[0], H200)] * n)) for n in (1, 10)
    )
    assert often.high - often.low < once.high - once.low


def test_a_guess_says_how_wide_it_is() -> None:
    """Before there is history the range is wide, and wider where the card decides."""
    pocket, wan = (estimate(recipe(family=name), ledger=None) for name in ("pocket", "wan"))
    assert pocket.high / pocket.low == pytest.approx(6.0)
    assert wan.high / wan.low == pytest.approx(12.0)


def test_another_size_is_scaled_between_linear_and_square() -> None:
    """Twice the tokens: two to four times as long."""
    past = Past(*[(recipe(width=128), 24.0, H200)] * 30)
    found = estimate(recipe(width=256), ledger=past)
    assert found.basis == "history of another size (30 stages), scaled"
    assert found.low == pytest.approx(2 * 1.1 * 24.0, rel=0.02)
    assert found.high == pytest.approx(4 * 1.1 * 24.0, rel=0.02)
    assert found.low < found.seconds < found.high


def test_a_card_is_told_by_its_own_history() -> None:
    """Seconds are of the card that is asked for; the others' speeds are held against it."""
    past = Past((recipe(), 12.0, H200), (recipe(), 48.0, L40))
    fast = Estimator(past, card=card_kind("NVIDIA H200 #3"))
    assert fast.of(recipe()).seconds == pytest.approx(1.1 * 12.0)
    assert [fast.speed(kind) for kind in ("NVIDIA L40", "NVIDIA H200", "new")] == [0.25, 1.0, 1.0]
    other = Estimator(past, card="new").of(recipe())
    assert other.basis.startswith("history of NVIDIA H200")
    assert other.high / other.low > 16


def test_what_was_resumed_says_nothing_of_its_time() -> None:
    """A stage whose latents came from a checkpoint is left out, whatever its receipt says of the
    rest; loads are remembered."""

    class Resumed:
        def latest_rendered(self, most: int) -> list[Rendered]:
            told = receipt(recipe(), seconds=3.0, device=H200, resumed=True)
            return [Rendered(recipe=recipe(), receipt=told)]

    made = Estimator(Resumed())
    assert made.of(recipe()).basis.startswith("guess")
    assert made.load_seconds(recipe()) == 7.0
    assert Estimator(None).load_seconds(recipe(family="wan")) == 120.0


def test_the_first_stage_is_counted_for_every_candidate() -> None:
    """Three candidates of a take of one stage take three times as long."""
    past = Past((recipe(), 24.0, H200))
    three = estimate(replace(recipe(), candidates=3), ledger=past)
    assert three.seconds == pytest.approx(3 * estimate(recipe(), ledger=past).seconds)


def test_only_the_latest_stages_are_looked_at() -> None:
    """What a card did before a driver or a model got faster is forgotten."""
    latest = [(recipe(), 12.0, H200)] * HISTORY
    found = estimate(recipe(), ledger=Past(*latest, *[(recipe(), 99.0, H200)] * (2 * HISTORY)))
    assert (found.seconds, found.basis) == (
        pytest.approx(1.1 * 12.0),
        f"history ({HISTORY} stages)",
    )


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


def test_the_pace_of_steps_is_told_by_card_and_never_guessed() -> None:
    """Guided steps ask twice; of two stages the slower counts; another size tells nothing."""
    of = recipe()
    past = Past((of, 24.0, "cuda:0 Fast"), (of, 48.0, "cuda:1 Slow"), (of, 24.0, "cuda:1 Fast"))
    estimator = Estimator(past)
    assert estimator.paces(of) == pytest.approx({"Fast": 2.0, "Slow": 4.0})
    plain = replace(of, stages=(*of.stages, replace(of.stages[0], cfg=1.0)))
    assert estimator.paces(plain) == pytest.approx({"Fast": 2.0, "Slow": 4.0})
    unguided = replace(of, stages=(replace(of.stages[0], cfg=1.0),))
    assert estimator.paces(unguided) == pytest.approx({"Fast": 1.0, "Slow": 2.0})
    assert estimator.paces(recipe(width=256)) == {}
    assert Estimator(None).paces(of) == {}
