"""One pass: the same numbers from a file and from memory, at any size and length."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from qc.errors import SourceMissing
from qc.faults import Expected
from qc.measure import measure, measure_frames
from qc.metrics import CURVES, METRICS
from qc.scorecard import Scorecard


@pytest.fixture(scope="module")
def clip(filmed, moves):
    return filmed("astronaut", moves["pan"])


@pytest.mark.slow
def test_a_lossless_file_measures_as_its_frames(clip, write_clip, tmp_path, random_backbone):
    """Decoded FFV1 and the frames in memory give the same numbers, LPIPS included."""
    path = write_clip(tmp_path / "clip.mkv", clip, codec="ffv1", pix_fmt="gbrp12le")
    still = tmp_path / "source.png"
    Image.fromarray(clip[0]).save(still)
    from_file = measure(path, source=still, expected=None, lpips=random_backbone)
    in_memory = measure_frames(
        iter(np.array_split(clip, 5)), fps=24, source=clip[0], lpips=random_backbone
    )
    assert from_file.metrics == pytest.approx(in_memory.metrics, rel=1e-6)
    assert from_file.curves.keys() == in_memory.curves.keys() == CURVES.keys()
    assert from_file.backbone == random_backbone.name
    assert "ffv1, gbrp12le, rgb" in from_file.versions["decoder"]


@pytest.mark.slow
def test_a_review_file_measures_within_the_codecs_loss(clip, write_clip, tmp_path):
    """x264 at crf 18 moves the soft numbers by little."""
    path = write_clip(tmp_path / "clip.mp4", clip, options={"crf": "18"})
    coded = measure(path, source=None, expected=None, lpips=None).metrics
    plain = measure_frames(clip, fps=24).metrics
    for name, tolerance in {
        "flicker": 0.002,
        "flicker_local": 0.002,
        "boiling": 0.1,
        "motion": 0.001,
        "saturation_shift": 0.03,
        "blur": 0.2,
        "ssim_mean": 0.06,
        "cut": 0.02,
    }.items():
        assert coded[name] == pytest.approx(plain[name], abs=tolerance), name


@pytest.mark.slow
def test_the_source_is_fitted_as_the_renderer_does(clip, write_clip, tmp_path):
    """A larger still that is cropped and scaled to frame 0 conditions nearly perfectly."""
    tall = np.repeat(np.repeat(clip[0], 3, axis=0), 3, axis=1)
    padded = np.pad(tall, ((60, 60), (0, 0), (0, 0)), mode="edge")
    still = tmp_path / "source.png"
    Image.fromarray(padded).save(still)
    path = write_clip(tmp_path / "clip.mkv", clip, codec="ffv1", pix_fmt="gbrp12le")
    metrics = measure(path, source=still, expected=None, lpips=None).metrics
    assert metrics["conditioning_ssim"] > 0.98
    assert metrics["conditioning_psnr"] > 34


def test_a_missing_source_is_an_error_by_name(clip, write_clip, tmp_path):
    """A still that is gone stops the measuring; it is not left out silently."""
    path = write_clip(tmp_path / "clip.mp4", clip[:2])
    with pytest.raises(SourceMissing, match=r"gone\.png"):
        measure(path, source=tmp_path / "gone.png", expected=None, lpips=None)


@settings(deadline=None, max_examples=15)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 4),
    st.integers(1, 40),
    st.integers(1, 40),
)
def test_any_size_and_length_gives_a_sound_scorecard(seed, frames, height, width):
    """Whatever its size and length, a clip gives finite, documented numbers that round-trip."""
    shape = (frames, height, width, 3)
    clip = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    card = measure_frames(clip, fps=24)
    assert set(card.metrics) <= set(METRICS)
    assert all(np.isfinite(value) for value in card.metrics.values())
    assert Scorecard.from_dict(card.to_dict()) == card
    assert bool(card.problems) == (frames < 2)


@pytest.mark.slow
def test_every_documented_metric_is_measured(clip, random_backbone):
    """A scorecard with source, order and backbone holds every metric there is a word about."""
    expected = Expected(frames=17, width=192, height=128, fps=24)
    card = measure_frames(clip, fps=24, source=clip[0], expected=expected, lpips=random_backbone)
    # This clip has no smooth ground that could show bands; tests/qc/test_laws.py has one.
    assert set(card.metrics) == set(METRICS) - {"banding"}


def test_frames_that_are_no_frames_are_refused(clip):
    """A wrong shape, a wrong type and a change of size are named."""
    with pytest.raises(ValueError, match=r"\(H, W, 3\)"):
        measure_frames([clip[0, ..., 0]], fps=24)
    with pytest.raises(ValueError, match="int32"):
        measure_frames([clip[0].astype(np.int32)], fps=24)
    with pytest.raises(ValueError, match="frame 1"):
        measure_frames([clip[0], clip[0, :32, :32]], fps=24)
    with pytest.raises(ValueError, match="frames of 5x0: no pixels"):
        measure_frames([clip[0, :0, :5]], fps=24)


@pytest.mark.parametrize("fps", [0, -24, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(clip, fps):
    """A scorecard is JSON and its rate a number of frames a second."""
    with pytest.raises(ValueError, match="frames a second: must be above 0"):
        measure_frames(clip[:2], fps=fps)


def test_a_source_of_another_type_is_refused(clip):
    """Fractions are not taken for levels."""
    with pytest.raises(ValueError, match="source of type float64"):
        measure_frames(clip[:2], fps=24, source=clip[0] / 255.0)


def test_progress_is_told_after_each_frame(clip, write_clip, tmp_path):
    """Whoever waits hears of every frame and how many there will be."""
    path = write_clip(tmp_path / "clip.mp4", clip[:6])
    heard = []
    measure(path, source=None, expected=None, lpips=None, tell=lambda *at: heard.append(at))
    assert heard == [(count, 6) for count in range(1, 7)]


@pytest.mark.slow
@pytest.mark.parametrize("frames", [1, 2, 4, 5, 9])
def test_lpips_of_neighbours_is_that_of_each_pair_by_itself(clip, random_backbone, frames):
    """However many frames are embedded at once, and however few are left over at the end."""
    card = measure_frames(clip[:frames], fps=24, lpips=random_backbone)
    alone = [random_backbone.embed(frame) for frame in clip[:frames]]
    expected = [random_backbone.distance(one, other) for one, other in pairwise(alone)]
    assert list(card.curves.get("lpips", ())) == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
def test_memory_does_not_grow_with_length(clip):
    """A clip 16 times as long takes no more memory: a few frames are in work, none is kept."""

    def peak(repeats):
        frames = (frame for _ in range(repeats) for frame in clip)
        tracemalloc.start()
        measure_frames(frames, fps=24)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    # How many are in work at once varies; a fifth of each frame, kept, would go over this.
    usual = max(peak(3) for _ in range(6))
    assert peak(48) < 1.5 * usual


@pytest.mark.slow
def test_large_frames_are_measured_at_analysis_size(clip):
    """A frame twice the analysis size gives the same soft numbers as its half."""
    big = [cv2.resize(f, (1920, 1280), interpolation=cv2.INTER_CUBIC) for f in clip[:4]]
    half = [cv2.resize(f, (960, 640), interpolation=cv2.INTER_AREA) for f in big]
    large, small = measure_frames(big, fps=24).metrics, measure_frames(half, fps=24).metrics
    assert large == pytest.approx(small, rel=1e-6)
