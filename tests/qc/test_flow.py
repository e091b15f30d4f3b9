"""Optical flow: the field of a pair depends on that pair alone."""

from __future__ import annotations

import numpy as np
import pytest

from qc.flow import FlowEstimator
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
