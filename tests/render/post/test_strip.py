"""Contact strips: which frames, where, and in what colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from render.post.strip import GAP, chosen, write_strip

COLOURS = np.float32([[0.9, 0.1, 0.1], [0.1, 0.9, 0.1], [0.1, 0.1, 0.9], [0.8, 0.8, 0.1]])


def test_the_strip_shows_the_chosen_frames(tmp_path: Path) -> None:
    """First, quarter, middle, three quarters and last stand side by side in their colours."""
    grey = np.linspace(0.1, 0.9, 17, dtype=np.float32)
    frames = (np.full((64, 96, 3), g, np.float32) * np.float32([1, 0.5, 0.2]) for g in grey)
    write_strip(frames, tmp_path / "strip.jpg", total=17)
    strip = np.asarray(Image.open(tmp_path / "strip.jpg")).astype(float) / 255
    width = 144
    assert strip.shape == (96, 5 * width + 4 * GAP, 3)
    for place, index in enumerate((0, 4, 8, 12, 16)):
        middle = strip[48, place * (width + GAP) + width // 2]
        np.testing.assert_allclose(middle, grey[index] * np.float32([1, 0.5, 0.2]), atol=0.01)


def test_few_frames_are_shown_once(tmp_path: Path) -> None:
    """A clip of three frames has a strip of three."""
    frames = [np.broadcast_to(c, (48, 48, 3)) for c in COLOURS[:3]]
    write_strip(frames, tmp_path / "strip.jpg", total=3)
    assert Image.open(tmp_path / "strip.jpg").size == (3 * 96 + 2 * GAP, 96)


def test_frames_that_are_missing_are_noticed(tmp_path: Path) -> None:
    """Fewer frames than told is an error, and no strip is written."""
    frames = [np.broadcast_to(c, (48, 48, 3)) for c in COLOURS]
    with pytest.raises(ValueError, match="fewer than 9"):
        write_strip(frames, tmp_path / "strip.jpg", total=9)
    assert list(tmp_path.iterdir()) == []


@given(total=st.integers(1, 500), count=st.integers(1, 9))
def test_chosen_frames_are_there(total: int, count: int) -> None:
    """The first frame is always among them, the last too if there is room; none is outside."""
    picked = chosen(total, count)
    assert len(picked) == min(total, count)
    assert min(picked) == 0
    assert max(picked) == (total - 1 if count > 1 else 0)
