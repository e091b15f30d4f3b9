"""Optical flow: the field of a pair depends on that pair alone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import examples
from scipy.ndimage import map_coordinates

from qc.flow import FlowEstimator, _seen
from qc.frame import Frame, prepare


def _pair(*, height: int, width: int, seed: int) -> tuple[Frame, Frame]:
    """Rough ground that moves two pixels to the right."""
    ground = np.random.default_rng(seed).uniform(0, 255, (height // 4 + 1, width // 4 + 1, 3))
    picture = np.kron(ground, np.ones((4, 4, 1)))[:height, :width].astype(np.uint8)
    return prepare(picture, index=0), prepare(np.roll(picture, 2, axis=1), index=1)


@pytest.mark.parametrize("small", [(16, 24), (24, 16), (32, 48)])
def test_what_was_looked_at_before_changes_no_flow(small: tuple[int, int]) -> None:
    """An estimator that has met frames too small for its scales sees large ones as a new one."""
    large, tiny = (
        _pair(height=96, width=144, seed=1),
        _pair(height=small[0], width=small[1], seed=2),
    )
    used = FlowEstimator()
    first = used.compute(*tiny).flow
    assert np.array_equal(used.compute(*large).flow, FlowEstimator().compute(*large).flow)
    assert np.array_equal(used.compute(*tiny).flow, first)


@pytest.mark.parametrize("size", [(200, 330), (480, 832)], ids=["small", "large"])
@pytest.mark.parametrize("move", [(0.6, -0.3), (5.3, 2.6), (-14.2, 7.7)])
def test_flow_tells_a_known_move(size: tuple[int, int], move: tuple[float, float]) -> None:
    """Of rough ground, to a fifth of a pixel, and nine tenths of it are seen both ways."""
    ground = np.random.default_rng(5).uniform(0, 255, (160, 260, 3)).astype(np.float32)
    ground = cv2.resize(ground, None, fx=6, fy=6, interpolation=cv2.INTER_CUBIC)

    def filmed(index: int) -> Frame:
        """The ground, shifted by so many moves."""
        shift = np.float32([[1, 0, -80 - index * move[0]], [0, 1, -80 - index * move[1]]])
        picture = cv2.warpAffine(ground, shift, size[::-1], flags=cv2.INTER_LINEAR)
        return prepare(np.rint(picture).clip(0, 255).astype(np.uint8), index=index)

    pair = FlowEstimator().compute(filmed(0), filmed(1))
    off = np.linalg.norm(pair.flow * pair.step + np.float32(move), axis=2)
    inner = np.zeros_like(pair.seen)
    inner[16:-16, 16:-16] = True
    assert float(np.median(off[pair.seen & inner])) < 0.2
    assert pair.seen[inner].mean() > 0.9


@settings(deadline=None, max_examples=examples(30))
@given(st.integers(0, 2**32 - 1), st.integers(16, 60), st.integers(16, 60))
def test_what_is_seen_is_where_flows_agree_inside(seed: int, height: int, width: int) -> None:
    """Lai's rule, with the back-flow between pixels told by scipy."""
    rng = np.random.default_rng(seed)
    forward = cv2.GaussianBlur(rng.normal(0, 4, (height, width, 2)), (0, 0), 2.0)
    backward = 0.6 * cv2.GaussianBlur(rng.normal(0, 4, (height, width, 2)), (0, 0), 2.0) - forward
    y, x = np.mgrid[:height, :width].astype(np.float32)
    at = np.moveaxis(np.dstack([x, y]) + forward.astype(np.float32), 2, 0)[::-1]
    back = [map_coordinates(backward[..., k], at, order=1, mode="nearest") for k in range(2)]
    apart = (forward + np.dstack(back)) ** 2
    length = (forward**2).sum(axis=2) + back[0] ** 2 + back[1] ** 2
    margin = 0.01 * length + 0.5 - apart.sum(axis=2)
    inside = (at >= 0).all(axis=0) & (at[0] <= height - 1) & (at[1] <= width - 1)
    seen = _seen(forward.astype(np.float32), backward.astype(np.float32))
    told = np.abs(margin) > 1e-3  # float32 may tell the rest either way
    np.testing.assert_array_equal(seen[told], (inside & (margin >= 0))[told])
