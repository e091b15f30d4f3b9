"""Candidates: their seeds, and where a preset may ask for them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.candidates import MOST_CANDIDATES, candidate_seeds
from manifests.errors import BadInput
from manifests.preset import BUNDLED
from manifests.schedules import model_calls
from render.keys import prefix_fingerprint
from tasks.estimate import Estimator, disk_bytes

TWO = (BUNDLED / "pocket" / "two-stage.yaml").read_text(encoding="utf-8")
ONE = (BUNDLED / "pocket" / "single.yaml").read_text(encoding="utf-8")
SEEDS = st.integers(0, 2**63 - 1)


@given(seed=SEEDS, count=st.integers(1, MOST_CANDIDATES))
def test_seeds_are_distinct_and_begin_with_the_recipes_own(seed: int, count: int) -> None:
    """As many as asked, each a seed, none twice; more candidates only add some."""
    seeds = candidate_seeds(seed, count)
    assert len(set(seeds)) == count
    assert seeds[0] == seed
    assert all(0 <= one < 2**63 for one in seeds)
    assert candidate_seeds(seed, MOST_CANDIDATES)[:count] == seeds


def test_seeds_are_the_same_on_every_machine() -> None:
    """What a receipt of today names can be rendered again; other counts are refused."""
    assert candidate_seeds(1, 3) == (1, 6198048699731449458, 224098059970263294)
    for count in (0, 9):
        with pytest.raises(ValueError, match=r"1\.\.8"):
            candidate_seeds(1, count)


def test_a_preset_asks_for_candidates(own, sheet, studio, tmp_path):
    """The number comes into the recipe and its fingerprint, not into what a stage's latents
    depend on; the estimate counts stage 1 for each, the disk too."""
    plain = own(TWO)
    assert (plain.candidates, plain.early) == (1, True)
    assert own(TWO + "candidates: 3\nearly: false\n").early is False
    used = studio.model_copy(update={"presets_dir": tmp_path / "presets"})
    recipe = sheet("shot,source,preset\na,a.png,mine\n", studio=used).shots[0].recipe
    alone = replace(recipe, candidates=1)
    assert recipe.candidates == 3
    assert recipe.fingerprint != alone.fingerprint
    assert prefix_fingerprint(recipe, 0) == prefix_fingerprint(alone, 0)
    first, second = (model_calls(stage) for stage in recipe.stages)
    of = Estimator(None).of
    longer = of(recipe).seconds / of(alone).seconds
    assert longer == pytest.approx((3 * first + second) / (first + second))
    assert disk_bytes(recipe) > disk_bytes(alone)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (ONE + "candidates: 2\n", "no stage follows"),
        (TWO + "candidates: 9\n", "'?9'? is refused"),
        (TWO + "early: maybe\n", "refused"),
    ],
)
def test_candidates_that_make_no_sense_are_refused(own, text, problem):
    """With one stage there is nothing to spare, and the number has a bound."""
    with pytest.raises(BadInput, match=problem):
        own(text)


def test_candidates_need_a_clean_first_stage(own):
    """Under the noise that a split hands on nothing can be seen."""
    head = TWO.split("stages:", maxsplit=1)[0]
    split = "  - {kind: split, steps: 8, cfg: 1, shift: 3, "
    text = f"{head}stages:\n{split}end_step: 4}}\n{split}start_step: 4}}\ncandidates: 2\n"
    with pytest.raises(BadInput, match="leaves noise in the picture"):
        own(text)
