"""Points carried along by the flow from the first frame: the same place of the scene, later.

Comparing a place with itself, and not frame with frame, lets a pan show new content without it
being taken for a change of colour or sharpness.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qc.flow import Pair, inside, sample
from qc.frame import Frame

VERSION = "1"
ROWS, COLUMNS = 24, 40
LEAST = 0.1
"""Share of points that must still be followed for a frame to be measured."""

Points = npt.NDArray[np.float32]
"""(24, 40, 2): x, y in pixels of the analysis frame."""


class Tracker:
    """A grid of points on frame 0 and where each one is now; constant memory."""

    def __init__(self, first: Frame) -> None:
        height, width = first.luma.shape
        x = (np.arange(COLUMNS, dtype=np.float32) + 0.5) * width / COLUMNS - 0.5
        y = (np.arange(ROWS, dtype=np.float32) + 0.5) * height / ROWS - 0.5
        self.start: Points = np.dstack(np.meshgrid(x, y)).astype(np.float32)
        self.now: Points = self.start.copy()
        self.alive: npt.NDArray[np.bool_] = np.ones((ROWS, COLUMNS), bool)

    def step(self, pair: Pair) -> None:
        """Carry every point over one pair; what cannot be followed is lost for good."""
        at = self.now / np.float32(pair.step)
        seen = sample(pair.seen.view(np.uint8), at, nearest=True) > 0
        self.now = self.now + sample(pair.flow, at) * np.float32(pair.step)
        self.alive &= seen & inside(self.now, pair.before.luma.shape)

    @property
    def enough(self) -> bool:
        """Whether at least a tenth of the points are still followed."""
        return enough(self.alive)


def enough(alive: npt.NDArray[np.bool_]) -> bool:
    """Whether at least a tenth of the points (24, 40) are `alive`."""
    return float(alive.mean()) >= LEAST


def scale(start: Points, now: Points, alive: npt.NDArray[np.bool_]) -> float:
    """How much larger the scene is `now` than at the `start` (zoom), by the spread of the points
    that are `alive`; 1 where they are too few."""
    if not enough(alive):
        return 1.0
    before = start[alive].std(axis=0)
    after = now[alive].std(axis=0)
    return float(np.clip((after.sum() + 1e-3) / (before.sum() + 1e-3), 0.1, 10.0))
