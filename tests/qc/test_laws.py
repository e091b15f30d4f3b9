"""Laws of the motion-compensated metrics."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from qc import dropped, frozen
from qc.frame import prepare
from qc.measure import measure_frames
from qc.thresholds import load_thresholds

pytestmark = pytest.mark.slow

LIMITS = load_thresholds("default")
REPEATS = LIMITS["duplicate_ratio"].warn
"""Steps this short against those around them are warned of."""
DRIFTS, STAIRS = LIMITS["identity_drift"].fail, LIMITS["banding"].fail
"""What fails a clip."""


def measured(clip):
    return measure_frames(clip, fps=24).metrics


@pytest.fixture(scope="module")
def clip(filmed, moves):
    return filmed("chelsea", moves["pan"])


def test_a_still_has_no_flicker_no_boiling_and_no_motion(clip):
    """On a still every compensated metric is 0 and everything is frozen."""
    metrics = measured(np.repeat(clip[:1], 6, axis=0))
    for name in ("flicker", "flicker_local", "boiling", "motion", "cut", "luma_dip", "luma_flash"):
        assert metrics[name] == 0.0, name
    assert metrics["frozen"] == 1.0
    assert metrics["ssim_mean"] == 1.0
    assert "duplicate_ratio" not in metrics


def test_flicker_rises_with_brightness_modulation(clip):
    """Stronger modulation, more flicker, and about as much as was put in."""
    signs = np.random.default_rng(4).standard_normal(len(clip))[:, None, None, None]
    values = []
    for strength in (0.0, 0.005, 0.01, 0.02, 0.04):
        modulated = np.rint(clip * (1 + strength * signs)).clip(0, 255).astype(np.uint8)
        values.append(measured(modulated)["flicker"])
    assert values == sorted(values)
    assert values[0] < 0.001
    assert values[-1] == pytest.approx(0.04, rel=0.5)


def test_boiling_rises_with_crawling_texture(clip):
    """The farther texture is pushed about, anew in every frame, the more boiling."""
    height, width = clip.shape[1:3]
    grid = np.dstack(np.meshgrid(np.arange(width), np.arange(height))).astype(np.float32)
    values = []
    for strength in (0.0, 0.5, 1.0, 2.0):
        rng = np.random.default_rng(5)
        coarse = rng.standard_normal((len(clip), height // 4, width // 4, 2)).astype(np.float32)
        fields = [cv2.resize(c, (width, height), interpolation=cv2.INTER_CUBIC) for c in coarse]
        crawling = [
            cv2.remap(frame, grid + strength * field, None, cv2.INTER_LINEAR)
            for frame, field in zip(clip, fields, strict=True)
        ]
        values.append(measured(np.stack(crawling))["boiling"])
    assert values == sorted(values)
    assert values[0] < 0.1
    assert values[-1] > 0.5


def test_grain_is_no_boiling(clip):
    """Noise of eight levels that is new in every frame and alike everywhere is grain."""
    noise = 8 * np.random.default_rng(5).standard_normal((*clip.shape[:3], 1))
    assert measured(np.rint(clip + noise).clip(0, 255).astype(np.uint8))["boiling"] < 0.24


def test_a_fade_is_no_change_of_colour(clip):
    """Half the light leaves colours what they are; a cast of a fifth does not."""
    gains = np.linspace(1, 0.5, len(clip))[:, None, None, None]
    faded = measured(np.rint(clip * gains).astype(np.uint8))
    assert faded["colour_drift"] < 4
    assert faded["saturation_shift"] < 0.16
    cast = np.linspace(1, (0.8, 1.0, 1.2), len(clip))[:, None, None, :]
    assert measured(np.rint(clip * cast).clip(0, 255).astype(np.uint8))["colour_drift"] > 5


def test_a_violent_shake_repeats_no_frame(filmed, moves):
    """A camera thrown about at random has short steps between long ones, and no duplicates."""
    long = filmed("chelsea", moves["fast pan"], frames=65)
    steps = np.random.default_rng(3).integers(0, 65, 17)
    assert measured(long[steps])["duplicate_ratio"] > REPEATS


@pytest.mark.parametrize("missing", [1, 2, 4])
def test_missing_frames_are_a_long_step(filmed, moves, missing):
    """One missing frame makes a step of two, and so on; even motion has steps of one."""
    long = filmed("coffee", moves["fast pan"], frames=33)
    assert measured(long)["dropped"] == pytest.approx(1, abs=0.15)
    gap = np.delete(long, slice(16, 16 + missing), axis=0)
    assert measured(gap)["dropped"] == pytest.approx(1 + missing, rel=0.2)


def test_a_repeat_is_no_gap(clip):
    """The long step that makes up for a repeated frame is the repeat's, not a gap."""
    repeated = clip.copy()
    repeated[9] = repeated[8]
    assert measured(repeated)["dropped"] < 1.35


