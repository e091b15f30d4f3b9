"""Figures of one clip: where it moved, how near it is to the truth, how sharp it is."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from render.pocket.moves import TRAVEL, Move

KEYS = (0, 4, 8, 12, 16)
"""Frames between which motion is measured and summed."""


@dataclass(frozen=True)
class Motion:
    """What the camera did over a clip, as its content shows; units of moves.Travel."""

    right: float
    """Share of the width."""
    down: float
    """Share of the height."""
    log_zoom: float
    """Natural logarithm of the magnification."""
    roll: float
    """Radians, clockwise."""

    def verdict(self) -> Move:
        """The directed move that explains most; each part counts in its usual amount."""
        parts = {
            Move.PAN_RIGHT: self.right / TRAVEL[Move.PAN_RIGHT].right,
            Move.TILT_DOWN: self.down / TRAVEL[Move.TILT_DOWN].down,
            Move.ZOOM_IN: self.log_zoom / math.log(TRAVEL[Move.ZOOM_IN].zoom),
            Move.ROLL_CLOCKWISE: self.roll / math.radians(TRAVEL[Move.ROLL_CLOCKWISE].roll),
        }
        best = max(parts, key=lambda m: abs(parts[m]))
        return best if parts[best] > 0 else OPPOSITE[best]

    def amount(self) -> float:
        """The largest part, in units of its move's usual travel; 0 is stillness."""
        return max(
            abs(self.right) / TRAVEL[Move.PAN_RIGHT].right,
            abs(self.down) / TRAVEL[Move.TILT_DOWN].down,
            abs(self.log_zoom) / math.log(TRAVEL[Move.ZOOM_IN].zoom),
            abs(self.roll) / math.radians(TRAVEL[Move.ROLL_CLOCKWISE].roll),
        )


OPPOSITE: dict[Move, Move] = {
    Move.PAN_RIGHT: Move.PAN_LEFT,
    Move.TILT_DOWN: Move.TILT_UP,
    Move.ZOOM_IN: Move.ZOOM_OUT,
    Move.ROLL_CLOCKWISE: Move.ROLL_COUNTER,
}
"""The same axis the other way."""


def motion_of(clip: Tensor) -> Motion:
    """Camera motion of a clip (3, T, H, W), -1..1, by dense optical flow between key frames."""
    grey = [_grey(clip[:, k]) for k in KEYS if k < clip.shape[1]]
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    total = np.zeros(4)
    for a, b in itertools.pairwise(grey):
        field = flow.calc(a, b, np.zeros((*a.shape, 2), np.float32))
        total += _fit(np.asarray(field, np.float64), _texture(a))
    height, width = grey[0].shape
    # content moves against the camera; zoom is the content's own growth
    return Motion(-total[0] / width, -total[1] / height, float(total[2]), -float(total[3]))


def _grey(frame: Tensor) -> NDArray[np.uint8]:
    """(3, H, W), -1..1, to 8-bit luma."""
    rgb = ((frame.permute(1, 2, 0).cpu().numpy() + 1) * 127.5).clip(0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)


def _texture(grey: NDArray[np.uint8]) -> NDArray[np.float64]:
    """How far flow can be trusted at each pixel: local gradient, 0 in flat places."""
    fine = grey.astype(np.float32)
    grad = np.abs(cv2.Sobel(fine, cv2.CV_32F, 1, 0)) + np.abs(cv2.Sobel(fine, cv2.CV_32F, 0, 1))
    weight = np.asarray(cv2.GaussianBlur(grad, (0, 0), 2), np.float64)
    weight[:8] = weight[-8:] = 0
    weight[:, :8] = weight[:, -8:] = 0
    return weight


def _fit(field: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Best similarity motion of a flow field (H, W, 2): right, down, growth, turn clockwise.

    Pixels that disagree are weighted down in three rounds.
    """
    height, width = weight.shape
    y, x = np.mgrid[:height, :width].astype(np.float64)
    x, y = (x - (width - 1) / 2).ravel(), (y - (height - 1) / 2).ravel()
    one, zero = np.ones_like(x), np.zeros_like(x)
    rows = np.concatenate([np.stack([one, zero, x, -y], 1), np.stack([zero, one, y, x], 1)])
    seen = np.concatenate([field[..., 0].ravel(), field[..., 1].ravel()])
    base = np.concatenate([weight.ravel(), weight.ravel()]) + 1e-6
    trust, found = base, np.zeros(4)
    for _ in range(3):
        found = np.linalg.solve((rows * trust[:, None]).T @ rows, (rows * trust[:, None]).T @ seen)
        miss = np.abs(rows @ found - seen).reshape(2, -1).sum(0)
        trust = base / np.tile(1 + (miss / 1.0) ** 2, 2)
    return np.asarray(found)


def sharpness(clip: Tensor) -> float:
    """Mean absolute difference of neighbouring pixels of (..., H, W): higher is sharper."""
    return float((clip.diff(dim=-1).abs().mean() + clip.diff(dim=-2).abs().mean()) / 2)
