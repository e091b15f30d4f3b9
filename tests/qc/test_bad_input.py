"""What studios really drop: each file gives a right answer, or an error by name."""

from __future__ import annotations

import gc
from fractions import Fraction

import av
import cv2
import numpy as np
import psutil
import pytest

from qc.errors import NotAVideo, UnsupportedColour
from qc.faults import Expected
from qc.judge import judge
from qc.measure import measure, measure_frames
from qc.scorecard import Decision, FailureClass
from qc.thresholds import load_thresholds
from qc.video import Video

ORDERED = Expected(frames=17, width=192, height=128, fps=24)


@pytest.fixture(scope="module")
def clip(filmed, moves):
    return filmed("astronaut", moves["pan"])


def tagged(path, clip, *, curve=1, primaries=1, matrix=1, codec="ffv1", weights=None):
    """10-bit limited-range YUV 4:4:4 with these H.273 tags; `weights`: (Kr, Kb) of the matrix."""
    red, blue = weights or (0.2126, 0.0722)
    frames, height, width, _ = clip.shape
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=24)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p10le"
        for index in range(frames):
            rgb = clip[index] / 255.0
            luma = rgb @ [red, 1 - red - blue, blue]
            planes = (
                16 + 219 * luma,
                128 + 112 * (rgb[..., 2] - luma) / (1 - blue),
                128 + 112 * (rgb[..., 0] - luma) / (1 - red),
            )
            frame = av.VideoFrame(width, height, "yuv444p10le")
            for item in (stream.codec_context, frame):
                item.color_trc, item.color_primaries, item.colorspace = curve, primaries, matrix
                item.color_range = 1
            for plane, values in zip(frame.planes, planes, strict=True):
                padded = np.zeros((height, plane.line_size // 2), np.uint16)
                padded[:, :width] = np.rint(values * 4)
                plane.update(padded.tobytes())
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def verdict_on(card):
    return judge(card, thresholds=load_thresholds("default"))


@pytest.mark.parametrize("content", [b"", b"a text\n" * 200, b"\x00\x00\x00\x18ftypmp42" * 9])
def test_no_video_is_no_video(tmp_path, content):
    """An empty file, a text and the beginning of an MP4 are refused by name, with a remedy."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(NotAVideo, match=r"clip\.mp4"):
        measure(path, source=None, expected=ORDERED, lpips=None)


def test_one_frame_is_measured_and_of_the_wrong_length(clip, write_clip, tmp_path):
    """What needs no neighbour is measured, the rest left out, and the order was for 17."""
    path = write_clip(tmp_path / "clip.mkv", clip[:1], codec="ffv1", pix_fmt="gbrp12le")
    card = measure(path, source=None, expected=ORDERED, lpips=None)
    assert card.frames == 1
    assert {"black", "decode_faults"} <= set(card.metrics)
    assert not {"flicker", "frozen", "motion", "ssim_mean", "cut"} & set(card.metrics)
    verdict = verdict_on(card)
    assert (verdict.decision, verdict.failure) == (Decision.RETAKE, FailureClass.WRONG_LENGTH)


def test_no_frame_at_all_is_undecodable(write_clip, tmp_path):
    """A file whose first frame is cut short has a scorecard that says so, and fails by it."""
    noise = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    path = write_clip(tmp_path / "clip.mkv", noise, codec="ffv1", pix_fmt="bgr0")
    path.write_bytes(path.read_bytes()[:2000])
    card = measure(path, source=None, expected=ORDERED, lpips=None)
    assert card.frames == 0
    assert "no frame could be decoded" in card.problems
    assert verdict_on(card).failure is FailureClass.UNDECODABLE


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), [(191, 127), (193, 97), (853, 481)])
def test_odd_sizes_measure_as_their_frames(filmed, moves, write_clip, tmp_path, width, height):
    """Sizes that halve unevenly give the same numbers from a file as from memory."""
    odd = filmed("coffee", moves["pan"], frames=4, width=width, height=height)
    path = write_clip(tmp_path / "clip.mkv", odd, codec="ffv1", pix_fmt="bgr0")
    card = measure(path, source=None, expected=None, lpips=None)
    assert (card.width, card.height, card.problems) == (width, height, ())
    assert card.metrics == pytest.approx(measure_frames(odd, fps=24).metrics, rel=1e-6)


@pytest.mark.slow
def test_a_variable_rate_fails_an_order_for_a_rate(clip, write_clip, tmp_path):
    """Frames that are held for different times are no 24 a second, whatever their mean is."""
    times = list(np.cumsum([0, *([20, 63] * 8)]))
    path = write_clip(tmp_path / "clip.mkv", clip, times=[int(t) for t in times])
    card = measure(path, source=None, expected=ORDERED, lpips=None)
    assert any("variable frame rate" in problem for problem in card.problems)
    assert verdict_on(card).failure is FailureClass.WRONG_LENGTH


@pytest.mark.slow
def test_what_nobody_ordered_is_told_and_not_judged(clip, write_clip, tmp_path):
    """A rate that varies and a single frame are said in words, where no order is broken by them."""
    times = [int(t) for t in np.cumsum([0, *([20, 63] * 8)])]
    varying = write_clip(tmp_path / "varying.mkv", clip, times=times)
    single = write_clip(tmp_path / "single.mkv", clip[:1])
    for path, words in ((varying, "variable frame rate"), (single, "one frame")):
        card = measure(path, source=None, expected=None, lpips=None)
        assert [words in problem for problem in card.problems] == [True]
        assert card.metrics["decode_faults"] == 0
        assert verdict_on(card).decision is Decision.APPROVE


@pytest.mark.slow
def test_alpha_is_left_out_of_every_number(clip, write_clip, tmp_path):
    """A clip with alpha measures as its straight colours do."""
    alpha = np.random.default_rng(1).integers(0, 256, (*clip.shape[:3], 1), dtype=np.uint8)
    with_alpha = np.concatenate([clip, alpha], axis=3)
    path = write_clip(tmp_path / "clip.mkv", with_alpha, codec="ffv1", pix_fmt="bgra")
    card = measure(path, source=None, expected=None, lpips=None)
    assert card.metrics == pytest.approx(measure_frames(clip, fps=24).metrics, rel=1e-6)


@pytest.mark.parametrize(
    ("curve", "words"),
    [(16, r"HDR \(PQ\)"), (18, r"HDR \(HLG\)"), (8, "linear light"), (9, "logarithmic")],
)
@pytest.mark.parametrize(("codec", "suffix"), [("ffv1", "mkv"), ("libx264", "mp4")])
def test_hdr_is_refused_by_name(clip, tmp_path, curve, words, codec, suffix):
    """PQ, HLG, log and linear light are no pictures for an ordinary display, and not guessed at."""
    path = tmp_path / f"clip.{suffix}"
    tagged(path, clip[:3], curve=curve, primaries=9, matrix=9, codec=codec)
    with pytest.raises(UnsupportedColour, match=rf"{words}.*Rec\. 709"):
        measure(path, source=None, expected=None, lpips=None)


@pytest.mark.parametrize("matrix", [8, 14])
def test_a_matrix_that_is_none_is_refused(clip, tmp_path, matrix):
    """YCgCo and ICtCp are not read as if they were Y'CbCr."""
    path = tagged(tmp_path / "clip.mkv", clip[:2], matrix=matrix)
    with pytest.raises(UnsupportedColour, match="colour, which is not measured"):
        measure(path, source=None, expected=None, lpips=None)


def test_wide_colours_with_an_ordinary_curve_are_right(clip, tmp_path):
    """bt2020 in 10 bit becomes RGB by its own matrix, and the scorecard says what was assumed."""
    path = tmp_path / "clip.mkv"
    tagged(path, clip[:4], curve=14, primaries=9, matrix=9, weights=(0.2627, 0.0593))
    with Video(path) as video:
        frames = list(video.frames())
    assert np.abs(np.stack(frames).astype(int) - clip[:4]).max() <= 1
    card = measure(path, source=None, expected=None, lpips=None)
    assert "bt2020 (bt2020 primaries, taken as they are)" in card.versions["decoder"]


def test_a_size_that_changes_midway_is_told(clip, write_clip, tmp_path):
    """Two streams pasted together decode to the end, measured at the first one's size."""
    small = np.stack([cv2.resize(frame, (96, 64)) for frame in clip[:5]])
    path = tmp_path / "clip.h264"
    parts = [write_clip(tmp_path / f"{at}.h264", part) for at, part in enumerate((clip[:5], small))]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    card = measure(path, source=None, expected=None, lpips=None)
    assert card.frames == 10
    assert "frame 5 is 96x64 in a clip of 192x128" in card.problems
    assert verdict_on(card).failure is FailureClass.UNDECODABLE


@pytest.mark.slow
@pytest.mark.timeout(1800)  # 40 s of one core; other work may run beside it
def test_ten_minutes_take_no_more_memory_than_one(write_clip, moves, filmed, tmp_path):
    """7,200 frames from a file: from the first minute to the last less than 40 MB is added."""
    picture = filmed("coffee", moves["pan"], frames=60, width=96, height=64)
    there_and_back = np.concatenate([picture, picture[::-1]])
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(12), options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for index in range(7_200):
            frame = av.VideoFrame.from_ndarray(there_and_back[index % 120], format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    resident: dict[int, int] = {}

    def watch(done, announced):
        if done in {720, 7_200}:
            gc.collect()
            resident[done] = psutil.Process().memory_info().rss

    card = measure(path, source=None, expected=None, lpips=None, tell=watch)
    assert card.frames == 7_200
    assert len(card.curves["luma"]) == 7_200
    assert (resident[7_200] - resident[720]) / 2**20 < 40
