"""Laws of the change of a preset for a whole night."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from two_stage_recipe import RANGES, recipe

from manifests.remedy import load_remedies
from qc.scorecard import FailureClass
from tasks.preset_change import LEAST_JUDGED, SHARE, changed, due_change

OVERSATURATED, FROZEN = FailureClass.OVERSATURATED, FailureClass.FROZEN


def due(firsts, made=()):
    """The change that is due for the recipe of these tests."""
    table = load_remedies()
    found = [(failure, table[failure][index]) for failure, index in made]
    return due_change(firsts, recipe=recipe(), made=found, remedies=table, ranges=RANGES)


@given(st.lists(st.one_of(st.none(), st.sampled_from(list(FailureClass))), max_size=40))
def test_a_preset_is_changed_for_a_class_that_many_shots_share(firsts: list) -> None:
    """Never before six were judged, never for less than three in ten, never by a seed or a
    smaller format, and always by something that changes the recipe."""
    change = due(firsts)
    if change is not None:
        assert len(firsts) >= LEAST_JUDGED
        assert firsts.count(change.failure) >= SHARE * len(firsts)
        assert change.remedy.seed is None
        assert change.remedy.needs is None
        assert changed(recipe(), [change.remedy], ranges=RANGES) != recipe()


@given(st.lists(st.one_of(st.none(), st.sampled_from(list(FailureClass))), max_size=40))
def test_no_class_changes_a_preset_twice(firsts: list) -> None:
    """Asked again after every change it ends, with every class at most once."""
    table, made = load_remedies(), []
    for _ in range(len(FailureClass) + 1):
        change = due_change(firsts, recipe=recipe(), made=made, remedies=table, ranges=RANGES)
        if change is None:
            break
        made.append((change.failure.value, change.remedy))
    assert change is None
    assert len({failure for failure, _ in made}) == len(made)


def test_three_of_ten_are_enough_and_five_judged_are_not() -> None:
    """The share and the least number, at their edges."""
    found = due([OVERSATURATED] * 3 + [None] * 7)
    assert found is not None
    assert (found.remedy.name, found.failed, found.judged) == ("cfg-down", 3, 10)
    assert due([OVERSATURATED] * 3 + [None] * 8) is None
    assert due([OVERSATURATED] * 5) is None


def test_a_class_that_only_another_seed_mends_changes_no_preset() -> None:
    """A cut is not the preset's matter; what the recipe cannot mend even less."""
    assert due([FailureClass.CUT] * 10) is None
    assert due([FailureClass.WRONG_LENGTH] * 10) is None


def test_a_change_takes_none_back() -> None:
    """After CFG went down for oversaturation, frozen shots do not put it up again."""
    firsts = [OVERSATURATED] * 5 + [FROZEN] * 5
    assert due([FROZEN] * 10).remedy.name == "cfg-up"
    assert due(firsts, made=[(OVERSATURATED, 0)]) is None
