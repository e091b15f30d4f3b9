"""What is followed keeps its likeness; what slid, faded or stands in shadow is no other thing."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qc import frozen, likeness
from qc.frame import prepare
from qc.measure import measure_frames


def texture(seed: int, height: int = 96, width: int = 160) -> np.ndarray:
    """(H, W) uint8: blobs of about six pixels, 40 to 215."""
    rough = np.random.default_rng(seed).standard_normal((height, width))
    smooth = cv2.GaussianBlur(rough, (0, 0), 3)
    scaled = cv2.normalize(smooth, None, 40, 215, cv2.NORM_MINMAX)
    return scaled.astype(np.uint8)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.floats(0.5, 1.1), st.floats(-10, 20))
def test_light_is_no_change_of_structure(seed, gain, lift):
    """The same texture, darker, brighter or flatter, changes nothing anywhere."""
    source = texture(seed)
    back = source.astype(np.float32) * np.float32(gain) + np.float32(lift)
    change, _ = likeness.compute(source, back, np.ones(source.shape, np.float32), noise=0.0)
    # The floor that keeps plain ground tame leaves a little where there is little contrast.
    assert float(np.abs(change).max()) < 0.05


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000))
def test_another_texture_is_another_thing(seed):
    """Where the texture is another one, structure is lost; beside it, it is not."""
    source = texture(seed)
    back = source.astype(np.float32)
    back[:, :60] = texture(seed + 1)[:, :60]
    change, _ = likeness.compute(source, back, np.ones(source.shape, np.float32), noise=0.0)
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
