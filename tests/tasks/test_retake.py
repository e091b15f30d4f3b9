"""Laws and examples of the retake policy."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import examples
from two_stage_recipe import RANGES, recipe

from manifests.families import FAMILIES
from manifests.remedy import Remedy, fewer_frames, load_remedies, next_seed, smaller
from manifests.stage import Concession, Recipe, StageKind
from qc.scorecard import FailureClass
from tasks.retake import DIALS, Attempt, Hold, Retake, decide, gives_up
from tasks.retake_purse import Purse


def follow(
    failures: list[FailureClass],
    *,
    max_takes: int = 3,
    start: Recipe | None = None,
    asked: Recipe | None = None,
) -> list[Recipe]:
    """Recipes of the takes that are made when take after take fails so."""
    attempts: list[Attempt] = []
    current, remedies = start or recipe(), ()
    made = [current]
    for failure in failures:
        attempts.append(Attempt(recipe=current, failure=failure, remedies=remedies))
        step = decide(
            attempts, remedies=load_remedies(), ranges=RANGES, max_takes=max_takes, asked=asked
        )
        if isinstance(step, Hold):
            break
        current, remedies = step.recipe, (step.remedy.name,)
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
@settings(deadline=None, max_examples=examples(80))
def test_takes_are_bounded(failures: list[FailureClass], start: Recipe, most: int) -> None:
    """However takes fail, no shot gets more takes than it may have."""
    assert len(follow(failures, start=start, max_takes=most)) <= most


@given(failing, recipes)
@settings(deadline=None, max_examples=examples(80))
def test_no_recipe_is_rendered_twice(failures: list[FailureClass], start: Recipe) -> None:
    """The policy never goes back to a recipe that was tried: it cannot oscillate."""
    made = [made.fingerprint for made in follow(failures, start=start, max_takes=6)]
    assert len(set(made)) == len(made)


@given(failing, recipes)
@settings(deadline=None, max_examples=examples(80))
def test_what_is_turned_ends_in_the_preset_s_range(
    failures: list[FailureClass], start: Recipe
) -> None:
    """A value is kept, or what it becomes is in the preset's range, wherever it was before."""
    takes = follow(failures, start=start, max_takes=6)
    for before, after in itertools.pairwise(takes):
        for old, new in zip(before.stages, after.stages, strict=False):
            for name, (least, most) in RANGES.items():
                kept = getattr(new, name) == getattr(old, name)
                assert kept or least <= getattr(new, name) <= most


def test_the_policy_gives_the_same_answer_to_the_same_history() -> None:
    """A night that was killed and asks again is told the same."""
    attempt = Attempt(recipe=recipe(), failure=FailureClass.FROZEN)
    answers = [
        decide([attempt], remedies=load_remedies(), ranges=RANGES, max_takes=3) for _ in range(2)
    ]
    assert answers[0] == answers[1]


@given(failing, recipes, recipes)
@settings(deadline=None, max_examples=examples(80))
def test_no_dial_is_ever_turned_back(
    failures: list[FailureClass], start: Recipe, asked: Recipe
) -> None:
    """A dial that went down on a shot never goes up again, whatever fails next; what was changed
    between the sheet and the first take counts too."""
    takes = [asked, *follow(failures, start=start, max_takes=8, asked=asked)]
    for earlier, later in itertools.combinations(itertools.pairwise(takes), 2):
        for index in range(min(len(take.stages) for take in (*earlier, *later))):
            for name in DIALS:
                first, second = (
                    getattr(after.stages[index], name) - getattr(before.stages[index], name)
                    for before, after in (earlier, later)
                )
                assert first * second >= 0


@given(st.sampled_from(list(FailureClass)), recipes, st.integers(0, 2))
@settings(deadline=None, max_examples=examples(80))
def test_the_stages_before_a_blamed_one_keep_their_dials(
    failure: FailureClass, start: Recipe, blamed: int
) -> None:
    """Every stage before the blamed one keeps its dials; a retake with the seed kept so starts
    from the last good stage."""
    if blamed >= len(start.stages):
        return
    attempt = Attempt(recipe=start, failure=failure)
    step = decide([attempt], remedies=load_remedies(), ranges=RANGES, max_takes=3, blamed=blamed)
    if isinstance(step, Hold) or len(start.stages) == 1:
        return
    changed = [
        index
        for index, (old, new) in enumerate(zip(start.stages, step.recipe.stages, strict=False))
        if any(getattr(old, name) != getattr(new, name) for name in DIALS)
    ]
    assert all(index >= blamed for index in changed)
    assert not changed or changed[0] == blamed


@pytest.mark.parametrize(
    ("blamed", "words"),
    [
        (
            None,
            "CFG down by a third in every stage (stage 1 cfg 3 -> 2.001; stage 2 cfg 3 -> 2.001)",
        ),
        (0, "CFG down by a third in every stage (stage 1 cfg 3 -> 2.001; stage 2 cfg 3 -> 2.001)"),
        (1, "CFG down by a third in every stage (stage 2 cfg 3 -> 2.001)"),
    ],
)
def test_a_remedy_is_aimed_at_the_stage_that_broke_the_picture(
    blamed: int | None, words: str
) -> None:
    """What is meant for all stages changes the blamed one alone."""
    attempt = Attempt(recipe=recipe(), failure=FailureClass.OVERSATURATED)
    step = decide([attempt], remedies=load_remedies(), ranges=RANGES, max_takes=3, blamed=blamed)
    assert step.words == f"oversaturated: {words}"


