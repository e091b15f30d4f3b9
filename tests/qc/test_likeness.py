"""What is followed keeps its likeness; what slid, faded or stands in shadow is no other thing."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qc import frozen, likeness
from qc.flow import FlowEstimator, Pair
from qc.frame import prepare
from qc.measure import Measuring, measure_frames


def texture(seed: int, height: int = 96, width: int = 160) -> np.ndarray:
    """(H, W) uint8: blobs of about six pixels, 40 to 215."""
    rough = np.random.default_rng(seed).standard_normal((height, width))
    smooth = cv2.GaussianBlur(rough, (0, 0), 3)
    scaled = cv2.normalize(smooth, None, 40, 215, cv2.NORM_MINMAX)
    return scaled.astype(np.uint8)


def everywhere(source: np.ndarray) -> likeness.Around:
    """All places were followed."""
    return likeness.Around(np.ones(source.shape, np.float32))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.floats(0.5, 1.1), st.floats(-10, 20))
def test_light_is_no_change_of_structure(seed, gain, lift):
    """The same texture, darker, brighter or flatter, changes nothing anywhere."""
    source = texture(seed)
    back = source.astype(np.float32) * np.float32(gain) + np.float32(lift)
    change, _, new = likeness.compute(source, back, everywhere(source), noise=0.0)
    # The floor e leaves a little where the variance is near it: at half the contrast at most
    # 1 - 2 / sqrt(4.5), where the variance is 2 e.
    assert float(np.abs(change).max()) < 0.0573
    assert float(np.abs(new[12:-12, 12:-12]).mean()) < 1.0


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000))
def test_another_texture_is_another_thing(seed):
    """Where the texture is another one, structure is lost; beside it, it is not."""
    source = texture(seed)
    back = source.astype(np.float32)
    back[:, :60] = texture(seed + 1)[:, :60]
    change, _, _ = likeness.compute(source, back, everywhere(source), noise=0.0)
    assert float(change[:, :40].mean()) > 0.5
    assert float(change[:, 90:].mean()) < 0.01


def test_a_zoom_bends_nothing_and_a_seam_does():
    """The grid's usual stretch is taken off; where two motions meet, it is bent."""
    x, y = np.meshgrid(np.arange(40, dtype=np.float32), np.arange(30, dtype=np.float32))
    grid = np.dstack([x, y])
    alive = np.ones(grid.shape[:2], bool)
    assert not likeness.bent(grid * np.float32(1.4), alive, (1.0, 1.0)).any()
    torn = grid.copy()
    torn[:, 20:, 1] += 3
    found = likeness.bent(torn, alive, (1.0, 1.0))
    assert found[5:25, 19:21].all()
    assert not found[:, :17].any()
    assert not found[:, 23:].any()


@given(st.integers(3, 12), st.floats(1, 1e4))
def test_what_grows_evenly_counts_more_than_what_comes_at_once(looks, energy):
    """Even growth counts fully, a step or what goes to and fro as little as can be."""
    grid = np.ones((1, 1), np.float32)
    steps = np.full(looks, energy**0.5 / looks)
    evenly = likeness.steadiness(grid * energy, grid * float((steps**2).sum()))
    at_once = likeness.steadiness(grid * energy, grid * energy)
    to_and_fro = likeness.steadiness(grid * energy, grid * energy * looks)
    assert float(evenly[0, 0]) == pytest.approx(1, abs=0.01)
    assert float(at_once[0, 0]) == pytest.approx(0.5, abs=0.01)
    assert float(to_and_fro[0, 0]) == pytest.approx(0.5, abs=0.01)


def test_a_point_at_an_edge_moves_with_its_own_side():
    """Motion between two things' is taken for neither's; an even zoom stays as it is."""
    x, y = np.meshgrid(np.arange(80, dtype=np.float32), np.arange(45, dtype=np.float32))
    zoom = np.dstack([x, y]) * np.float32(0.1)
    np.testing.assert_allclose(likeness.typical(zoom)[3:-3, 3:-3], zoom[3:-3, 3:-3], atol=1e-5)
    sides = np.zeros((45, 80, 2), np.float32)
    sides[:, 40:] = 4.0
    smeared = sides.copy()
    smeared[20, 39] = 2.0
    np.testing.assert_array_equal(likeness.typical(smeared), sides)


def turning(share: float, *, late: int = 0) -> np.ndarray:
    """(33, H, W, 3): a thing moves over still ground and by the end is `share` of another one.

    It is in the picture from frame `late` on.
    """
    ground, thing, other = texture(1), texture(2, 44, 44), texture(3, 44, 44)
    clip = np.repeat(ground[None, ..., None], 33, axis=0).repeat(3, axis=3)
    for at in range(late, 33):
        part = share * at / 32
        now = np.rint((1 - part) * thing + part * other).astype(np.uint8)
        clip[at, 25:69, 20 + at : 64 + at] = now[..., None]
    return clip


