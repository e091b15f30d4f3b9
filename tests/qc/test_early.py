"""Early looks: only what is certainly lost is stopped."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from qc.early import judge_early, measure_early, rank_early
from qc.scorecard import Decision

Pictures = npt.NDArray[np.float32]
STILLS = sorted((Path(__file__).parents[2] / "manifests/examples/demo/stills").glob("*.jpg"))


def _pan(still: Path, *, count: int = 5, step: int = 1) -> Pictures:
    """A pan over a photograph in pictures of 28 x 16, `step` pixels a picture."""
    photo = np.asarray(Image.open(still).convert("RGB"))
    small = cv2.resize(photo, (28 + step * count, 16), interpolation=cv2.INTER_AREA)
    frames = [small[:, step * k : step * k + 28] for k in range(count)]
    return np.stack(frames).astype(np.float32) / 255


def _source(pictures: Pictures, folder: Path) -> Path:
    path = folder / "source.png"
    Image.fromarray(np.uint8(pictures[0] * 255)).save(path)
    return path


@pytest.mark.parametrize("still", STILLS, ids=lambda path: path.stem)
@pytest.mark.parametrize("step", [1, 2, 4])
def test_a_pan_goes_on(still: Path, step: int, tmp_path: Path) -> None:
    """Slow or fast, a move over a photograph is not stopped."""
    pictures = _pan(still, step=step)
    metrics = measure_early(pictures, source=_source(pictures, tmp_path))
    verdict = judge_early(metrics)
    assert verdict.decision is Decision.APPROVE
    assert metrics["step"] > 0.5
    assert metrics["conditioning_match"] > 0.99


def test_what_is_lost_is_named(tmp_path: Path) -> None:
    """Black, frozen, cut, and begun with another picture: each is stopped by its own class."""
    good = _pan(STILLS[0])
    other = _pan(STILLS[1])
    source = _source(good, tmp_path)
    spoilt = {
        "black": good * 0.02,
        "frozen": np.repeat(good[:1], 5, axis=0),
        "cut": np.concatenate([good[:3], other[:2]]),
    }
    for failure, pictures in spoilt.items():
        verdict = judge_early(measure_early(pictures, source=None))
        assert verdict.failure == failure
        assert verdict.decision is Decision.RETAKE
        assert "after its first stage" in verdict.reasons[0]
    garish = good + 0.8 * (good[..., ::-1] - good.mean(axis=-1, keepdims=True))
    garish[..., 0] += 0.5
    overdone = judge_early(measure_early(garish, source=source))
    assert overdone.failure == "oversaturated"
    assert judge_early(measure_early(other, source=source)).failure == "conditioning"


def test_stillness_that_was_asked_for_is_right() -> None:
    """A static shot is not stopped for standing still."""
    metrics = measure_early(np.repeat(_pan(STILLS[0])[:1], 5, axis=0), source=None)
    assert judge_early(metrics).failure == "frozen"
    assert judge_early(metrics, expects_motion=False).failure is None


def test_what_cannot_be_measured_is_left_out(tmp_path: Path) -> None:
    """One picture has no steps, none has nothing; a source of one tone has no layout."""
    good = _pan(STILLS[0])
    assert measure_early(good[:0], source=None) == {}
    assert set(measure_early(good[:1], source=None)) == {"black"}
    grey = tmp_path / "grey.png"
    Image.new("RGB", (28, 16), (120, 120, 120)).save(grey)
    assert "conditioning_match" not in measure_early(good, source=grey)
    assert judge_early({}).failure is None


def test_a_night_scene_is_not_black(tmp_path: Path) -> None:
    """What is as dark as its source is not called black."""
    night = _pan(STILLS[0]) * 0.05
    assert judge_early(measure_early(night, source=None)).failure == "black"
    assert "black" not in measure_early(night, source=_source(night, tmp_path))


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
    metrics = measure_early(pictures, source=None)
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
