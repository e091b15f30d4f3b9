"""Laws and examples of the retake policy."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.families import FAMILIES
from manifests.remedy import Remedy, fewer_frames, load_remedies, next_seed, smaller
from manifests.stage import Concession, Recipe, Stage, StageKind
from qc.scorecard import FailureClass
from tasks.retake import Attempt, Hold, Retake, decide, gives_up

RANGES = {"cfg": (1.5, 5.0), "denoise": (0.25, 0.6), "steps": (4.0, 30.0)}


def recipe(*, cfg: float = 3.0, denoise: float = 0.45, stages: int = 2, seed: int = 7) -> Recipe:
    first = Stage(kind=StageKind.RENOISE, steps=12, cfg=cfg, shift=3.0)
    later = [
        replace(first, denoise=denoise, steps=10, seed_offset=index) for index in range(1, stages)
    ]
    return Recipe(
        preset="pocket/two-stage",
        family="pocket",
        model="pocket-wan",
        model_id="sha256:0",
        prompt="pan left",
        negative="",
        width=128,
        height=128,
        frames=17,
        fps=8.0,
        seed=seed,
        stages=(first, *later),
    )


def follow(failures: list[FailureClass], *, max_takes: int = 3, start: Recipe | None = None):
    """Recipes of the takes that are made when take after take fails so."""
    attempts: list[Attempt] = []
    current, remedy = start or recipe(), None
    made = [current]
    for failure in failures:
        attempts.append(Attempt(recipe=current, failure=failure, remedy=remedy))
        step = decide(attempts, remedies=load_remedies(), ranges=RANGES, max_takes=max_takes)
        if isinstance(step, Hold):
            break
        current, remedy = step.recipe, step.remedy.name
        made.append(current)
    return made


failing = st.lists(st.sampled_from(list(FailureClass)), min_size=1, max_size=8)
recipes = st.builds(
    recipe,
    cfg=st.floats(1.0, 12.0),
    denoise=st.floats(0.1, 0.9),
    stages=st.integers(1, 3),
    seed=st.integers(0, 2**63 - 1),
)


@given(failing, recipes, st.integers(1, 5))
@settings(deadline=None, max_examples=80)
def test_takes_are_bounded(failures: list[FailureClass], start: Recipe, most: int) -> None:
    """However takes fail, no shot gets more takes than it may have."""
    assert len(follow(failures, start=start, max_takes=most)) <= most


@given(failing, recipes)
@settings(deadline=None, max_examples=80)
def test_no_recipe_is_rendered_twice(failures: list[FailureClass], start: Recipe) -> None:
    """The policy never goes back to a recipe that was tried: it cannot oscillate."""
    made = [made.fingerprint for made in follow(failures, start=start, max_takes=6)]
    assert len(set(made)) == len(made)


@given(failing, recipes)
@settings(deadline=None, max_examples=80)
def test_values_stay_in_the_preset_s_ranges_or_come_nearer(
    failures: list[FailureClass], start: Recipe
) -> None:
    """A value inside the preset's range stays inside; one outside never moves further out."""
    takes = follow(failures, start=start, max_takes=6)
    for before, after in itertools.pairwise(takes):
        for old, new in zip(before.stages, after.stages, strict=False):
            for name, (least, most) in RANGES.items():
                assert min(least, getattr(old, name)) <= getattr(new, name)
                assert getattr(new, name) <= max(most, getattr(old, name))


def test_the_policy_gives_the_same_answer_to_the_same_history() -> None:
    """A night that was killed and asks again is told the same."""
    attempt = Attempt(recipe=recipe(), failure=FailureClass.FROZEN, remedy=None)
    answers = [
        decide([attempt], remedies=load_remedies(), ranges=RANGES, max_takes=3) for _ in range(2)
    ]
    assert answers[0] == answers[1]


def test_oversaturation_turns_guidance_down_in_every_stage() -> None:
    """CFG falls by a third, toward the preset's range, and the seed stays."""
    _, second = follow([FailureClass.OVERSATURATED], start=recipe(cfg=9.0))
    assert [stage.cfg for stage in second.stages] == [6.003, 6.003]
    assert second.seed == recipe().seed


