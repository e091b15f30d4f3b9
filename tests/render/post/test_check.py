"""Checks of the review file: each one can fail, and says what it saw."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from render.errors import ClipUnreadable, DeliveryFlawed
from render.post.check import Witness, clipped, inspect, top_boxes
from render.post.encode import write_review
from render.video import BT709_TV, ColourTags, encode_video
from render.yuv import to_yuv420

Make = Callable[..., np.ndarray]
RATE = Fraction(24000, 1001)


def _witness(frames: Iterable[np.ndarray]) -> Witness:
    witness = Witness()
    for frame in frames:
        witness.see(frame, frame)
    return witness


def _inspect(path: Path, shot: np.ndarray, **changes: object) -> tuple[str, ...]:
    count, height, width = shot.shape[:3]
    wanted = {"frames": count, "width": width, "height": height, "rate": RATE}
    wanted["witness"] = _witness(shot)
    return inspect(path, **{**wanted, **changes})  # type: ignore[arg-type]


def _encode(
    planes: Iterable[np.ndarray],
    path: Path,
    *,
    tags: ColourTags = BT709_TV,
    movflags: str = "+faststart",
) -> None:
    encode_video(
        (av.VideoFrame.from_ndarray(p, format="yuv420p") for p in planes),
        path,
        container="mp4",
        codec="libx264",
        pix_fmt="yuv420p",
        rate=RATE,
        tags=tags,
        codec_options={"crf": "18"},
        container_options={"movflags": movflags} if movflags else {},
    )


@pytest.fixture
def good(tmp_path: Path, moving: Make) -> tuple[Path, np.ndarray]:
    """A review file as it should be, and its frames."""
    frames = moving()
    write_review(frames, tmp_path / "a.mp4", rate=RATE, crf=18)
    return tmp_path / "a.mp4", frames


def test_a_good_file_passes_in_words(good: tuple[Path, np.ndarray]) -> None:
    """All eight checks are told, each with what was seen."""
    path, frames = good
    words = _inspect(path, frames)
    assert len(words) == 8
    assert words[0] == "decodes to 9 frames, the take has 9"
    assert words[1] == "size 64x48, planned 64x48"
    assert words[2] == "rate 24000/1001, of the take 24000/1001"
    assert words[3] == "tags: matrix bt709, primaries bt709, transfer bt709, range tv"
    assert words[4].startswith("legal range: 100.00% of luma within 16..235, 0.00%")
    assert words[7] == "faststart: index before pictures"


def test_all_flaws_are_told_at_once(good: tuple[Path, np.ndarray]) -> None:
    """Wrong length, size and rate are told together."""
    path, frames = good
    with pytest.raises(DeliveryFlawed) as caught:
        _inspect(path, frames, frames=10, width=66, rate=Fraction(24))
    for words in ("9 frames, the take has 10", "64x48, planned 66x48", "of the take 24"):
        assert words in str(caught.value)


def test_a_lost_frame_is_noticed(tmp_path: Path, moving: Make) -> None:
    """A file that lacks one frame in the middle fails."""
    frames = moving()
    write_review(np.delete(frames, 4, axis=0), tmp_path / "a.mp4", rate=RATE, crf=18)
    with pytest.raises(DeliveryFlawed, match="decodes to 8 frames, the take has 9"):
        _inspect(tmp_path / "a.mp4", frames)


def test_swapped_frames_are_noticed(tmp_path: Path) -> None:
    """The right number of frames in the wrong order fails."""
    frames = np.stack([np.full((32, 32, 3), v, np.float32) for v in (0.2, 0.4, 0.6, 0.8)])
    write_review(frames[[0, 2, 1, 3]], tmp_path / "a.mp4", rate=RATE, crf=18)
    with pytest.raises(DeliveryFlawed, match=r"frame [12] is .* codes off"):
        _inspect(tmp_path / "a.mp4", frames)


def test_a_wrong_matrix_is_noticed(tmp_path: Path) -> None:
    """Saturated colours by the BT.601 matrix, tagged bt709, fail."""
    rgb = np.float32([0.9, 0.1, 0.1])
    frames = np.broadcast_to(rgb, (3, 32, 32, 3))
    y = float(rgb @ [0.299, 0.587, 0.114])
    codes = [16 + 219 * y, 128 + 224 * (0.1 - y) / 1.772, 128 + 224 * (0.9 - y) / 1.402]
    plane = np.repeat(np.rint(codes), [1024, 256, 256]).astype(np.uint8).reshape(48, 32)
    _encode([plane] * 3, tmp_path / "a.mp4")
    with pytest.raises(DeliveryFlawed, match="codes off the graded picture"):
        _inspect(tmp_path / "a.mp4", frames)


def test_missing_tags_are_noticed(tmp_path: Path, moving: Make) -> None:
    """An untagged file fails: many players would read it as BT.601."""
    unsaid = ColourTags(matrix=2, primaries=2, transfer=2, full_range=None)
    _encode(map(to_yuv420, moving()), tmp_path / "a.mp4", tags=unsaid)
    with pytest.raises(DeliveryFlawed, match="tags: matrix unspecified"):
        _inspect(tmp_path / "a.mp4", moving())


def test_full_range_codes_are_noticed(tmp_path: Path) -> None:
    """Full-range codes under a tv tag fail on a picture with blacks and whites."""
    ramp = np.linspace(0, 1, 64, dtype=np.float32)[None, :, None]
    frames = np.broadcast_to(ramp, (3, 32, 64, 3))
    plane = np.full((48, 64), 128, np.uint8)
    plane[:32] = np.rint(255 * ramp[..., 0]).astype(np.uint8)
    _encode([plane] * 3, tmp_path / "a.mp4")
    with pytest.raises(DeliveryFlawed, match=r"legal range: .* outside 5\.\.246"):
        _inspect(tmp_path / "a.mp4", frames)


def test_an_index_at_the_end_is_noticed(tmp_path: Path, moving: Make) -> None:
    """Without faststart the file fails."""
    _encode(map(to_yuv420, moving()), tmp_path / "a.mp4", movflags="")
    assert top_boxes(tmp_path / "a.mp4").index("mdat") < top_boxes(tmp_path / "a.mp4").index("moov")
    with pytest.raises(DeliveryFlawed, match="faststart: index after"):
        _inspect(tmp_path / "a.mp4", moving())


def test_a_truncated_file_is_unreadable(good: tuple[Path, np.ndarray]) -> None:
    """A file that lost its end cannot pass."""
    path, frames = good
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises((ClipUnreadable, DeliveryFlawed)):
        _inspect(path, frames)


@pytest.mark.parametrize("crf", [0, 35, 51])
def test_coarse_encodes_pass(tmp_path: Path, moving: Make, crf: int) -> None:
    """The mean colour of a frame survives any crf: the tolerance is for faults, not for quality."""
    write_review(moving(), tmp_path / "a.mp4", rate=RATE, crf=crf)
    assert len(_inspect(tmp_path / "a.mp4", moving())) == 8


def test_clipping_growth_is_said_not_refused(tmp_path: Path) -> None:
    """A grade that clips more than 2 % of the pixels is named, and delivered all the same."""
    before = np.full((3, 40, 40, 3), 0.5, np.float32)
    after = before.copy()
    after[:, :4, :40] = 1.0
    write_review(after, tmp_path / "a.mp4", rate=RATE, crf=18)
    witness = Witness()
    for pair in zip(before, after, strict=True):
        witness.see(*pair)
    words = _inspect(tmp_path / "a.mp4", after, witness=witness)
    assert "clipping grew by 10.0%: look at the grade" in words


def test_clipped_is_what_eight_bit_shows() -> None:
    """A pixel counts once, when any channel would be shown as 0 or 255."""
    frame = np.full((2, 2, 3), 0.5, np.float32)
    assert clipped(frame) == 0
    frame[0, 0] = [1.0, 0.0, 0.5]
    frame[1, 1, 2] = 0.001
    assert clipped(frame) == 0.5
    frame[:] = [1 / 255, 0.5, 254 / 255]
    assert clipped(frame) == 0
