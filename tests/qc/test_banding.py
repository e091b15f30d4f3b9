"""Banding is told by value: what comes back at the same levels everywhere are steps."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qc import banding
from qc.thresholds import load_thresholds

FAIL = load_thresholds("default")["banding"].fail


def ramp(way: float = 0.6, slope: float = 0.45, start: float = 60.0) -> np.ndarray:
    """(144, 256) float: a plane that rises by `slope` levels a pixel."""
    y, x = np.mgrid[:144, :256]
    return start + slope * (np.cos(way) * x + np.sin(way) * y)


def picture(values: np.ndarray) -> np.ndarray:
    """Values as a grey picture (H, W, 3) uint8."""
    return np.dstack([np.rint(values).clip(0, 255).astype(np.uint8)] * 3)


def measured(source: np.ndarray, *frames: np.ndarray) -> float:
    """The metric of these frames."""
    found = banding.Banding()
    for frame in frames:
        found.add(banding.compute(frame))
    return found.reduce(banding.compute(source))["banding"]


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 1.5), st.floats(0.3, 0.6), st.integers(4, 12), st.floats(0, 1))
def test_a_stair_is_as_high_as_its_steps(way, slope, step, shift):
    """Whatever its direction, slope and offset, a stair of h levels is found at h levels and comes
    out at .3 h to h: what v follows of wide steps is missing."""
    values = (np.floor(ramp(way, slope) / step + shift) - shift + 0.5) * step
    stairs = banding.compute(picture(values))[1]
    heights = 512 / np.arange(32, 206)
    assert heights[stairs.argmax()] == pytest.approx(step, rel=0.08)
    assert 0.3 * step <= stairs.max() <= step


@settings(max_examples=20, deadline=None)
@given(st.floats(0.1, 1.4), st.floats(0.3, 0.6), st.sampled_from([8, 16]))
def test_blocks_are_no_stair(way, slope, side):
    """Plateaus that lie by place, as a codec's blocks do, stay under the limit; the same ramp in as
    many levels is beyond it."""
    values = ramp(way, slope)
    blocks = values.reshape(144 // side, side, 256 // side, side).mean(axis=(1, 3))
    flat = np.kron(blocks, np.ones((side, side)))
    step = max(4.0, slope * side)
    assert measured(picture(values), picture(flat)) < FAIL
    assert measured(picture(values), picture(np.floor(values / step) * step)) > FAIL


def test_finer_steps_count_for_less():
    """The value rises with the height of the steps; those of the eight bits, and of two levels,
    are none, even beside a source without ramps."""
    plain = np.full((144, 256, 3), 90, np.uint8)
    one, two, *higher = (
        measured(plain, picture(np.rint(ramp() / step) * step)) for step in (1, 2, 3, 4, 7)
    )
    assert max(one, two) < 0.05
    assert higher == sorted(higher)
    assert higher[0] > 10 * max(one, two)


def test_high_steps_count_for_less_than_their_height():
    """Steps of 12 levels are more than those of 4, and by far not three times as much."""
    low, high = (measured(picture(ramp()), picture(np.rint(ramp() / h) * h)) for h in (4, 12))
    assert low < high < 1.8 * low


def test_a_few_values_do_not_speak_for_all():
    """The same steps on a slope to and fro over 12 levels count for half of those over many."""
    to_and_fro = 12 * np.abs(np.arange(256) / 27 % 2 - 1) + np.full((144, 1), 60.0)
    few, many = (
        banding.compute(picture(np.rint(values / 4) * 4))[1] for values in (to_and_fro, ramp())
    )
    heights = 512 / np.arange(32, 206)
    at = np.abs(heights - 4).argmin()
    assert 0.2 < few[at] / many[at] < 0.7


def test_what_the_source_has_is_no_banding():
    """A drawn source in steps is none in the clip; in a smooth one's clip they are."""
    smooth, stepped = picture(ramp()), picture(np.rint(ramp() / 7) * 7)
    assert measured(stepped, stepped, stepped) == pytest.approx(0, abs=1e-5)
    assert measured(smooth, stepped, stepped) > FAIL


def test_grain_over_steps_hides_them():
    """Steps of seven levels under grain of two are not seen; without it they are."""
    grain = np.random.default_rng(3).normal(0, 2, (144, 256))
    stepped = np.rint(ramp() / 7) * 7
    assert measured(picture(ramp()), picture(stepped + grain)) < 0.5 * FAIL
    assert measured(picture(ramp()), picture(stepped)) > FAIL


def test_grain_before_steps_breaks_them():
    """A ramp that was dithered before it was cut in steps has none to be seen."""
    grain = np.random.default_rng(3).normal(0, 2, (144, 256))
    hidden, bare = (np.rint((ramp() + grain * share) / 4) * 4 for share in (1, 0))
    assert measured(picture(ramp()), picture(hidden)) < 0.8 * FAIL
    assert measured(picture(ramp()), picture(bare)) > FAIL


def test_steps_that_fade_are_banding():
    """Exposure that changes moves the steps to other values and leaves them steps."""
    stepped = np.rint(ramp() / 7) * 7
    frames = [picture(stepped * gain) for gain in (1.0, 0.9, 0.8, 0.7)]
    assert measured(picture(ramp()), *frames) > FAIL


def test_a_ramp_that_the_source_lacks_is_looked_at():
    """A clip that pans to a sky in steps is told by its own; without a source nothing is said."""
    plain = np.full((144, 256, 3), 90, np.uint8)
    stepped = picture(np.rint(ramp() / 7) * 7)
    assert measured(plain, stepped) > FAIL
    found = banding.Banding()
    found.add(banding.compute(stepped))
    assert found.reduce(None) == {}


def test_flat_and_small_pictures_are_not_measured():
    """Where nothing slopes, or under 32 pixels, there is no value."""
    for frame in (np.full((144, 256, 3), 90, np.uint8), picture(ramp())[:31, :31]):
        found = banding.Banding()
        found.add(banding.compute(frame))
        assert found.reduce(banding.compute(frame)) == {}


def test_a_long_clip_needs_no_more_memory_than_a_short_one():
    """What is carried does not grow with the frames."""
    stairs = banding.compute(picture(ramp()))
    found = banding.Banding()
    sizes = set()
    for _ in range(50):
        found.add(stairs)
        sizes.add(len(pickle.dumps(found)))
    assert len(sizes) == 1
