"""What one limit learns from approved clips, held by laws."""

from __future__ import annotations

import math
import random
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import examples

from qc.calibration import (
    FEWEST,
    LAXEST,
    NOISE,
    QUANTILES_ONLY,
    STRICTEST,
    can_learn,
    learn,
    may_be_learned,
    scale_of,
    weight,
)
from qc.thresholds import Limit, load_thresholds

TABLE = load_thresholds("wan")
LEARNED = [limit for limit in TABLE if can_learn(limit)]
limits = st.sampled_from(LEARNED)
values = st.floats(-2, 60, allow_nan=False)
clips = st.lists(values, min_size=FEWEST, max_size=120)


def bounds(limit: Limit) -> list[float]:
    return [bound for bound in (limit.warn, limit.fail) if bound is not None]


def amount(limit: Limit, value: float) -> float:
    return scale_of(limit).amount(value)


def population(seed: int, number: int, *, middle: float, spread: float = 0.3) -> list[float]:
    """Values as clips have them: log-normal about `middle`."""
    rng = random.Random(seed)
    return [math.exp(rng.gauss(math.log(middle), spread)) for _ in range(number)]


@settings(deadline=None, max_examples=examples(60))
@given(limits, clips, st.lists(values, max_size=80))
def test_a_learned_limit_stays_near_the_default(limit, own, family):
    """Whatever the clips, a limit allows between STRICTEST and LAXEST of what the default does."""
    found = learn(own, limit=limit, family=family)
    for bound, default in zip(bounds(found), bounds(limit), strict=True):
        share = amount(limit, bound) / amount(limit, default)
        # Four digits are kept of the limit; of an SSIM near 1 they are fewer of what is left.
        assert STRICTEST * 0.998 <= share <= LAXEST * 1.002
        assert may_be_learned(limit, bound, default=default)


@settings(deadline=None, max_examples=examples(60))
@given(limits, clips, st.lists(values, max_size=80))
def test_a_limit_that_was_learned_still_warns_before_it_fails(limit, own, family):
    """Warn never crosses fail, and what was not set stays unset."""
    found = learn(own, limit=limit, family=family)
    assert (found.warn is None, found.fail is None) == (limit.warn is None, limit.fail is None)
    if found.warn is not None and found.fail is not None:
        assert not found.beyond(found.warn, found.fail)


@settings(deadline=None, max_examples=examples(40))
@given(limits, clips, st.lists(values, max_size=80), st.randoms(use_true_random=False))
def test_the_order_of_clips_does_not_matter(limit, own, family, rng):
    """Clips shuffled give the same limit, to the last digit."""
    shuffled, others = [*own], [*family]
    rng.shuffle(shuffled)
    rng.shuffle(others)
    assert learn(shuffled, limit=limit, family=others) == learn(own, limit=limit, family=family)


@settings(deadline=None, max_examples=examples(60))
@given(limits, st.lists(values, max_size=FEWEST - 1), st.lists(values, max_size=200))
def test_few_clips_leave_the_default(limit, own, family):
    """Under FEWEST clips the default holds as it stands, whatever the family's others say."""
    assert learn(own, limit=limit, family=family) == limit


@settings(deadline=None, max_examples=examples(40))
@given(limits, st.lists(st.floats(0.01, 10), min_size=FEWEST, max_size=120), st.floats(1, 3))
def test_worse_clips_never_make_a_limit_stricter(limit, shares, times):
    """The same clips, each worse by the same factor (by the same difference where the metric is a
    logarithm), speak for the same limit or a laxer one."""
    scale = scale_of(limit)
    unit = amount(limit, bounds(limit)[-1])
    worse = [share + times - 1 if scale.linear else share * times for share in shares]
    before, after = (
        learn([scale.value(share * unit) for share in found], limit=limit)
        for found in (shares, worse)
    )
    for one, other in zip(bounds(before), bounds(after), strict=True):
        assert amount(limit, other) >= amount(limit, one) * 0.998


@settings(deadline=None, max_examples=examples(30))
@given(limits, clips, st.lists(values, min_size=FEWEST, max_size=120))
def test_other_cells_never_press_a_cell_below_its_own_need(limit, own, family):
    """A family of better clips makes a cell no stricter than the cell's own clips and the default
    would: the laxer of the two is the floor."""
    alone = learn(own * 20, limit=limit)
    found = learn(own * 20, limit=limit, family=family * 20)
    for shrunk, mine, default in zip(bounds(found), bounds(alone), bounds(limit), strict=True):
        floor = min(amount(limit, mine), amount(limit, default))
        assert amount(limit, shrunk) >= floor * 0.998


@settings(deadline=None, max_examples=examples(40))
@given(limits, st.floats(0.05, 0.6), st.integers(FEWEST, 600))
def test_no_limit_is_stricter_than_the_noise_allows(limit, share, number):
    """Equal clips, however many: the limit leaves at least their measuring noise above them."""
    scale = scale_of(limit)
    value = scale.value(share * amount(limit, bounds(limit)[-1]))
    found = learn([value] * number, limit=limit)
    room = 3 * NOISE / math.sqrt(number)
    for bound, default in zip(bounds(found), bounds(limit), strict=True):
        if not scale.linear:
            need = min(amount(limit, value) * math.exp(room), amount(limit, default))
            assert amount(limit, bound) >= need * 0.998