def test_a_frozen_clip_gets_a_new_seed_first() -> None:
    """Frozen: a new seed, and nothing else is touched."""
    first, second = follow([FailureClass.FROZEN])
    assert second == first.with_seed(next_seed(first.seed, 2))


def test_rule_and_seed_alternate() -> None:
    """Flicker twice: first less denoise, then another seed with what was learned."""
    first, second, third = follow([FailureClass.FLICKER, FailureClass.FLICKER])
    assert second.stages[1].denoise == pytest.approx(0.35)
    assert second.seed == first.seed
    assert third.stages == second.stages
    assert third.seed != second.seed


def test_what_no_recipe_can_mend_is_held_at_once() -> None:
    """A wrong length is held after one take: sampling again gives it again."""
    attempt = Attempt(recipe=recipe(), failure=FailureClass.WRONG_LENGTH, remedy=None)
    step = decide([attempt], remedies=load_remedies(), ranges=RANGES, max_takes=3)
    assert step == Hold(words="wrong length is nothing that another take mends")


def test_the_words_name_every_value_that_changed() -> None:
    """The report can say what was done: class, remedy, values."""
    attempt = Attempt(recipe=recipe(), failure=FailureClass.FLICKER, remedy=None)
    step = decide([attempt], remedies=load_remedies(), ranges=RANGES, max_takes=3)
    assert isinstance(step, Retake)
    assert step.words == (
        "flicker: denoise of the later stages down by 0.10 (stage 2 denoise 0.45 -> 0.35)"
    )


def test_nan_is_rendered_again_with_the_same_seed_in_full_precision() -> None:
    """NaN: first the same seed in float32, then another seed; the words name the precision."""
    start = replace(recipe(), precision="float16", vae_precision="bfloat16")
    _, second, third = follow([FailureClass.NAN, FailureClass.NAN], start=start)
    assert second == replace(start, precision="float32", vae_precision="float32")
    assert third == second.with_seed(next_seed(second.seed, 3))
    attempt = Attempt(recipe=start, failure=FailureClass.NAN, remedy=None)
    step = decide([attempt], remedies=load_remedies(), ranges=RANGES, max_takes=3)
    assert step.words == (
        "nan: the same seed in float32 "
        "(precision float16 -> float32; VAE precision bfloat16 -> float32)"
    )


@pytest.mark.parametrize("failure", [FailureClass.NAN_FRAMES, FailureClass.BLACK])
def test_what_the_decode_broke_is_decoded_in_full_precision_first(failure: FailureClass) -> None:
    """Frames of NaN, or black: first the VAE alone, then everything; where it is float32, on."""
    start = replace(recipe(), precision="bfloat16", vae_precision="bfloat16")
    _, second, third = follow([failure, failure], start=start)
    assert second == replace(start, vae_precision="float32")
    assert third == replace(start, vae_precision="float32", precision="float32")
    half = replace(recipe(), precision="bfloat16")
    assert follow([failure], start=half)[1] == replace(half, precision="float32")
    assert follow([failure])[1] == recipe().with_seed(next_seed(recipe().seed, 2))


def short(failures: int, *conceded: Concession, start: Recipe | None = None) -> list[Recipe]:
    """Takes that follow when `failures` takes ran out of memory."""
    conceding = replace(start or recipe(), concessions=conceded)
    return follow([FailureClass.MEMORY] * failures, start=conceding, max_takes=9)


def test_what_does_not_fit_is_made_smaller_as_far_as_its_recipe_concedes() -> None:
    """Frames, then size, each twice, then the last stage; the seed stays, and then a person."""
    takes = short(9, *Concession)
    assert [(take.frames, take.width, take.height, len(take.stages)) for take in takes] == [
        (17, 128, 128, 2),
        (13, 128, 128, 2),
        (13, 96, 96, 2),
        (5, 96, 96, 2),
        (5, 64, 64, 2),
        (5, 64, 64, 1),
    ]
    assert {take.seed for take in takes} == {recipe().seed}


