"""Laws of casts and of the strength of colours, on points drawn at random."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import examples

from qc import colour_drift, saturation

seeds = st.integers(0, 10_000)
casts = st.tuples(st.floats(-20, 20), st.floats(-20, 20))


def points(seed: int, *, count: int = 300, spread: float = 20.0) -> np.ndarray:
    """Lab colours of `count` points, chroma of about `spread`."""
    rng = np.random.default_rng(seed)
    lab = rng.normal(0, spread, (count, 3)).astype(np.float32)
    lab[:, 0] = rng.uniform(10, 90, count)
    return lab


@settings(deadline=None, max_examples=examples(40))
@given(seeds, casts)
def test_a_cast_over_everything_is_its_length(seed, cast):
    """All points pushed one way in (a, b): drift is how far, and none is 0."""
    then = points(seed)
    now = then + np.array([0, *cast], np.float32)
    assert colour_drift.compute(then, now, followed=1.0) == pytest.approx(np.hypot(*cast), abs=1e-3)


@settings(deadline=None, max_examples=examples(40))
@given(seeds, st.floats(0.5, 1.9))
def test_stronger_colours_are_no_cast(seed, gain):
    """Colours of many hues that all grow or fade are saturation's."""
    then = points(seed)
    now = then * np.array([1, gain, gain], np.float32)
    # Less than a tenth of how far the colours moved: the ridge holds some of it back.
    moved = abs(gain - 1) * float(np.hypot(then[:, 1], then[:, 2]).mean())
    assert colour_drift.compute(then, now, followed=1.0) <= 0.1 * moved + 1e-3


@settings(deadline=None, max_examples=examples(40))
@given(seeds, st.floats(0.05, 0.25))
def test_points_that_slid_are_no_drift(seed, share):
    """A quarter of the points on another colour changes neither measure much."""
    then = points(seed)
    now = then.copy()
    slid = np.random.default_rng(seed + 1).random(len(then)) < share
    now[slid] = points(seed + 2, count=int(slid.sum()), spread=40.0)
    assert colour_drift.compute(then, now, followed=1.0) < 2.5
    assert abs(saturation.compute(then, now)) < 0.12


@settings(deadline=None, max_examples=examples(40))
@given(seeds, st.floats(0.3, 3.0), st.floats(1.05, 1.5))
def test_saturation_rises_with_the_gain_of_colours(seed, gain, more):
    """Signed: more colour is a larger value; no change is 0."""
    then = points(seed)

    def found(by: float) -> float:
        return saturation.compute(then, then * np.array([1, by, by], np.float32))

    assert found(gain) <= found(gain * more)
    assert found(1.0) == 0.0


@pytest.mark.parametrize("tint", [0.5, 1.5])
def test_the_tint_of_a_grey_picture_is_not_seen(tint):
    """A black and white picture with the tint a decoder leaves has hardly gained colour."""
    then = points(1, spread=0.3)
    now = then + np.array([0, tint, 0], np.float32)
    assert 0 < saturation.compute(then, now) < 0.04


def test_a_cast_is_seen_where_a_picture_has_its_grey_parts():
    """Blue added to a picture that is mostly a saturated red, which hardly takes it, is a cast."""
    red, grey = np.array([[45.0, 65.0, 50.0]]), np.array([[60.0, 1.0, 1.0]])
    then = np.repeat(np.concatenate([red, grey]), [70, 30], axis=0).astype(np.float32)
    now = then.copy()
    now[70:] += np.array([0, 4, -9], np.float32)
    assert colour_drift.compute(then, now, followed=1.0) > 8
    assert colour_drift.compute(then, then, followed=1.0) == 0


def test_grey_parts_decide_alone_only_while_half_of_the_picture_is_followed():
    """Of a red picture of which a fifth is left, grey points that slid are no cast."""
    red, grey = np.array([[45.0, 65.0, 50.0]]), np.array([[60.0, 1.0, 1.0]])
    then = np.repeat(np.concatenate([red, grey]), [70, 30], axis=0).astype(np.float32)
    slid = then.copy()
    slid[70:] += np.array([0, 4, -9], np.float32)
    assert colour_drift.compute(then, slid, followed=0.5) > 8
    assert colour_drift.compute(then, slid, followed=0.21) < 1


def test_a_cast_over_everything_is_seen_in_what_little_is_left():
    """Where most of the picture was lost, a cast that all points agree on is still one."""
    then = points(3, count=60)
    now = then + np.array([0, 4, -9], np.float32)
    assert colour_drift.compute(then, now, followed=0.1) == pytest.approx(np.hypot(4, 9), abs=1e-3)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_what_is_no_share_of_points_is_refused(share):
    """Shares lie from none to all."""
    then = points(4)
    with pytest.raises(ValueError, match="of the points followed"):
        colour_drift.compute(then, then, followed=share)
