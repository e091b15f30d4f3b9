"""Review files: the right colours, the right tags, playable while they load."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from render.clip import clip_info, read_clip
from render.errors import DiskFull, NonFinite
from render.post.encode import write_preview, write_review
from render.video import BT709_TV

Make = Callable[..., np.ndarray]
FILM = Fraction(24000, 1001)
PATCHES = np.array([*itertools.product((0, 0.5, 1), repeat=3)], np.float32)


def _patches(size: int = 32) -> np.ndarray:
    """27 flat saturated colours in a 3 x 9 field of squares, (3 * size, 9 * size, 3)."""
    field = PATCHES.reshape(3, 9, 3)
    return field.repeat(size, axis=0).repeat(size, axis=1)


def _planes(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Y, Cb, Cr of the first frame as they are in the file, float64."""
    with av.open(str(path)) as source:
        picture = next(source.decode(video=0))
        planes = picture.to_ndarray(format="yuv420p").astype(np.float64)
    height, width = picture.height, picture.width
    flat = planes.ravel()
    y, cb, cr = np.split(flat, [height * width, height * width * 5 // 4])
    half = (height // 2, width // 2)
    return y.reshape(height, width), cb.reshape(half), cr.reshape(half)


def _player(path: Path) -> np.ndarray:
    """What a player that believes the tags shows, by BT.709-6 solved for R, G, B; 0..255."""
    y, cb, cr = _planes(path)
    y = (y - 16) / 219
    cb, cr = ((c.repeat(2, 0).repeat(2, 1) - 128) / 224 for c in (cb, cr))
    r, b = y + 1.5748 * cr, y + 1.8556 * cb
    g = (y - 0.2126 * r - 0.0722 * b) / 0.7152
    return np.clip(np.stack([r, g, b], axis=-1), 0, 1) * 255


def _boxes(data: bytes) -> list[str]:
    names, at = [], 0
    while at < len(data):
        size, name = struct.unpack(">I4s", data[at : at + 8])
        if size == 1:
            (size,) = struct.unpack(">Q", data[at + 8 : at + 16])
        names.append(name.decode())
        at += size or len(data)
    return names


def test_saturated_colours_come_back(tmp_path: Path) -> None:
    """27 saturated patches are shown within 2 of 255 levels by a BT.709 player at crf 18.

    1.6 levels are lost by 8-bit Y'CbCr itself; no single pixel is off by more than 5.
    """
    path = tmp_path / "a.mp4"
    write_review([_patches()] * 3, path, rate=FILM, crf=18)
    shown = _player(path).reshape(3, 32, 9, 32, 3)[:, 8:24, :, 8:24]
    want = PATCHES.reshape(3, 1, 9, 1, 3) * 255
    assert np.abs((shown - want).mean(axis=(1, 3))).max() <= 2
    assert np.abs(shown - want).max() <= 5


def test_another_matrix_would_be_noticed(tmp_path: Path) -> None:
    """Read by the BT.601 matrix the same file is far off: the patches do tell matrices apart."""
    path = tmp_path / "a.mp4"
    write_review([_patches()], path, rate=FILM, crf=18)
    y, _, cr = _planes(path)
    red = (y - 16) / 219 + 1.402 * (cr.repeat(2, 0).repeat(2, 1) - 128) / 224
    assert np.abs(np.clip(red, 0, 1) - _patches()[..., 0]).max() > 0.08


def test_our_reader_shows_what_a_player_shows(tmp_path: Path) -> None:
    """`read_clip` of a review file is the BT.709 formula inside the patches, within 0.02 levels.

    The patches' means, because chroma is enlarged there more smoothly than in the formula here.
    """
    path = tmp_path / "a.mp4"
    write_review([_patches()], path, rate=FILM, crf=1)
    read = next(read_clip(path)) * 255
    inner = np.s_[:, 8:24, :, 8:24]
    means = [x.reshape(3, 32, 9, 32, 3)[inner].mean(axis=(1, 3)) for x in (read, _player(path))]
    np.testing.assert_allclose(means[0], means[1], atol=0.02)


def test_tags_are_in_the_stream_and_in_the_container(tmp_path: Path, moving: Make) -> None:
    """Matrix, primaries, transfer and range are tagged; the container has an nclx colr box."""
    path = tmp_path / "a.mp4"
    write_review(moving(), path, rate=FILM, crf=18)
    info = clip_info(path)
    assert (info.codec, info.pix_fmt, info.tags) == ("h264", "yuv420p", BT709_TV)
    assert str(info.tags) == "matrix bt709, primaries bt709, transfer bt709, range tv"
    assert b"colrnclx\x00\x01\x00\x01\x00\x01\x00" in path.read_bytes()
    with av.open(str(path)) as source:
        picture = next(source.decode(video=0))
    assert (picture.colorspace, picture.color_range) == (1, 1)
    assert (picture.color_primaries, picture.color_trc) == (1, 1)


def test_the_index_comes_before_the_pictures(tmp_path: Path, moving: Make) -> None:
    """`moov` stands before `mdat`: a browser starts before the file is loaded."""
    path = tmp_path / "a.mp4"
    write_review(moving(), path, rate=FILM, crf=18)
    boxes = _boxes(path.read_bytes())
    assert boxes.index("moov") < boxes.index("mdat")


@pytest.mark.parametrize("rate", [FILM, Fraction(16), Fraction(24), Fraction(30000, 1001)])
def test_rate_and_count_are_exact(tmp_path: Path, moving: Make, rate: Fraction) -> None:
    """Frames and rate are those that went in, with B-frames reordered and all."""
    path = tmp_path / "a.mp4"
    assert write_review(moving(17), path, rate=rate, crf=18) == 17
    info = clip_info(path)
    assert (info.frames, info.rate) == (17, rate)
    with av.open(str(path)) as source:
        times = [picture.pts * picture.time_base for picture in source.decode(video=0)]
    assert times == [index / rate for index in range(17)]


def test_frames_keep_their_order(tmp_path: Path, moving: Make) -> None:
    """Frame i of the file is nearest to frame i that went in."""
    path = tmp_path / "a.mp4"
    frames = moving(9)
    write_review(frames, path, rate=FILM, crf=18)
    for index, shown in enumerate(read_clip(path)):
        assert np.abs(frames - shown).mean(axis=(1, 2, 3)).argmin() == index


def test_equal_frames_give_equal_files(tmp_path: Path, moving: Make) -> None:
    """Encoding twice gives the same bytes: a checksum says something."""
    for name in ("a.mp4", "b.mp4"):
        write_review(moving(), tmp_path / name, rate=FILM, crf=20)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_crf_is_applied(tmp_path: Path, moving: Make) -> None:
    """A higher crf makes a smaller file."""
    sizes = []
    for crf in (10, 18, 35):
        path = tmp_path / f"{crf}.mp4"
        write_review(moving(), path, rate=FILM, crf=crf)
        sizes.append(path.stat().st_size)
    assert sizes[0] > sizes[1] > sizes[2]


def test_not_finite_is_refused(tmp_path: Path, moving: Make) -> None:
    """A frame that turned to NaN on the way is named."""
    frames = moving()
    frames[4, 0, 0, 0] = np.nan
    with pytest.raises(NonFinite, match="frame 4"):
        write_review(frames, tmp_path / "a.mp4", rate=FILM, crf=18)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_a_machine_failure(moving: Make) -> None:
    """The kernel's ENOSPC surfaces as DiskFull."""
    with pytest.raises(DiskFull, match="/dev/full: no space left"):
        write_review(moving(), Path("/dev/full"), rate=FILM, crf=18)


@pytest.mark.parametrize(
    ("size", "want"), [((48, 64), (48, 64)), ((240, 640), (120, 320)), ((23, 37), (24, 36))]
)
def test_previews_are_small(
    tmp_path: Path, moving: Make, size: tuple[int, int], want: tuple[int, int]
) -> None:
    """A preview's long side is at most 320, its sides are even, no frame is lost."""
    path = tmp_path / "take" / "preview.mp4"
    write_preview(moving(5, *size), path, rate=FILM)
    info = clip_info(path)
    assert (info.height, info.width) == want
    assert (info.frames, info.rate, info.tags) == (5, FILM, BT709_TV)
    boxes = _boxes(path.read_bytes())
    assert boxes.index("moov") < boxes.index("mdat")
    assert [p.name for p in path.parent.iterdir()] == ["preview.mp4"]
