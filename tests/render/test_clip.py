"""Clips: what goes in comes out, whole or not at all."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from render.clip import STEPS, clip_info, encode_clip, read_clip, write_clip
from render.errors import ClipUnreadable, DiskFull, NonFinite
from render.video import RGB_FULL, disk_full_named, frame_rate


class _Watched(np.ndarray):
    """An array that can be watched by a weak reference and is hashed by identity."""

    __hash__ = object.__hash__  # type: ignore[assignment]


def _random(frames: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((frames, height, width, 3), dtype=np.float32)


@pytest.mark.parametrize(("height", "width"), [(64, 96), (23, 37), (1, 1), (17, 2), (3, 255)])
def test_round_trip_is_exact_to_the_step(tmp_path: Path, height: int, width: int) -> None:
    """Every code that is written is read back, bit by bit, at even, odd and tiny sizes."""
    frames = _random(3, height, width)
    write_clip([frames], tmp_path / "a.mkv", fps=16)
    read = np.stack(list(read_clip(tmp_path / "a.mkv")))
    assert read.dtype == np.float32
    np.testing.assert_array_equal(np.rint(read * STEPS), np.rint(frames * np.float32(STEPS)))
    assert np.abs(read - frames).max() <= 0.5 / STEPS + 1e-7


def test_every_code_survives(tmp_path: Path) -> None:
    """All 4096 codes of all three channels come back as they were, each in its own channel."""
    codes = np.arange(STEPS + 1, dtype=np.float32).reshape(64, 64) / STEPS
    frame = np.stack([codes, codes[::-1], codes.T], axis=-1)
    write_clip([frame[None]], tmp_path / "a.mkv", fps=16)
    np.testing.assert_array_equal(next(read_clip(tmp_path / "a.mkv")), frame)


def test_reading_and_writing_again_changes_nothing(tmp_path: Path) -> None:
    """A clip written from a clip that was read is the same file, byte for byte."""
    write_clip([_random(4, 30, 50)], tmp_path / "a.mkv", fps=23.976)
    write_clip((f[None] for f in read_clip(tmp_path / "a.mkv")), tmp_path / "b.mkv", fps=23.976)
    assert (tmp_path / "a.mkv").read_bytes() == (tmp_path / "b.mkv").read_bytes()


def test_eight_bit_pictures_are_kept_exactly(tmp_path: Path) -> None:
    """All 256 levels of an 8-bit source can be told apart and come back exactly."""
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    write_clip([levels.astype(np.float32) / 255], tmp_path / "a.mkv", fps=16)
    back = np.rint(next(read_clip(tmp_path / "a.mkv")) * 255).astype(np.uint8)
    np.testing.assert_array_equal(back, levels[0])


@settings(deadline=None, max_examples=8)
@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_chunking_does_not_show(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    """The file does not depend on how the frames are cut into chunks."""
    folder = tmp_path_factory.mktemp("chunks")
    frames = _random(sum(sizes), 8, 10)
    chunks = np.split(frames, np.cumsum(sizes)[:-1])
    info = write_clip(chunks, folder / "cut.mkv", fps=16)
    write_clip([frames], folder / "whole.mkv", fps=16)
    assert info.frames == len(frames)
    assert (folder / "cut.mkv").read_bytes() == (folder / "whole.mkv").read_bytes()


def test_values_outside_are_clipped(tmp_path: Path) -> None:
    """Below 0 becomes 0, above 1 becomes 1."""
    frame = np.array([[-0.5, 0.0, 0.5, 1.0, 7.0]], np.float32)[..., None].repeat(3, axis=-1)
    write_clip([frame[None]], tmp_path / "a.mkv", fps=16)
    read = next(read_clip(tmp_path / "a.mkv"))[0, :, 0]
    np.testing.assert_allclose(read, [0, 0, 0.5, 1, 1], atol=0.5 / STEPS)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_frame_that_is_not_finite_is_named(tmp_path: Path, value: float) -> None:
    """NaN or infinity is refused with the number of the frame, and nothing is left behind."""
    frames = _random(5, 8, 8)
    frames[3, 1, 2, 0] = value
    with pytest.raises(NonFinite, match=r"frame 3 .* 1 of 192 values"):
        write_clip([frames[:2], frames[2:]], tmp_path / "a.mkv", fps=16)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_clip(tmp_path: Path) -> None:
    """A clip that was there stays as it was when writing the next one fails."""
    path = tmp_path / "a.mkv"
    write_clip([_random(2, 8, 8)], path, fps=16)
    before = path.read_bytes()
    with pytest.raises(NonFinite):
        write_clip([np.full((1, 8, 8, 3), np.nan, np.float32)], path, fps=16)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.mkv"]


def test_frames_of_two_sizes_are_refused(tmp_path: Path) -> None:
    """A clip has one size; the frame that differs is named."""
    with pytest.raises(ValueError, match="frame 2 is"):
        write_clip([_random(2, 8, 8), _random(1, 8, 9)], tmp_path / "a.mkv", fps=16)


@pytest.mark.parametrize("bad", [np.zeros((8, 8, 3), np.float32), np.zeros((1, 8, 8, 3), np.uint8)])
def test_other_shapes_and_types_are_refused(tmp_path: Path, bad: np.ndarray) -> None:
    """Only float chunks of (T, H, W, 3) are taken: 8-bit codes would be read as white."""
    with pytest.raises(ValueError, match=r"give float32 \(T, H, W, 3\)"):
        write_clip([bad], tmp_path / "a.mkv", fps=16)


def test_no_frames_are_refused(tmp_path: Path) -> None:
    """A clip without frames is not written."""
    with pytest.raises(ValueError, match="no frames"):
        write_clip([], tmp_path / "a.mkv", fps=16)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fps", "rate"),
    [
        (23.976, Fraction(24000, 1001)),
        (23.98, Fraction(24000, 1001)),
        (24000 / 1001, Fraction(24000, 1001)),
        (29.97, Fraction(30000, 1001)),
        (59.94, Fraction(60000, 1001)),
        (24, Fraction(24)),
        (16.0, Fraction(16)),
        (12.5, Fraction(25, 2)),
        (15.7, Fraction(157, 10)),
    ],
)
def test_rate_is_exact(tmp_path: Path, fps: float, rate: Fraction) -> None:
    """The rate a person writes is the exact fraction in the file."""
    assert frame_rate(fps) == rate
    written = write_clip([_random(7, 8, 8)], tmp_path / "a.mkv", fps=fps)
    read = clip_info(tmp_path / "a.mkv")
    assert read.rate == rate
    assert read == written
    assert read.duration == pytest.approx(float(7 / rate))


@pytest.mark.parametrize("fps", [0, -24, float("nan"), 100_000])
def test_impossible_rates_are_refused(fps: float) -> None:
    """A rate that no file can have is refused."""
    with pytest.raises(ValueError, match="frames a second"):
        frame_rate(fps)


def test_info_tells_what_is_there(tmp_path: Path) -> None:
    """Frames, size, codec, format and tags are those of the file."""
    write_clip([_random(5, 23, 37)], tmp_path / "a.mkv", fps=16)
    info = clip_info(tmp_path / "a.mkv")
    assert (info.frames, info.width, info.height, info.fps) == (5, 37, 23, 16.0)
    assert (info.codec, info.pix_fmt, info.tags) == ("ffv1", "gbrp12le", RGB_FULL)
    assert str(info.tags) == "matrix rgb, primaries bt709, transfer bt709, range pc"


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_cut_clip_is_noticed(tmp_path: Path, share: float) -> None:
    """A file that ends too early is unreadable, though its first frames could be decoded."""
    path = tmp_path / "a.mkv"
    write_clip([_random(6, 40, 40)], path, fps=16)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ClipUnreadable, match=r"a\.mkv"):
        clip_info(path)


def test_a_damaged_frame_is_noticed(tmp_path: Path) -> None:
    """Flipped bits in a slice raise, though the decoder would paper over them."""
    path = tmp_path / "a.mkv"
    write_clip([_random(6, 40, 40)], path, fps=16)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    for _ in range(2):
        with pytest.raises(ClipUnreadable, match="CRC mismatch"):
            list(read_clip(path))


@pytest.mark.parametrize("content", [None, b"", b"not a video at all" * 50])
def test_what_is_no_clip_is_named(tmp_path: Path, content: bytes | None) -> None:
    """A missing, an empty and a foreign file are unreadable, by name."""
    path = tmp_path / "a.mkv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ClipUnreadable, match=r"a\.mkv: .+; render the take again"):
        next(read_clip(path))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_a_machine_failure(tmp_path: Path) -> None:
    """The kernel's ENOSPC, met while encoding, surfaces as DiskFull that names the clip."""
    frames = _random(8, 64, 64)
    with pytest.raises(DiskFull, match="no space left"), disk_full_named(tmp_path / "a.mkv"):
        encode_clip(iter(frames), Path("/dev/full"), rate=Fraction(16))


def test_frames_are_streamed(tmp_path: Path) -> None:
    """At most two chunks are alive at any time, however long the clip is."""
    alive: weakref.WeakSet[np.ndarray] = weakref.WeakSet()
    most = 0

    def chunks() -> Iterator[np.ndarray]:
        nonlocal most
        for seed in range(6):
            chunk = _random(2, 8, 8, seed).view(_Watched)
            alive.add(chunk)
            most = max(most, len(alive))
            yield chunk

    write_clip(chunks(), tmp_path / "a.mkv", fps=16)
    assert most <= 2
