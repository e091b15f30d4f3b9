"""What too little of a clip is left for is not measured: no few places decide alone."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest

from qc.blur import Sharpness
from qc.flow import Pair
from qc.frame import Frame, prepare
from qc.wobble import COLUMNS, ROWS, Rest, Wobble


def swayed(*, cells: int, pan: float, seed: int) -> Rest:
    """What a pair has beside its camera's motion: sway of half a pixel in the first `cells`."""
    rest = np.random.default_rng(seed).normal(0, 0.5, (ROWS * COLUMNS, 2)).astype(np.float32)
    rest[cells:] = np.nan
    return Rest(rest=rest.reshape(ROWS, COLUMNS, 2), length=1.0, pan=np.array([pan, 0], np.float32))


def wobble_of(pans: list[float], *, cells: int = ROWS * COLUMNS) -> dict[str, float]:
    """`wobble` of a clip whose pairs moved by `pans` and swayed in `cells` of the grid."""
    wobble = Wobble()
    for at, pan in enumerate(pans):
        wobble.add(swayed(cells=cells, pan=pan, seed=at))
    return wobble.reduce()


def test_one_calm_moment_of_a_shaken_clip_does_not_tell_of_sway():
    """Where the camera jerks all along but for three pairs, sway is left out, not told by them."""
    jerks = [20.0 * (-1) ** at for at in range(29)]
    assert wobble_of([*jerks, 0.0, 0.0, 0.0]) == {}
    assert wobble_of([*jerks[:16], *[0.0] * 16])["wobble"] > 0


@pytest.mark.parametrize(("cells", "told"), [(ROWS * COLUMNS // 4, True), (52, False)])
def test_sway_is_told_by_a_quarter_of_the_grid_or_not_at_all(cells, told):
    """The few cells that a dark picture leaves tell of flow's errors."""
    assert bool(wobble_of([0.0] * 12, cells=cells)) is told


def panned(speed: int, *, softer: float = 0.0) -> dict[str, float]:
    """`blur` of 33 frames of 160x96 that pan by `speed` pixels each, ever softer up to a sigma."""
    wide = np.random.default_rng(0).integers(0, 255, (96, 160 + 32 * speed, 3), np.uint8)
    wide = cv2.GaussianBlur(wide, (0, 0), 1.0)
    frames = [
        prepare(cv2.GaussianBlur(wide, (0, 0), 0.05 + softer * at / 32)[:, left : left + 160],
                index=at)
        for at, left in enumerate(range(0, 33 * speed, speed))
    ]  # fmt: skip
    sharpness = Sharpness()
    sharpness.add(frames[0], None)
    for before, after in pairwise(frames):
        sharpness.add(after, moved(before, after, by=-speed))
    return sharpness.reduce()


def moved(before: Frame, after: Frame, *, by: float) -> Pair:
    """A pair whose every place moved by so many pixels across, all of it seen."""
    shape = before.luma.shape
    flow = np.zeros((*shape, 2), np.float32)
    flow[..., 0] = by
    seen = np.ones(shape, bool)
    return Pair(before=before, after=after, flow=flow, step=1.0, seen=seen,
                residual=np.zeros(shape, np.float32), visible=seen)  # fmt: skip


@pytest.mark.parametrize("speed", [2, 8])
def test_softening_is_told_in_a_pan_that_leaves_its_picture(speed):
    """Where the points of the beginning are gone, new ones are followed from there."""
    assert panned(speed, softer=1.5)["blur"] > 1.0
    assert abs(panned(speed)["blur"]) < 0.1


def test_softening_is_not_told_by_points_that_last_for_under_twelve_frames():
    """Of a pan as fast as that, nothing can be compared with its beginning."""
    assert panned(14, softer=1.5) == {}
