"""RGB to Y'CbCr and back: by the formula, not by somebody's fixed point."""

from __future__ import annotations

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import examples

from render.video import BT709_TV, ColourTags
from render.yuv import rgb_values, to_rgb, to_yuv420


@settings(deadline=None, max_examples=examples(60))
@given(rgb=st.tuples(*[st.floats(0, 1, width=32)] * 3))
def test_planes_are_the_formula(rgb: tuple[float, float, float]) -> None:
    """Every flat colour becomes the nearest codes of BT.709's formula."""
    r, g, b = rgb
    y = 0.2126 * r + 0.7152 * g + 0.0722 * b
    want = [16 + 219 * y, 128 + 224 * (b - y) / 1.8556, 128 + 224 * (r - y) / 1.5748]
    codes = to_yuv420(np.broadcast_to(np.float32(rgb), (4, 6, 3))).ravel()
    for plane, value in zip(np.split(codes, [24, 30]), want, strict=True):
        assert np.abs(plane - value).max() <= 0.5 + 1e-4


def test_chroma_sits_on_the_left_column() -> None:
    """A chroma ramp along x is sampled at columns 0, 2, 4 ...: no shift by half a pixel."""
    ramp = np.zeros((4, 32, 3), np.float32)
    ramp[..., 2] = np.arange(32) / 31
    cb = to_yuv420(ramp).ravel()[128:160].reshape(2, 16)
    want = 128 + 224 * (1 - 0.0722) * (np.arange(0, 32, 2) / 31) / 1.8556
    assert np.abs(cb[:, 1:] - want[1:]).max() <= 0.5 + 1e-4


@settings(deadline=None, max_examples=examples(60))
@given(rgb=st.tuples(*[st.floats(0, 1, width=32)] * 3))
def test_back_is_the_inverse(rgb: tuple[float, float, float]) -> None:
    """A flat colour comes back within 1.7 of 255 levels: what 8-bit Y'CbCr itself loses."""
    codes = to_yuv420(np.broadcast_to(np.float32(rgb), (8, 8, 3)))
    picture = av.VideoFrame.from_ndarray(codes, format="yuv420p")
    back = to_rgb(picture, BT709_TV)
    assert np.abs(back - np.float32(rgb)).max() * 255 <= 1.7


@pytest.mark.parametrize(
    ("matrix", "kr", "kb"), [(1, 0.2126, 0.0722), (6, 0.299, 0.114), (9, 0.2627, 0.0593)]
)
@pytest.mark.parametrize("full", [True, False])
def test_tags_choose_matrix_and_range(matrix: int, kr: float, kb: float, full: bool) -> None:
    """BT.709, BT.601 and BT.2020, full and limited, are each solved by their own weights."""
    yuv = (120, 90, 170)
    codes = np.concatenate([np.full(64, yuv[0]), np.full(16, yuv[1]), np.full(16, yuv[2])])
    picture = av.VideoFrame.from_ndarray(codes.astype(np.uint8).reshape(12, 8), format="yuv420p")
    tags = ColourTags(matrix=matrix, primaries=1, transfer=1, full_range=full)
    foot, luma, chroma = (0, 255, 255) if full else (16, 219, 224)
    y, cb, cr = (yuv[0] - foot) / luma, (yuv[1] - 128) / chroma, (yuv[2] - 128) / chroma
    r, b = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    want = [r, (y - kr * r - kb * b) / (1 - kr - kb), b]
    np.testing.assert_allclose(to_rgb(picture, tags)[4, 4], want, atol=1e-5)


def test_untagged_is_limited_bt709() -> None:
    """Where nothing is said, BT.709 and limited range are taken."""
    codes = to_yuv420(np.random.default_rng(0).random((8, 8, 3), dtype=np.float32))
    picture = av.VideoFrame.from_ndarray(codes, format="yuv420p")
    unsaid = ColourTags(matrix=2, primaries=2, transfer=2, full_range=None)
    np.testing.assert_array_equal(to_rgb(picture, unsaid), to_rgb(picture, BT709_TV))


@pytest.mark.parametrize("name", ["rgb24", "bgr24", "rgb48le", "gbrp", "gbrp10le", "gbrp16le"])
def test_rgb_is_taken_as_it_is(name: str) -> None:
    """RGB pictures of any layout keep every level."""
    bits = {"gbrp10le": 10, "gbrp16le": 16, "rgb48le": 16}.get(name, 8)
    kind = np.uint8 if bits == 8 else np.uint16
    source = np.random.default_rng(0).integers(0, 2**bits, (8, 8, 3)).astype(kind)
    values = rgb_values(av.VideoFrame.from_ndarray(source, format=name))
    values = values[..., ::-1] if name == "bgr24" else values
    np.testing.assert_allclose(values, source / (2**bits - 1), atol=1e-6)