@pytest.mark.parametrize(
    ("conceded", "last"),
    [
        (Concession.FRAMES, (5, 128, 2)),
        (Concession.SIZE, (17, 64, 2)),
        (Concession.STAGES, (17, 128, 1)),
        (Concession.TILING, (17, 128, 2)),
    ],
)
def test_nothing_is_given_up_that_is_not_conceded(
    conceded: Concession, last: tuple[int, int, int]
) -> None:
    """A preset that concedes frames keeps its size and its stages, and so on."""
    *_, least = short(9, conceded)
    assert (least.frames, least.width, len(least.stages)) == last


def test_without_concessions_memory_is_held_in_words() -> None:
    """Another seed needs the same memory: nothing is tried."""
    attempt = Attempt(recipe=recipe(), failure=FailureClass.MEMORY, remedy=None)
    step = decide([attempt], remedies=load_remedies(), ranges=RANGES, max_takes=3)
    assert step == Hold(words="memory: the recipe concedes nothing more")
    assert not gives_up(recipe(), load_remedies())


def test_the_words_name_what_became_smaller() -> None:
    """The report says from what to what."""
    start = replace(recipe(), concessions=(Concession.FRAMES,), family="wan", frames=81)
    attempt = Attempt(recipe=start, failure=FailureClass.MEMORY, remedy=None)
    step = decide([attempt], remedies=load_remedies(), ranges=RANGES, max_takes=3)
    assert step.words == "memory: a quarter fewer frames (frames 81 -> 61)"


@given(
    st.sampled_from(sorted(FAMILIES)),
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(1, 400),
    st.floats(0.01, 0.99),
)
def test_a_smaller_recipe_is_one_that_its_family_renders(
    name: str, columns: int, rows: int, frames: int, share: float
) -> None:
    """Fewer frames and a smaller size are valid, smaller, and never below the family's least."""
    family = FAMILIES[name]
    sides = [family.snap_size(16 * n, multiple=family.size_multiple) for n in (columns, rows)]
    count = family.snap_frames(min(max(frames, family.min_frames), family.max_frames))
    start = replace(recipe(), family=name, width=sides[0], height=sides[1], frames=count)
    short, small = fewer_frames(start, share), smaller(start, share)
    assert family.min_frames <= short.frames <= count
    assert family.snap_frames(short.frames) == short.frames
    for side, before in zip((small.width, small.height), sides, strict=True):
        assert family.min_size <= side <= before
        assert side % family.size_multiple == 0


def test_a_split_schedule_keeps_its_last_part() -> None:
    """Its last part takes the noise out: without it there is no picture."""
    start = replace(recipe(), concessions=(Concession.STAGES,))
    high = replace(start.stages[0], kind=StageKind.SPLIT, end_step=6, leftover_noise=True)
    low = replace(high, start_step=6, end_step=None, leftover_noise=False, add_noise=False)
    split = replace(start, stages=(high, low))
    assert short(3, Concession.STAGES, start=split) == [split]


def test_every_class_of_failure_has_its_line_in_the_table() -> None:
    """The table of remedies and the classes of failure are the same set."""
    assert set(load_remedies()) == set(FailureClass)


def test_a_distilled_model_keeps_its_guidance() -> None:
    """CFG 1 means no guidance to turn: a remedy leaves it."""
    remedy = Remedy.model_validate({"name": "x", "words": "x", "change": {"cfg": {"add": 0.5}}})
    before = recipe(cfg=1.0)
    assert remedy.apply(before, ranges=RANGES, take=2) == before


def test_dropping_the_last_stage_keeps_at_least_one() -> None:
    """A remedy that drops a stage never leaves a recipe without one."""
    remedy = Remedy(name="x", words="x", drop="last")
    once = remedy.apply(recipe(stages=2), ranges=RANGES, take=2)
    assert len(once.stages) == 1
    assert remedy.apply(once, ranges=RANGES, take=3) == once