@pytest.mark.parametrize(
    ("number", "room"), [(100, 3.5), (200, 3.5), (400, 3.0 / 20.0), (1600, 3.0 / 40.0)]
)
def test_equal_clips_allow_their_value_and_the_noise_above_it(number, room):
    """Where the family says the same, a limit is what the formula says of the clips alone: the
    value by 3.5 spreads of noise, or, from 400 clips on, by three standard errors of it."""
    limit = TABLE["flicker"]
    value = 0.7 * limit.fail
    found = learn([value] * number, limit=limit, family=[value] * 5000)
    assert found.fail == pytest.approx(value * math.exp(room * NOISE), rel=2e-3)


def test_a_calm_family_does_not_press_a_cell_that_needs_the_default():
    """Where a cell's own clips ask for more than the default allows, cells of far better clips
    make its limit no stricter than the default."""
    limit = TABLE["boiling"]
    own = population(7, 60, middle=0.6 * limit.fail, spread=0.35)
    calm = population(8, 600, middle=0.1 * limit.fail)
    assert learn(own, limit=limit, family=calm).fail >= limit.fail


def test_more_clips_say_more_and_each_doubling_less():
    """A cell's own weight rises with every clip, and by less and less from 100 clips on."""
    weights = [weight(number) for number in range(5000)]
    assert weights[:FEWEST] == [0.0] * FEWEST
    assert all(a < b for a, b in zip(weights[FEWEST - 1 :], weights[FEWEST:], strict=False))
    steps = [weight(2 * n) - weight(n) for n in (100, 200, 400, 800, 1600)]
    assert steps == sorted(steps, reverse=True)


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["flicker", "boiling", "colour_drift", "collapse"])
def test_more_data_of_the_same_kind_changes_less(metric):
    """Twice the clips of one population move a limit less, the more there were."""
    limit = TABLE[metric]
    middle = 0.45 * limit.fail
    moves = []
    for number in (QUANTILES_ONLY, 4 * QUANTILES_ONLY, 16 * QUANTILES_ONLY):
        found = []
        for seed in range(6):
            drawn = population(seed, 2 * number, middle=middle)
            half, whole = learn(drawn[:number], limit=limit), learn(drawn, limit=limit)
            found.append(abs(math.log(half.fail / whole.fail)))
        moves.append(fmean(found))
    assert moves[0] > moves[-1]
    assert moves[-1] < 0.03


def test_there_is_no_jump_where_the_method_changes():
    """One clip more changes a limit by little at 50, 200 and 400 clips: the ramps are even."""
    limit = TABLE["flicker"]
    drawn = population(3, 500, middle=0.34 * limit.fail)
    for number in (FEWEST - 1, 199, 200, QUANTILES_ONLY - 1, QUANTILES_ONLY):
        one, other = learn(drawn[:number], limit=limit), learn(drawn[: number + 1], limit=limit)
        assert other.fail == pytest.approx(one.fail, rel=0.03)


def test_learning_from_what_it_approved_comes_to_rest():
    """Nights that learn from their own approvals do not tighten until everything fails: after 15
    rounds of 100 clips of one population fewer than 1 % of them fail."""
    limit = current = TABLE["boiling"]
    history: list[float] = []
    for night in range(15):
        drawn = population(night, 100, middle=0.4 * limit.fail, spread=0.35)
        history += [value for value in drawn if not current.beyond(value, current.fail)]
        current = learn(history, limit=limit)
    fresh = population(99, 4000, middle=0.4 * limit.fail, spread=0.35)
    assert sum(current.beyond(value, current.fail) for value in fresh) < 40


@pytest.mark.parametrize("number", [60, 100, 300, 1000])
def test_one_bad_approval_does_not_open_the_gate(number):
    """A clip that was approved by mistake counts as the worst of the others, however bad it is."""
    limit = TABLE["boiling"]
    drawn = population(5, number, middle=0.4 * limit.fail)
    fooled = learn([*drawn, 5.0], limit=limit)
    assert fooled == learn([*drawn, max(drawn)], limit=limit)


def test_gates_and_unset_limits_are_never_learned():
    """Hard gates stay as they are, and a zero that may not be passed is not moved."""
    gates = [limit for limit in TABLE if limit.hard]
    assert not [limit for limit in gates if can_learn(limit)]
    assert all(learn([0.01] * 500, limit=limit) == limit for limit in gates)


@pytest.mark.parametrize("metric", [limit.metric for limit in LEARNED])
def test_every_scale_rises_with_badness_and_comes_back(metric):
    """A worse value is a larger amount, and an amount is its value again."""
    limit = TABLE[metric]
    scale = scale_of(limit)
    default = bounds(limit)[-1]
    worse = default * 1.1 if limit.higher_is_worse else default * 0.9
    assert scale.amount(worse) > scale.amount(default) > 0
    assert scale.value(scale.amount(default)) == pytest.approx(default)
