"""Decoding: right colours, real counts, and plain words for what is wrong."""

from __future__ import annotations

import os
from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition
from av.video.reformatter import ColorRange, Interpolation

from qc.errors import NotAVideo
from qc.video import Video


def decode(path):
    """Every frame, and the closed video with what it found."""
    with Video(path) as video:
        return list(video.frames()), video


def colour_bars(height: int = 48, width: int = 62) -> np.ndarray:
    """(2, H, W, 3): patches of random colour, black and white among them, over all of RGB."""
    rng = np.random.default_rng(3)
    patches = rng.integers(0, 256, (2, height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    patches[0, 0, 0], patches[1, 0, 0] = 0, 255
    return patches.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width]


def write_deep_rgb(path, clip, bits):
    """FFV1 with RGB planes of `bits` bits that hold round(x (2^bits - 1) / 255)."""
    frames, height, width, _ = clip.shape
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=24)
        stream.width, stream.height, stream.pix_fmt = width, height, f"gbrp{bits}le"
        for index in range(frames):
            frame = av.VideoFrame(width, height, f"gbrp{bits}le")
            codes = np.rint(clip[index].astype(np.float64) * (2**bits - 1) / 255)
            for plane, channel in zip(frame.planes, (1, 2, 0), strict=True):
                padded = np.zeros((height, plane.line_size // 2), np.uint16)
                padded[:, :width] = codes[..., channel]
                plane.update(padded.tobytes())
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_deep_yuv(path, clip, *, matrix):
    """FFV1 yuv444p10le, limited range, by the definition of the matrix (Kr, Kb); tagged."""
    tag, red, blue = {"bt709": (1, 0.2126, 0.0722), "bt601": (6, 0.299, 0.114)}[matrix]
    rgb = clip / 255.0
    luma = rgb @ [red, 1 - red - blue, blue]
    planes = [
        16 + 219 * luma,
        128 + 112 * (rgb[..., 2] - luma) / (1 - blue),
        128 + 112 * (rgb[..., 0] - luma) / (1 - red),
    ]
    height, width = clip.shape[1:3]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=24)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p10le"
        stream.codec_context.colorspace, stream.codec_context.color_range = tag, 1
        for index in range(len(clip)):
            frame = av.VideoFrame(width, height, "yuv444p10le")
            frame.colorspace, frame.color_range = tag, 1
            for plane, values in zip(frame.planes, planes, strict=True):
                padded = np.zeros((height, plane.line_size // 2), np.uint16)
                padded[:, :width] = np.rint(values[index] * 4)
                plane.update(padded.tobytes())
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_deep_rgb_comes_back_exactly(tmp_path, bits):
    """Lossless RGB of 10 bits and more is rounded to 8 bits: every level comes back."""
    clip = colour_bars()
    frames, video = decode(write_deep_rgb(tmp_path / "clip.mkv", clip, bits))
    np.testing.assert_array_equal(np.stack(frames), clip)
    assert video.info.colour == "rgb"
    assert video.problems == ()


@pytest.mark.parametrize("matrix", ["bt709", "bt601"])
def test_tagged_yuv_comes_back_within_a_level(tmp_path, matrix):
    """10-bit YUV is turned to RGB by the matrix it is tagged with, whatever its size."""
    clip = colour_bars()
    frames, video = decode(write_deep_yuv(tmp_path / "clip.mkv", clip, matrix=matrix))
    assert np.abs(np.stack(frames).astype(int) - clip).max() <= 1
    assert video.info.colour == matrix


@pytest.mark.parametrize("size", [(48, 62), (33, 47)])
@pytest.mark.parametrize(
    "pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p12le", "yuva420p", "gray"]
)
def test_yuv_becomes_the_rgb_of_swscale_at_its_most_exact(write_clip, tmp_path, pix_fmt, size):
    """Bit for bit, however many bits, whatever lies between the rows of a plane."""
    path = write_clip(tmp_path / "clip.mkv", colour_bars(*size), codec="ffv1", pix_fmt=pix_fmt)
    flags = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
    with av.open(str(path)) as container:
        expected = [
            frame.to_ndarray(format="rgb24", dst_color_range=ColorRange.JPEG, interpolation=flags)
            for frame in container.decode(video=0)
        ]
    frames, _ = decode(path)
    np.testing.assert_array_equal(np.stack(frames), np.stack(expected))


def test_h264_of_flat_colours_comes_back_within_two_levels(write_clip, tmp_path):
    """Ordinary bt709 4:2:0 review files keep flat colours (8-bit limited range costs a level)."""
    clip = np.empty((2, 64, 64, 3), np.uint8)
    clip[:] = (200, 60, 30)
    frames, video = decode(write_clip(tmp_path / "clip.mp4", clip, options={"crf": "1"}))
    assert np.abs(np.stack(frames).astype(int) - clip).max() <= 2
    assert video.info.colour == "bt709"


def test_what_is_not_tagged_is_said_to_be_assumed(write_clip, tmp_path):
    """A small file without a matrix tag is read as bt601, and the scorecard can say so."""
    path = write_clip(tmp_path / "clip.mkv", colour_bars(64, 64), tagged=False)
    _, video = decode(path)
    assert video.info.colour == "bt601 (assumed: not tagged)"


@pytest.mark.parametrize(("height", "width"), [(33, 47), (1, 1), (17, 16)])
def test_odd_sizes(write_clip, tmp_path, height, width):
    """Odd and tiny sizes decode as they are."""
    clip = colour_bars(height, width)
    path = write_clip(tmp_path / "clip.mkv", clip, codec="ffv1", pix_fmt="bgr0")
    frames, video = decode(path)
    np.testing.assert_array_equal(np.stack(frames), clip)
    assert (video.info.width, video.info.height) == (width, height)


def test_alpha_is_dropped(write_clip, tmp_path):
    """A file with alpha gives its straight colours."""
    rgb = colour_bars(32, 32)
    alpha = np.full((*rgb.shape[:3], 1), 128, np.uint8)
    clip = np.concatenate([rgb, alpha], axis=3)
    path = write_clip(tmp_path / "clip.mkv", clip, codec="ffv1", pix_fmt="bgra")
    frames, _ = decode(path)
    np.testing.assert_array_equal(np.stack(frames), rgb)


def test_variable_frame_rate_is_noticed(write_clip, tmp_path):
    """Frames held for different times: the mean rate is given and the variation told."""
    clip = np.repeat(colour_bars(32, 32), 5, axis=0)
    times = [0, 40, 80, 200, 240, 400, 440, 480, 640, 680]
    _, video = decode(write_clip(tmp_path / "clip.mkv", clip, times=times))
    assert video.variable_rate
    assert video.fps == pytest.approx(9 / 0.68, rel=0.01)


@pytest.mark.slow
def test_a_rate_that_varies_early_is_noticed_in_a_long_clip(write_clip, tmp_path):
    """Five minutes of even frames behind an uneven start do not make the clip's rate constant."""
    clip = np.zeros((7_200, 16, 16, 3), np.uint8)
    times = np.cumsum([0, *([20, 63] * 20), *([42] * 7_159)]).tolist()
    path = write_clip(tmp_path / "clip.mkv", clip, codec="ffv1", pix_fmt="bgr0", times=times)
    _, video = decode(path)
    assert video.decoded == 7_200
    assert video.variable_rate


@pytest.mark.parametrize("fps", [8, 16, 24, Fraction(24000, 1001), 30])
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_constant_frame_rate_is_exact(write_clip, tmp_path, fps, suffix):
    """The rate is the one that was written; milliseconds of Matroska are no variation."""
    clip = np.repeat(colour_bars(32, 32), 6, axis=0)
    frames, video = decode(write_clip(tmp_path / f"clip{suffix}", clip, fps=fps))
    assert len(frames) == video.decoded == 12
    assert video.fps == pytest.approx(float(fps), rel=1e-4)
    assert not video.variable_rate
    assert video.problems == ()


def test_one_frame(write_clip, tmp_path):
    """A clip of one frame is a clip."""
    frames, video = decode(write_clip(tmp_path / "clip.mp4", colour_bars(32, 32)[:1]))
    assert len(frames) == 1
    assert video.problems == ()


def test_zero_frames_are_a_problem_in_words(write_clip, tmp_path):
    """A file that breaks inside its first frame opens, and says that nothing could be decoded."""
    clip = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    path = write_clip(tmp_path / "clip.mkv", clip, codec="ffv1", pix_fmt="bgr0")
    path.write_bytes(path.read_bytes()[:2000])
    frames, video = decode(path)
    assert frames == []
    assert any("no frame" in problem for problem in video.problems)


def test_a_container_without_frames_is_no_video(write_clip, tmp_path):
    """A header alone is refused by name."""
    clip = np.zeros((1, 32, 32, 3), np.uint8)
    path = write_clip(tmp_path / "clip.mkv", clip, codec="ffv1", pix_fmt="bgr0", written=0)
    with pytest.raises(NotAVideo, match=r"clip\.mkv.*End of file"):
        Video(path)


@pytest.mark.parametrize(("codec", "pix_fmt"), [("ffv1", "bgr0"), ("libx264", "yuv420p")])
def test_a_truncated_file_gives_what_decodes(write_clip, tmp_path, codec, pix_fmt):
    """Half a file gives the frames before the damage and a sentence about it."""
    rng = np.random.default_rng(0)
    clip = rng.integers(0, 256, (20, 64, 64, 3), dtype=np.uint8)
    whole = write_clip(tmp_path / "whole.mkv", clip, codec=codec, pix_fmt=pix_fmt)
    half = tmp_path / "half.mkv"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    frames, video = decode(half)
    assert 0 < len(frames) < 20
    assert video.problems


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.mp4", b""),
        ("noise.mp4", np.random.default_rng(0).bytes(5000)),
        ("page.txt", b"hello, this is a text\n" * 50),
        ("list.ffconcat", b"ffconcat version 1.0\nfile clip.mp4\n"),
        ("list.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nclip.mp4\n"),
    ],
)
def test_what_is_no_video_is_refused_by_name(tmp_path, name, content):
    """Empty files, noise, texts and playlists are refused with the file's name and a remedy."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(NotAVideo, match=rf"{name}.*copy it again"):
        Video(path)


def test_a_missing_file_and_a_sound_file_are_refused(tmp_path):
    """What is not there, and what has no picture, is said to be so."""
    with pytest.raises(NotAVideo, match="no such file"):
        Video(tmp_path / "gone.mp4")
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(NotAVideo, match="no video stream"):
        Video(path)


@pytest.mark.parametrize(
    ("make", "words"), [(os.mkdir, "a folder"), (os.mkfifo, "a device or a pipe")]
)
def test_what_is_no_file_is_refused_at_once(tmp_path, make, words):
    """A folder and a pipe are told as what they are, and a pipe is not waited for."""
    path = tmp_path / "clip.mp4"
    make(path)
    with pytest.raises(NotAVideo, match=rf"clip\.mp4: this is {words}"):
        Video(path)


def test_a_link_to_itself_is_no_file(tmp_path):
    """A link that leads nowhere ends in words."""
    path = tmp_path / "clip.mp4"
    path.symlink_to(path)
    with pytest.raises(NotAVideo, match="no such file"):
        Video(path)


def write_music(path, cover):
    """A second of a tone and its cover (H, W, 3), as shops sell them."""
    with av.open(str(path), "w", format="mp4") as container:
        tone = container.add_stream("aac", rate=44_100)
        picture = container.add_stream("png", rate=1)
        picture.height, picture.width = cover.shape[:2]
        picture.pix_fmt, picture.disposition = "rgb24", Disposition.attached_pic
        packets = picture.encode(av.VideoFrame.from_ndarray(cover, format="rgb24"))
        sound = np.sin(np.arange(1024 * 43, dtype=np.float32) / 20)[None]
        for index in range(43):
            piece = sound[:, index * 1024 : (index + 1) * 1024]
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
            frame.rate, frame.pts = 44_100, index * 1024
            packets += tone.encode(frame)
        container.mux([*packets, *picture.encode(), *tone.encode()])


def test_the_cover_of_a_piece_of_music_is_no_video(tmp_path):
    """A sound file with a picture on it is refused, not measured as one frame."""
    path = tmp_path / "clip.mp4"
    write_music(path, colour_bars()[0])
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 1
    with pytest.raises(NotAVideo, match="no video stream"):
        Video(path)


def test_a_size_that_would_take_gigabytes_is_refused(write_clip, tmp_path):
    """A few bytes that announce 16000x16000 pixels a frame are refused before one is made."""
    clip = colour_bars(32, 32)
    path = write_clip(tmp_path / "clip.gif", clip, codec="gif", pix_fmt="rgb8", tagged=False)
    data = bytearray(path.read_bytes())
    data[6:10] = (16_000).to_bytes(2, "little") * 2
    path.write_bytes(data)
    with pytest.raises(NotAVideo, match=r"16000x16000 .* 100 million; scale it down"):
        Video(path)


def test_a_size_that_becomes_too_large_midway_ends_the_decoding(write_clip, tmp_path, monkeypatch):
    """What the header did not announce is refused by the decoder, and told."""
    monkeypatch.setattr("qc.video.MAX_PIXELS", 64 * 64)
    path = tmp_path / "clip.h264"
    parts = [np.zeros((3, side, side, 3), np.uint8) for side in (64, 128)]
    files = [write_clip(tmp_path / f"{at}.h264", part) for at, part in enumerate(parts)]
    path.write_bytes(b"".join(file.read_bytes() for file in files))
    frames, video = decode(path)
    assert {frame.shape for frame in frames} == {(64, 64, 3)}
    assert any("decoding stopped" in problem for problem in video.problems)
