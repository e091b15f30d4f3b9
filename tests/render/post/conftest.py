"""Clips, gradients and a small network for the tests of the finish."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from render.clip import write_clip


@pytest.fixture
def moving() -> Callable[..., np.ndarray]:
    """Makes (T, H, W, 3) of a smooth coloured pattern that moves two pixels a frame."""

    def make(frames: int = 9, height: int = 48, width: int = 64) -> np.ndarray:
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        shots = []
        for t in range(frames):
            phase = (x + 2 * t) / 17
            channels = [np.sin(phase), np.cos(y / 11 + phase / 3), np.sin((x + y) / 23 - phase)]
            shots.append(0.5 + 0.4 * np.stack(channels, axis=-1))
        return np.stack(shots).astype(np.float32)

    return make


@pytest.fixture
def clip(tmp_path: Path, moving: Callable[..., np.ndarray]) -> Path:
    """A lossless clip of 9 frames, 64 x 48, in a take's folder."""
    path = tmp_path / "takes" / "t1" / "clip.mkv"
    write_clip([moving()], path, fps=23.976)
    return path


@pytest.fixture
def compact(tmp_path: Path) -> Callable[..., tuple[Path, str]]:
    """Writes a Real-ESRGAN Compact network with small random weights; (path, sha256)."""

    def make(scale: int = 2, name: str = "tiny.safetensors", prefix: str = "") -> tuple[Path, str]:
        random = torch.Generator().manual_seed(scale)
        features = 8
        state = {
            "body.0.weight": torch.randn(features, 3, 3, 3, generator=random) * 0.1,
            "body.0.bias": torch.zeros(features),
            "body.1.weight": torch.full((features,), 0.2),
            "body.2.weight": torch.randn(features, features, 3, 3, generator=random) * 0.1,
            "body.2.bias": torch.zeros(features),
            "body.3.weight": torch.full((features,), 0.2),
            "body.4.weight": torch.randn(3 * scale**2, features, 3, 3, generator=random) * 0.1,
            "body.4.bias": torch.zeros(3 * scale**2),
        }
        path = tmp_path / name
        save_file({prefix + key: value for key, value in state.items()}, path)
        return path, hashlib.sha256(path.read_bytes()).hexdigest()

    return make
