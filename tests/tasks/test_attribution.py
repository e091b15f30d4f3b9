"""Whose fault a failed picture is, from the verdicts over its stages."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from two_stage_recipe import recipe

from manifests.candidates import candidate_seeds
from qc.scorecard import Decision, FailureClass, Finding, Level, Verdict
from render.keys import prefix_fingerprint
from tasks.attribution import attribute_failure, recipe_so_far

LIMIT = 0.0065


def verdict(value: float, *, metric: str = "flicker") -> Verdict:
    """Over a clip that flickers so."""
    failed = value > LIMIT
    finding = Finding(
        metric=metric,
        value=value,
        level=Level.FAIL if failed else Level.PASS,
        limit=LIMIT,
        failure=FailureClass.FLICKER if failed else None,
        words="",
        severity=value / LIMIT,
    )
    return Verdict(
        decision=Decision.RETAKE if failed else Decision.APPROVE,
        failure=finding.failure,
        findings=(finding,),
        thresholds="test",
    )


@pytest.mark.parametrize(
    ("earlier", "final", "stage", "words"),
    [
        (
            [0.004],
            0.011,
            2,
            "stage 2 made it worse (flicker 0.004 after stage 1, 0.011 after stage 2)",
        ),
        (
            [0.02],
            0.011,
            1,
            "stage 1 fails already (flicker 0.02 after stage 1, 0.011 after stage 2)",
        ),
        (
            [0.02, 0.004],
            0.011,
            3,
            "stage 3 made it worse (flicker 0.02 after stage 1, 0.004 after stage 2, "
            "0.011 after stage 3)",
        ),
    ],
)
def test_the_stage_behind_the_last_good_one_is_to_blame(
    earlier: list[float], final: float, stage: int, words: str
) -> None:
    """Or the first, where none is good; the words name every number."""
    found = attribute_failure(
        verdict(final),
        {k: verdict(value) for k, value in enumerate(earlier)},
        stages=len(earlier) + 1,
    )
    assert found is not None
    assert (found.stage, found.words) == (stage, words)
    assert found.to_dict()["scores"][0] == {
        "stage": 1,
        "value": earlier[0],
        "failed": earlier[0] > LIMIT,
    }


@given(st.lists(st.floats(0, 0.02), min_size=1, max_size=4))
def test_what_stands_before_the_blamed_stage_was_good(values: list[float]) -> None:
    """The retake can start from there."""
    earlier = {k: verdict(value) for k, value in enumerate(values)}
    found = attribute_failure(verdict(0.02), earlier, stages=len(values) + 1)
    assert found is not None
    assert found.blamed is not None
    assert found.blamed == 0 or values[found.blamed - 1] <= LIMIT
    assert all(value > LIMIT for value in values[found.blamed :])


@given(st.integers(0, 2**62), st.integers(1, 4), st.integers(0, 1), st.integers(0, 5))
def test_a_stage_is_looked_at_as_it_was_made(seed: int, chosen: int, k: int, offset: int) -> None:
    """The recipe that ends with a stage names the very latents that the take left there, those of
    the candidate that it went on with: nothing is to be sampled."""
    asked = replace(recipe(stages=3, seed=seed), candidates=4)
    first = replace(asked.stages[0], seed_offset=offset)
    asked = replace(asked, stages=(first, *asked.stages[1:]))
    made = replace(asked, seed=candidate_seeds(seed, 4)[chosen - 1], candidates=1)
    so_far = recipe_so_far(asked, k, first_seed=made.seed + offset)
    assert len(so_far.stages) == k + 1
    assert prefix_fingerprint(so_far, k) == prefix_fingerprint(made, k)


def test_behind_a_stage_without_a_picture_nobody_is_blamed() -> None:
    """Stage 2 handed noise on: it or stage 3 broke what stage 1 left good."""
    found = attribute_failure(verdict(0.011), {0: verdict(0.004)}, stages=3)
    assert found is not None
    assert found.stage is None
    assert found.words.startswith("no single stage is to blame")


def test_without_the_number_that_failed_nothing_is_said() -> None:
    """An earlier stage in which that metric could not be measured tells nothing."""
    earlier = {0: verdict(0.004, metric="boiling")}
    assert attribute_failure(verdict(0.011), earlier, stages=2) is None
    assert attribute_failure(verdict(0.011), {}, stages=2) is None
