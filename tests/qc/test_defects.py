"""Clean moving photographs pass; each defect fails, and with its own class."""

from __future__ import annotations

import numpy as np
import pytest

from qc.faults import Expected
from qc.judge import judge
from qc.measure import measure, measure_frames
from qc.scorecard import Decision, FailureClass, Level
from qc.thresholds import load_thresholds

pytestmark = pytest.mark.slow

CLEAN = [
    ("chelsea", "pan"),
    ("chelsea", "zoom in"),
    ("coffee", "fast pan"),
    ("coffee", "zoom out"),
    ("astronaut", "tilt"),
    ("astronaut", "roll"),
]
FILES = {
    "x264": ("clip.mp4", {"codec": "libx264", "options": {"crf": "18"}}),
    "ffv1": ("clip.mkv", {"codec": "ffv1", "pix_fmt": "gbrp12le"}),
}
DEFECTS = [
    "global flicker",
    "local flicker",
    "boiling",
    "frozen",
    "black frame",
    "dimmed",
    "cut",
    "oversaturated",
    "softening",
    "collapsing",
    "duplicated",
    "foreign start",
]

ALIKE = {FailureClass.BOILING: {FailureClass.BOILING, FailureClass.WOBBLE}}
"""Texture that crawls far makes the ground sway as well: which is worse is a matter of degree."""


def verdict_on(card, **options):
    return judge(card, thresholds=load_thresholds("default"), **options)


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize(("picture", "move"), CLEAN)
def test_clean_clips_pass_every_default_threshold(
    filmed, moves, write_clip, tmp_path, picture, move, kind
):
    """A moving photograph, encoded as for review or losslessly, gets no finding beyond PASS."""
    clip = filmed(picture, moves[move])
    name, options = FILES[kind]
    path = write_clip(tmp_path / name, clip, **options)
    frames, height, width, _ = clip.shape
    expected = Expected(frames=frames, width=width, height=height, fps=24)
    card = measure(path, source=None, expected=expected, lpips=None)
    verdict = verdict_on(card)
    assert [f.words for f in verdict.findings if f.level is not Level.PASS] == []
    assert verdict.decision is Decision.APPROVE
    assert card.problems == ()


def test_every_defect_is_tried(defects):
    """The list of this file is the list of the generators."""
    assert set(DEFECTS) == set(defects)


@pytest.mark.parametrize(("picture", "move"), [("chelsea", "pan"), ("coffee", "zoom in")])
@pytest.mark.parametrize("defect", DEFECTS)
def test_each_defect_fails_with_its_class(filmed, moves, defects, picture, move, defect):
    """Frames with one defect are sent back, and the worst failure is that defect's."""
    clip = filmed(picture, moves[move])
    spoil, failure = defects[defect]
    verdict = verdict_on(measure_frames(spoil(clip, 1), fps=24, source=clip[0]))
    assert verdict.decision is Decision.RETAKE
    assert verdict.failure is verdict.findings[0].failure
    assert verdict.failure in ALIKE.get(failure, {failure})
    assert failure in {f.failure for f in verdict.findings if f.level is Level.FAIL}


@pytest.mark.parametrize("defect", [name for name in DEFECTS if name != "foreign start"])
def test_each_defect_survives_the_codec(filmed, moves, defects, write_clip, tmp_path, defect):
    """The same holds for a review file: x264 at crf 18 hides none of them."""
    spoil, failure = defects[defect]
    clip = spoil(filmed("astronaut", moves["pan"]), 2)
    path = write_clip(tmp_path / "clip.mp4", clip, options={"crf": "18"})
    verdict = verdict_on(measure(path, source=None, expected=None, lpips=None))
    assert verdict.failure in ALIKE.get(failure, {failure})
    assert failure in {f.failure for f in verdict.findings if f.level is Level.FAIL}


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        (Expected(frames=25), "17 frames, 25 expected"),
        (Expected(width=320, height=128), "192x128, 320x128 expected"),
        (Expected(fps=25), "24.000 frames a second, 25 expected"),
    ],
)
def test_what_was_not_ordered_is_wrong_length(filmed, moves, expected, words):
    """Frames, size and rate are held against the order; the problem says both numbers."""
    card = measure_frames(filmed("chelsea", moves["pan"]), fps=24, expected=expected)
    assert card.problems == (words,)
    assert verdict_on(card).failure is FailureClass.WRONG_LENGTH


def test_a_truncated_file_is_undecodable(filmed, moves, write_clip, tmp_path):
    """Half a file is measured as far as it goes, and fails for what it is."""
    clip = filmed("chelsea", moves["pan"])
    path = write_clip(tmp_path / "clip.mkv", clip, codec="ffv1", pix_fmt="gbrp12le")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    card = measure(path, source=None, expected=Expected(frames=17), lpips=None)
    assert 3 < card.frames < 14
    assert verdict_on(card).failure is FailureClass.UNDECODABLE


def test_nan_in_float_frames_is_seen(filmed, moves):
    """Float frames are measured as their 8-bit rounding; a NaN in them is its own failure."""
    clip = filmed("chelsea", moves["pan"])
    floats = clip.astype(np.float32) / 255
    metrics = measure_frames(clip, fps=24).metrics
    assert measure_frames(floats, fps=24).metrics == pytest.approx(metrics, rel=1e-9)
    floats[3, :8, :8] = np.nan
    assert verdict_on(measure_frames(floats, fps=24)).failure is FailureClass.NAN


def test_a_static_shot_may_stand_still(filmed, moves):
    """Where no motion was asked for, stillness warns and does not fail."""
    still = np.repeat(filmed("chelsea", moves["pan"])[:1], 12, axis=0)
    card = measure_frames(still, fps=24)
    assert verdict_on(card).failure is FailureClass.FROZEN
    verdict = verdict_on(card, expects_motion=False)
    assert verdict.decision is Decision.APPROVE
    assert [f.metric for f in verdict.findings if f.level is Level.WARN] == ["frozen"]