def test_a_jump_is_dropped_frames_where_a_hand_turns_back():
    """Beside a swaying camera's turn, missing frames are told by the length of the jump."""
    sway = [0.9, 0.7, 0.4, 0.3, 0.3, 0.2, 0.25, 0.35, 0.4, 0.3, 0.3, 0.35, 0.36, 0.5, 0.3, 0.7, 1.1]
    assert dropped.longest(sway) < 1.2
    assert dropped.longest([*sway[:9], 1.45, *sway[9:]]) > 1.65
    assert dropped.longest([*sway[:9], 0.0, 1.45, *sway[9:]]) < 1.2


@pytest.mark.parametrize("after", ["mirrored", "darker", "pushed"])
def test_a_cut_is_what_fits_nowhere(clip, after):
    """The same picture mirrored from the middle on is a cut; at half the light, or pushed by a
    tenth of its width, it is none."""
    half = len(clip) // 2
    rest = {
        "mirrored": clip[half:, :, ::-1],
        "darker": clip[half:] // 2,
        "pushed": np.roll(clip[half:], clip.shape[2] // 10, axis=2),
    }[after]
    found = measured(np.concatenate([clip[:half], rest]))["cut"]
    assert found > 0.35 if after == "mirrored" else found < 0.2


def test_wobble_rises_with_swaying_ground(filmed, moves):
    """A coarse field that sways in time is wobble, and the more the stronger; a pan is none."""
    clip = filmed("astronaut", moves["pan"])
    height, width = clip.shape[1:3]
    grid = np.dstack(np.meshgrid(np.arange(width), np.arange(height))).astype(np.float32)
    coarse = np.random.default_rng(6).standard_normal((len(clip), 4, 6, 2)).astype(np.float32)
    fields = [cv2.resize(c, (width, height), interpolation=cv2.INTER_CUBIC) for c in coarse]
    values = []
    for strength in (0.0, 0.7, 1.4):
        swaying = [
            cv2.remap(f, grid + strength * field, None, cv2.INTER_LINEAR)
            for f, field in zip(clip, fields, strict=True)
        ]
        values.append(measured(np.stack(swaying))["wobble"])
    assert values == sorted(values)
    assert values[-1] > 4 * values[0]


@pytest.mark.parametrize("step", [8, 16])
def test_steps_in_a_ramp_are_banding(step):
    """A smooth ramp in wide steps is banding; as the source's eight bits make it, it is none."""
    x, y = np.meshgrid(np.linspace(0, 1, 192), np.linspace(0, 1, 128))
    ramp = 90 + 60 * x + 20 * y
    smooth = np.repeat(np.rint(np.dstack([ramp] * 3))[None], 9, axis=0).astype(np.uint8)
    stepped = (smooth // step * step).astype(np.uint8)
    source = smooth[0]
    assert measure_frames(smooth, fps=24, source=source).metrics["banding"] == pytest.approx(0)
    assert measure_frames(stepped, fps=24, source=source).metrics["banding"] > STAIRS


def test_a_part_that_becomes_another_is_identity_drift(clip):
    """A third of the picture that slowly turns into something else stands out; a pan does not."""
    turned = clip.astype(np.float32)
    share = np.linspace(0, 1, len(clip))[:, None, None, None]
    part = (slice(None), slice(30, 100), slice(60, 130))
    turned[part] += share * (turned[part][:, ::-1, ::-1] - turned[part])
    drifted = measured(np.rint(turned).astype(np.uint8))["identity_drift"]
    still = measured(clip)["identity_drift"]
    assert still < 0.1 * DRIFTS
    assert drifted > max(DRIFTS, still + 0.09)


def test_the_last_points_of_a_fast_pan_do_not_tell_its_colours(filmed, moves):
    """Colours count while three tenths of the points are followed: what grows behind that, where
    a pan has left its first frame, is not judged; the same growth before it is."""
    clip = filmed("coffee", replace(moves["pan"], x=0.95))
    grey = clip.mean(axis=3, keepdims=True)
    stronger = np.rint((2.0 * clip - grey).clip(0, 255)).astype(np.uint8)
    for frames, judged in ((4, False), (13, True)):
        joined = np.concatenate([clip[:-frames], stronger[-frames:]])
        assert (measured(joined)["saturation_shift"] > 0.11) == judged


@pytest.mark.parametrize(("levels", "still"), [(1, False), (0.5, True)])
def test_a_part_that_moves_a_little_is_no_frozen_picture(levels, still):
    """Six of 240 parts that change by a level keep a dark picture from being frozen; by half a
    level, as what a codec adds to a still one, they do not."""
    calm = np.full((120, 200, 3), 40, np.uint8)
    moved = calm.copy()
    moved[:10, :60][:: round(1 / levels)] += 1
    frames = (prepare(frame, index=at) for at, frame in enumerate((calm, moved)))
    assert (frozen.compute(*frames) <= frozen.STILL) == still


def test_a_slow_fade_is_no_flicker(clip):
    """Brightness that changes steadily is exposure: flicker stays far from its limit."""
    gains = np.linspace(1, 0.8, len(clip))[:, None, None, None]
    faded = np.rint(clip * gains).astype(np.uint8)
    assert measured(faded)["flicker"] < 0.002


def test_compensation_takes_motion_out(filmed, moves):
    """A fast pan lowers neighbour SSIM, but not what the compensated metrics say."""
    slow, fast = (measured(filmed("coffee", moves[name])) for name in ("zoom in", "fast pan"))
    assert fast["ssim_mean"] < slow["ssim_mean"] - 0.1
    assert fast["motion"] > 2 * slow["motion"]
    assert fast["flicker"] < 0.002
    assert fast["boiling"] < 0.36


def test_motion_is_the_share_of_the_diagonal(filmed, moves):
    """A pan by 15 % of the width in 16 steps moves each pixel by that much."""
    metrics = measured(filmed("coffee", moves["pan"]))
    expected = 0.15 * 192 / 16 / np.hypot(192, 128)
    assert metrics["motion"] == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize("picture", ["chelsea", "coffee", "astronaut"])
@pytest.mark.parametrize("move", ["pan", "zoom in", "zoom out"])
def test_moves_are_no_softening(filmed, moves, picture, move):
    """Neither new content nor a change of scale counts as lost detail."""
    assert abs(measured(filmed(picture, moves[move]))["blur"]) < 0.25


def test_softening_rises_with_blur(filmed, moves):
    """The blurrier the end, the higher the number, zoom or no zoom."""
    clip = filmed("coffee", moves["zoom out"])
    values = []
    for sigma in (0.0, 0.4, 0.8, 1.6):
        soft = [
            cv2.GaussianBlur(f, (0, 0), 0.01 + sigma * i / (len(clip) - 1))
            for i, f in enumerate(clip)
        ]
        values.append(measured(np.stack(soft))["blur"])
    assert values == sorted(values)
    assert values[-1] > 1


def test_a_lasting_change_of_brightness_is_no_dip(clip):
    """What goes dark and stays dark is another failure; a dip comes back."""
    darker = clip.copy()
    darker[8:] = darker[8:] // 2
    assert measured(darker)["luma_dip"] < 0.05
    darker[11:] = clip[11:]
    assert measured(darker)["luma_dip"] == pytest.approx(0.5, abs=0.05)


def test_a_flash_is_seen(clip):
    """A frame with twice the light is a flash of a half."""
    flashed = clip // 2
    flashed[10] = clip[10]
    assert measured(flashed)["luma_flash"] == pytest.approx(0.5, abs=0.05)


def test_a_fade_is_no_softening(clip):
    """Half the light is half the contrast, and no detail lost."""
    gains = np.linspace(1, 0.5, len(clip))[:, None, None, None]
    assert abs(measured(np.rint(clip * gains).astype(np.uint8))["blur"]) < 0.15


def test_a_move_that_eases_repeats_no_frame(filmed, moves):
    """Steps that grow from nothing and end in nothing are no duplicates; a repeat among them is."""
    long = filmed("chelsea", moves["fast pan"], frames=65)
    t = np.linspace(0, 1, 17)
    eased = long[np.rint(64 * t**2 * (3 - 2 * t)).astype(int)]
    assert measured(eased)["duplicate_ratio"] > REPEATS
    eased[9] = eased[8]
    assert measured(eased)["duplicate_ratio"] < 0.05


@pytest.mark.parametrize("at", [0, 1, 8, 14, 15])
def test_a_repeat_is_found_wherever_it_is(clip, at):
    """Also the first and the last step."""
    repeated = clip.copy()
    repeated[at + 1] = repeated[at]
    assert measured(repeated)["duplicate_ratio"] < 0.05


def test_a_faint_tint_on_a_grey_picture_is_not_seen():
    """Chroma 2 on a black and white picture, below what an eye sees, stays below warnings."""
    import numpy as np

    from qc import saturation

    grey = np.zeros((16, 3), np.float32)
    tints = [np.array([50, chroma, 0], np.float32) + grey for chroma in (2.0, 12.0)]
    faint, strong = (saturation.compute(grey, tint) for tint in tints)
    assert 0 < faint < 0.08
    assert strong > 0.2
