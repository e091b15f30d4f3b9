"""Laws of the clip generator: the content moves as moves.py says."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from render.pocket.data import BUCKETS, Shot, film
from render.pocket.measure import motion_of
from render.pocket.moves import DIRECTED, Move
from render.pocket.photos import HELD_OUT, find_photos
from render.pocket.textures import build_pool


@pytest.fixture(scope="module")
def pool() -> Tensor:
    """Four canvases, two of them photographs."""
    return build_pool(
        photos=find_photos()[:4], count=4, device=torch.device("cpu"), seed=2, side=320
    )


def filmed(
    pool: Tensor, move: Move, *, seed: int = 3, size: tuple[int, int] = (128, 128)
) -> Tensor:
    """One clip (3, 17, H, W)."""
    gen = torch.Generator().manual_seed(seed)
    return film(
        pool=pool, shots=[Shot((move,))], height=size[0], width=size[1], frames=17, generator=gen
    )[0]


def content_shift(clip: Tensor) -> tuple[float, float]:
    """How far the content moved from frame 0 to 4 (right, down), by phase correlation."""
    a, b = (np.asarray(clip[:, k].mean(0), np.float64) for k in (0, 4))
    window = cv2.createHanningWindow(a.shape[::-1], cv2.CV_64F)
    (dx, dy), _ = cv2.phaseCorrelate(a, b, window)
    return dx, dy


@pytest.mark.slow
@pytest.mark.parametrize(
    ("move", "axis", "sign"),
    [
        (Move.PAN_LEFT, 0, 1),
        (Move.PAN_RIGHT, 0, -1),
        (Move.TILT_UP, 1, 1),
        (Move.TILT_DOWN, 1, -1),
    ],
)
def test_content_moves_against_the_camera(pool: Tensor, move: Move, axis: int, sign: int) -> None:
    """Pan left moves the content right, tilt up moves it down; 5 to 9 pixels in four frames."""
    shift = content_shift(filmed(pool, move))
    assert 5 < sign * shift[axis] < 9
    assert abs(shift[1 - axis]) < 1.5


@pytest.mark.slow
@pytest.mark.parametrize("move", DIRECTED)
def test_measured_motion_is_the_asked_one(pool: Tensor, move: Move) -> None:
    """Optical flow on a generated clip names the move that made it."""
    assert motion_of(filmed(pool, move)).verdict() == move


@pytest.mark.slow
def test_static_stands_still(pool: Tensor) -> None:
    """All frames of a static clip are the same picture."""
    clip = filmed(pool, Move.STATIC)
    assert float((clip - clip[:, :1]).abs().max()) < 1e-4


@pytest.mark.slow
def test_slow_goes_less_far_than_fast(pool: Tensor) -> None:
    """The speed word scales the travel."""

    def travelled(speed: int) -> float:
        gen = torch.Generator().manual_seed(1)
        shot = Shot((Move.PAN_RIGHT,), speed)
        clip = film(pool=pool, shots=[shot], height=96, width=96, frames=17, generator=gen)
        return motion_of(clip[0]).amount()

    assert travelled(-1) < 0.75 * travelled(0) < 0.75 * travelled(1)


@pytest.mark.slow
@pytest.mark.parametrize("size", BUCKETS)
def test_clips_have_the_asked_shape_and_range(pool: Tensor, size: tuple[int, int]) -> None:
    """(3, 17, H, W) in -1..1."""
    clip = filmed(pool, Move.ZOOM_OUT, size=size)
    assert clip.shape == (3, 17, *size)
    assert float(clip.abs().max()) <= 1


@pytest.mark.slow
def test_same_seed_same_clip(pool: Tensor) -> None:
    """Clips are a function of pool and generator state."""
    assert torch.equal(filmed(pool, Move.ZOOM_IN, seed=9), filmed(pool, Move.ZOOM_IN, seed=9))
    assert not torch.equal(filmed(pool, Move.ZOOM_IN, seed=9), filmed(pool, Move.ZOOM_IN, seed=8))


def test_held_out_pictures_are_not_trained_on() -> None:
    """find_photos never returns a held-out picture."""
    names = {p.name.split("/")[1] for p in find_photos()}
    assert names
    assert names.isdisjoint(HELD_OUT)
