"""What too little of a clip is left for is not measured: no few places decide alone."""

from __future__ import annotations

import numpy as np
import pytest

from qc.blur import Sharpness
from qc.frame import prepare
from qc.tracking import Tracker
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


@pytest.mark.parametrize(("lasted", "told"), [(0.3, True), (0.2, False)])
def test_softening_wants_a_quarter_of_the_points_at_the_end(lasted, told):
    """Of a pan that leaves its picture, the rest at the edge does not tell of sharpness."""
    picture = np.random.default_rng(0).integers(0, 255, (96, 160, 3), np.uint8)
    frame = prepare(picture, index=0)
    tracker, sharpness = Tracker(frame), Sharpness()
    left = np.zeros(tracker.alive.size, bool)
    left[: round(lasted * left.size)] = True
    for at in range(12):
        if at == 8:
            tracker.alive = left.reshape(tracker.alive.shape)
        sharpness.add(frame, tracker)
    assert ("blur" in sharpness.reduce()) is told