def test_where_stage_1_fails_already_a_later_denoise_is_no_remedy() -> None:
    """Flicker: less denoise where stage 2 made it, a new seed where stage 1 did."""
    attempt = Attempt(recipe=recipe(), failure=FailureClass.FLICKER)
    names = [
        decide(
            [attempt], remedies=load_remedies(), ranges=RANGES, max_takes=3, blamed=blamed
        ).remedy.name
        for blamed in (0, 1)
    ]
    assert names == ["new-seed", "denoise-down"]


def test_behind_a_new_seed_a_rule_has_its_turn() -> None:
    """Frozen three times: another seed, then more guidance in stage 1, then another seed."""
    first, second, third, fourth = follow([FailureClass.FROZEN] * 3, max_takes=4)
    assert second.stages == first.stages
    assert third.seed == second.seed
    assert third.stages[0].cfg == 3.5
    assert fourth == third.with_seed(fourth.seed)
    assert len({first.seed, second.seed, fourth.seed}) == 3


@given(failing, st.integers(0, 9), st.integers(0, 9))
@settings(deadline=None, max_examples=examples(50))
def test_a_spent_purse_holds_every_class(
    failures: list[FailureClass], spent: int, bound: int
) -> None:
    """Retakes stop exactly where the night's number of them is reached."""
    attempts = [Attempt(recipe=recipe(), failure=failures[0])]
    purse = Purse(takes=bound, spent_takes=spent)
    held, free = (
        decide(attempts, remedies=load_remedies(), ranges=RANGES, max_takes=3, purse=each)
        for each in (purse, None)
    )
    if spent < bound or isinstance(free, Hold):
        assert held == free
    else:
        assert "the night's retakes are used up" in held.words


def test_minutes_are_a_bound_too() -> None:
    """No retake that would not end within them; none at all with 0; without a bound, always."""
    assert Purse(seconds=600, spent_seconds=500, next_seconds=90).spent is None
    assert Purse(seconds=600, spent_seconds=500, next_seconds=120).spent == (
        "the night's retakes are used up (8.3 of 10 min spent, 2.0 needed)"
    )
    assert Purse(seconds=600, spent_seconds=600).spent is not None
    assert Purse(seconds=0).spent is not None
    assert Purse(spent_takes=99, spent_seconds=1e9, next_seconds=1e9).spent is None


def test_oversaturation_turns_guidance_down_in_every_stage() -> None:
    """CFG falls by a third, and the seed stays."""
    _, second = follow([FailureClass.OVERSATURATED], start=recipe(cfg=4.5))
    assert [stage.cfg for stage in second.stages] == [3.002, 3.002]
    assert second.seed == recipe().seed


def test_guidance_far_outside_the_range_is_brought_to_its_edge_at_once() -> None:
    """CFG 25 where the preset gives 5 at most: the next take has 5, and the words say so."""
    attempt = Attempt(recipe=recipe(cfg=25.0, stages=1), failure=FailureClass.OVERSATURATED)
    step = decide([attempt], remedies=load_remedies(), ranges=RANGES, max_takes=3)
    assert isinstance(step, Retake)
    assert step.words == (
        "oversaturated: CFG down by a third in every stage (stage 1 cfg 25 -> 5), "
        "to the edge of the preset's range"
    )


@pytest.mark.parametrize("cfg", [25.0, 1.2])
def test_a_remedy_that_turns_away_from_the_range_leaves_what_is_outside(cfg: float) -> None:
    """Guidance above the range is not turned up, and below it not down."""
    away = "cfg-up" if cfg > RANGES["cfg"][1] else "cfg-down"
    listed = (remedy for remedies in load_remedies().values() for remedy in remedies)
    remedy = next(remedy for remedy in listed if remedy.name == away)
    before = recipe(cfg=cfg)
    assert remedy.apply(before, ranges=RANGES, take=2) == before


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
    attempt = Attempt(recipe=recipe(), failure=FailureClass.WRONG_LENGTH)
    step = decide([attempt], remedies=load_remedies(), ranges=RANGES, max_takes=3)
    assert step == Hold(words="wrong length is nothing that another take mends")


def test_the_words_name_every_value_that_changed() -> None:
    """The report can say what was done: class, remedy, values."""
    attempt = Attempt(recipe=recipe(), failure=FailureClass.FLICKER)
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
    attempt = Attempt(recipe=start, failure=FailureClass.NAN)
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
    attempt = Attempt(recipe=recipe(), failure=FailureClass.MEMORY)
    step = decide([attempt], remedies=load_remedies(), ranges=RANGES, max_takes=3)
    assert step == Hold(words="memory: the recipe concedes nothing more")
    assert not gives_up(recipe(), load_remedies())


def test_the_words_name_what_became_smaller() -> None:
    """The report says from what to what."""
    start = replace(recipe(), concessions=(Concession.FRAMES,), family="wan", frames=81)
    attempt = Attempt(recipe=start, failure=FailureClass.MEMORY)
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
