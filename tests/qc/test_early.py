"""Early looks: only what is certainly lost is stopped."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from qc.early import _limits, judge_early, measure_early, rank_early
from qc.scorecard import Decision

Pictures = npt.NDArray[np.float32]
STILLS = sorted((Path(__file__).parents[2] / "manifests/examples/demo/stills").glob("*.jpg"))
BOX = (0.25, 0.5, 0.75, 1.0)
SETS = {
    "2026-11-21.3": "e4e92d34d52e32a3",
    "2026-11-21.6": "9f9653773a06cc55",
    "2026-11-21.7": "b85b423cb202f5e5",
}
"""Versions of the limits, and what they hold."""


def _pan(still: Path, *, count: int = 5, step: int = 1, height: int = 16) -> Pictures:
    """A pan over a photograph in pictures of 28 x 16 or as much larger, `step` pixels a picture."""
    photo = np.asarray(Image.open(still).convert("RGB"))
    width = 28 * height // 16
    small = cv2.resize(photo, (width + step * count, height), interpolation=cv2.INTER_AREA)
    frames = [small[:, step * k : step * k + width] for k in range(count)]
    return np.stack(frames).astype(np.float32) / np.float32(255)


def _clip(still: Path, *, step: int = 2) -> Pictures:
    """A pan over a photograph in 17 frames of 224 x 128."""
    return _pan(still, count=17, step=step, height=128)


def _window(clip: Pictures) -> Pictures:
    """What lies at `BOX`."""
    return clip[:, 64:, 56:168]


def _source(pictures: Pictures, folder: Path) -> Path:
    path = folder / "source.png"
    Image.fromarray(np.uint8(pictures[0] * 255)).save(path)
    return path


def _of_colours(pictures: Pictures, source: Path | None = None) -> dict[str, float]:
    return measure_early(colours=pictures, source=source)


def _of_frames(clip: Pictures, source: Path | None = None) -> dict[str, float]:
    return measure_early(colours=None, frames=_window(clip), box=BOX, source=source)


@pytest.mark.slow
@pytest.mark.parametrize("still", STILLS, ids=lambda path: path.stem)
@pytest.mark.parametrize("step", [1, 2, 4])
def test_a_pan_goes_on(still: Path, step: int, tmp_path: Path) -> None:
    """Slow or fast, a move over a photograph is not stopped, by its colours or by its frames."""
    pictures = _pan(still, step=step)
    metrics = _of_colours(pictures, _source(pictures, tmp_path))
    assert judge_early(metrics).decision is Decision.APPROVE
    assert metrics["step"] > 0.5
    assert metrics["conditioning_match"] > 0.99
    clip = _clip(still, step=step)
    metrics = _of_frames(clip, _source(clip, tmp_path))
    assert judge_early(metrics).decision is Decision.APPROVE
    assert metrics["conditioning_ssim"] > 0.99


@pytest.mark.slow
def test_what_is_lost_is_named_by_its_frames(tmp_path: Path) -> None:
    """Black, frozen under a little noise, cut, and begun with another picture: a part of the clip
    is enough to stop each by its own class."""
    good, other = _clip(STILLS[0]), _clip(STILLS[1])
    noise = np.random.default_rng(1).normal(0, 0.2 / 255, good.shape).astype(np.float32)
    spoilt = {
        "black": good * 0.02,
        "frozen": np.clip(good[:1] + noise, 0, 1),
        "cut": np.concatenate([good[:9], other[:8]]),
    }
    for failure, clip in spoilt.items():
        verdict = judge_early(_of_frames(clip))
        assert verdict.failure == failure
        assert "after its first stage" in verdict.reasons[0]
    assert judge_early(_of_frames(other, _source(good, tmp_path))).failure == "conditioning"


def test_what_is_lost_is_named_by_its_colours(tmp_path: Path) -> None:
    """Where nothing is decoded: black, begun with another picture, and far too much colour."""
    good = _pan(STILLS[0])
    source = _source(good, tmp_path)
    assert judge_early(_of_colours(good * 0.02)).failure == "black"
    assert judge_early(_of_colours(_pan(STILLS[1]), source)).failure == "conditioning"
    garish = good + 0.8 * (good[..., ::-1] - good.mean(axis=-1, keepdims=True))
    garish[..., 0] += 0.6
    garish[..., 2] -= 0.4
    assert judge_early(_of_colours(garish, source)).failure == "oversaturated"


def test_a_dark_part_is_no_black_take() -> None:
    """Black are the pictures whose part and whole are dark: a window over a shadow is not."""
    clip, colours = _clip(STILLS[0]) * 0.02, _pan(STILLS[0])
    metrics = measure_early(colours=colours, frames=_window(clip), box=BOX, source=None)
    assert metrics["black"] == 0
    metrics = measure_early(colours=colours * 0.02, frames=_window(clip), box=BOX, source=None)
    assert metrics["black"] == 1


def test_stillness_that_was_asked_for_is_right() -> None:
    """A static shot is not stopped for standing still."""
    metrics = _of_frames(np.repeat(_clip(STILLS[0])[:1], 5, axis=0))
    assert judge_early(metrics).failure == "frozen"
    assert judge_early(metrics, expects_motion=False).failure is None


def test_what_cannot_be_measured_is_left_out(tmp_path: Path) -> None:
    """One picture has neither steps nor jumps, none has nothing; a source of one tone has no
    layout."""
    good, clip = _pan(STILLS[0]), _clip(STILLS[0])
    assert _of_colours(good[:0]) == {}
    assert set(_of_colours(good[:1])) == {"black"}
    assert set(_of_frames(clip[:1])) == {"black", "colour_drift"}
    assert measure_early(colours=None, frames=None, source=tmp_path / "none.png") == {}
    grey = tmp_path / "grey.png"
    Image.new("RGB", (28, 16), (120, 120, 120)).save(grey)
    assert "conditioning_match" not in _of_colours(good, grey)
    assert judge_early({}).failure is None


def test_a_night_scene_is_not_black_and_a_black_still_is(tmp_path: Path) -> None:
    """What is as dark as its source is not called black, unless clips of the source would be."""
    for gain, called in ((0.1, False), (0.02, True)):
        dark = _pan(STILLS[0], height=128) * gain
        assert _of_colours(dark)["black"] == 1
        assert ("black" in _of_colours(dark, _source(dark, tmp_path))) is called


@given(
    frames=st.integers(1, 6), height=st.integers(2, 20), seed=st.integers(0, 2**16),
    gain=st.floats(0, 1),
)  # fmt: skip
def test_any_pictures_have_numbers_in_range(
    frames: int, height: int, seed: int, gain: float
) -> None:
    """Whatever is shown: shares are 0..1, all is finite, and the ranks can be compared."""
    rng = np.random.default_rng(seed)
    pictures = (rng.random((frames, height, height + 3, 3)) * gain).astype(np.float32)
    metrics = measure_early(colours=pictures, frames=pictures, source=None)
    assert all(np.isfinite(value) for value in metrics.values())
    assert all(0 <= metrics[name] <= 1 for name in ("black", "frozen", "cut") if name in metrics)
    rank = rank_early(metrics, judge_early(metrics))
    assert rank <= (1.0, 1.0, float("inf"))


def test_stillness_never_wins() -> None:
    """Among candidates one that moves is before one that hardly does, and that before a lost
    one, however calm they are."""
    moving = {"black": 0.0, "frozen": 0.0, "step": 3.0, "flicker": 0.05}
    still = {"black": 0.0, "frozen": 0.4, "step": 0.3, "flicker": 0.0}
    lost = {"black": 0.0, "frozen": 1.0, "step": 0.0, "flicker": 0.0}
    calm = {**moving, "flicker": 0.001}
    ranks = [rank_early(m, judge_early(m)) for m in (calm, moving, still, lost)]
    assert ranks == sorted(ranks)


def test_limits_that_move_have_another_version() -> None:
    """A verdict names its limits by their version alone, so no version stands for two sets: who
    moves one gives the table another version, and adds it here."""
    version, limits = _limits()
    told = [(name, limit.failure.value, limit.above, limit.below) for name, limit in limits.items()]
    assert hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16] == SETS[version]