def drift_of(clip: np.ndarray) -> float:
    return measure_frames(clip, fps=24, source=clip[0]).metrics["identity_drift"]


def still_pair() -> Pair:
    """Of two frames that are alike."""
    frames = (prepare(turning(0)[0], index=at) for at in (0, 1))
    return FlowEstimator().compute(*frames)


def drift_over(pairs: list[Pair]) -> dict[str, float]:
    """What is reduced from these pairs, the first frame being the source."""
    found = likeness.Likeness(pairs[0].before)
    for pair in pairs:
        found.add(pair)
    return found.reduce()


def test_what_flow_lets_slip_is_given_back():
    """Where flow is off by .2 pixels a frame, points are not carried away from where they were."""
    pair = still_pair()
    flow = pair.flow.copy()
    flow[24:72, 40:120] += np.float32(0.2)
    assert drift_over([replace(pair, flow=flow)] * 24)["identity_drift"] < 0.01


def test_what_errs_at_a_few_points_carries_none_away():
    """Where flow is wrong at single places, points go with those around them."""
    pair = still_pair()
    wrong = np.random.default_rng(5).random(pair.flow.shape[:2]) < 0.02
    errs = replace(pair, flow=np.where(wrong[..., None], np.float32(9), pair.flow))
    assert drift_over([errs] * 24)["identity_drift"] < 0.01


@pytest.mark.parametrize(("frames", "is_measured"), [(3, True), (4, False)])
def test_what_was_hidden_for_long_is_given_up(frames, is_measured):
    """A point that could not be seen in four frames is followed no more, in three it is."""
    pair = still_pair()
    hidden = replace(pair, seen=np.zeros_like(pair.seen))
    found = drift_over([pair, *[hidden] * frames, *[pair] * 9])
    assert ("identity_drift" in found) == is_measured


def test_a_still_picture_does_not_drift():
    """Of frames that are alike nothing turns into anything."""
    assert drift_of(np.repeat(turning(0)[:1], 17, axis=0)) == pytest.approx(0, abs=1e-6)


@pytest.mark.slow
def test_the_more_turns_the_more_it_drifts():
    """The value grows with the share of the thing that is another one by the end."""
    found = [drift_of(turning(share)) for share in (0.0, 0.4, 0.7, 1.0)]
    assert found == sorted(found)
    assert found[0] < 0.05
    assert found[2] > found[0] + 0.15


@pytest.mark.slow
def test_a_thing_that_came_later_is_followed_too():
    """What the source does not show is held against a later frame."""
    assert drift_of(turning(1.0, late=8)) > drift_of(turning(0.0, late=8)) + 0.1


def test_a_clip_of_nine_frames_is_too_short_to_drift():
    """Three looks are needed; a fault is not made up from fewer."""
    clip = turning(1.0)
    assert "identity_drift" not in measure_frames(clip[:9], fps=24, source=clip[0]).metrics


def test_asked_twice_it_says_the_same():
    """The last frame is looked at once, not again with every question."""
    clip = turning(1.0)[:11]
    measuring = Measuring(fps=24, source=clip[0])
    measuring.add(clip)
    assert measuring.scorecard() == measuring.scorecard()


@pytest.mark.parametrize(("height", "width", "is_measured"), [(16, 400, False), (33, 320, True)])
def test_a_strip_is_too_low_to_drift(height, width, is_measured):
    """Under 16 rows at looking size OpenCV's flow fails: such clips have every metric but this."""
    strip = np.dstack([texture(4, height, width + 10)] * 3)
    clip = np.stack([strip[:, at : at + width] for at in range(10)])
    metrics = measure_frames(clip, fps=24, source=clip[0]).metrics
    assert ("identity_drift" in metrics) == is_measured
    assert "boiling" in metrics


@pytest.mark.slow
def test_what_passes_in_front_is_no_drift():
    """A thing that crosses the picture hides ground; nothing turns into anything."""
    ground, thing = texture(1), texture(2, 30, 30)
    clip = np.repeat(ground[None, ..., None], 25, axis=0).repeat(3, axis=3)
    for at, frame in enumerate(clip):
        frame[30:60, 10 + 4 * at : 40 + 4 * at] = thing[..., None]
    assert measure_frames(clip, fps=24, source=clip[0]).metrics["identity_drift"] < 0.12


def test_a_small_thing_that_moves_is_no_frozen_pair():
    """Before still, dark ground a moving thing is too small for the mean; noise and nothing are
    still."""
    before = np.full((240, 416, 3), 8, np.uint8)
    after = before.copy()
    thing = (texture(3, 60, 60) // 4)[..., None]
    before[100:160, 100:160] = thing
    after[100:160, 103:163] = thing
    noisy = before.copy()
    noisy[::16, ::16] += 1
    first = prepare(before, index=0)
    assert frozen.compute(first, prepare(after, index=1)) > frozen.STILL
    assert frozen.compute(first, prepare(noisy, index=1)) <= frozen.STILL
    assert frozen.compute(first, first) == 0
