"""RGB to Y'CbCr and back, by the formula and to the nearest code.

libswscale could do both, but its fixed-point RGB is off by up to 2 of 255 levels, which is as much
as the whole loss of a review file. Only chroma is enlarged by it on the way back.
"""

from __future__ import annotations

import av
import numpy as np
from av.video.reformatter import ColorRange, Interpolation
from numpy.typing import NDArray

from render.video import ColourTags

KR, KG, KB = 0.2126, 0.7152, 0.0722
"""Luma weights of ITU-R BT.709-6, item 3.2."""

_WEIGHTS = {1: (KR, KB), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}
"""Kr, Kb by MatrixCoefficients of ITU-T H.273."""


def to_yuv420(frame: NDArray[np.float32]) -> NDArray[np.uint8]:
    """RGB 0..1 (H, W, 3) of even size to 8-bit planes Y, Cb, Cr under each other, (1.5 H, W).

    ITU-R BT.709-6 items 3.2 to 3.4, limited range:

        Y  = 16 + 219 (KR R + KG G + KB B)
        Cb = 128 + 224 (B - Y') / 1.8556,  Cr = 128 + 224 (R - Y') / 1.5748

    Chroma sits where H.264 assumes it when nothing else is said: on the left column of each pair,
    between its two rows.
    """
    height, width = frame.shape[:2]
    luma = 16 + 219 * _luma(frame)
    small = _halved(frame)
    y = _luma(small)
    cb = 128 + 224 * (small[..., 2] - y) / np.float32(2 * (1 - KB))
    cr = 128 + 224 * (small[..., 0] - y) / np.float32(2 * (1 - KR))
    planes = np.concatenate([luma.ravel(), cb.ravel(), cr.ravel()])
    return np.rint(planes).astype(np.uint8).reshape(height * 3 // 2, width)


def to_rgb(picture: av.VideoFrame, tags: ColourTags) -> NDArray[np.float32]:
    """A decoded Y'CbCr picture as RGB 0..1, float32 (H, W, 3).

    By the matrix and range of its tags; BT.709, limited, where they say nothing.
    """
    bits = picture.format.components[0].bits
    planes = picture.reformat(
        format="yuv444p16le",
        # The same range on both sides: libswscale then only shifts the codes up to 16 bit.
        src_color_range=ColorRange.MPEG,
        dst_color_range=ColorRange.MPEG,
        interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT,
        threads=1,
    ).to_ndarray()
    y, cb, cr = np.moveaxis(planes.astype(np.float32) / np.float32(256), -1, 0)
    top = np.float32((2**bits - 1) * 2.0 ** (8 - bits))
    if tags.full_range:
        y, cb, cr = y / top, (cb - 128) / top, (cr - 128) / top
    else:
        y, cb, cr = (y - 16) / 219, (cb - 128) / 224, (cr - 128) / 224
    kr, kb = _WEIGHTS.get(tags.matrix, _WEIGHTS[1])
    r = y + np.float32(2 * (1 - kr)) * cr
    b = y + np.float32(2 * (1 - kb)) * cb
    g = (y - np.float32(kr) * r - np.float32(kb) * b) / np.float32(1 - kr - kb)
    return np.clip(np.stack([r, g, b], axis=-1), 0, 1)


def rgb_values(picture: av.VideoFrame) -> NDArray[np.float32]:
    """A decoded RGB picture of any layout and depth as float32 (H, W, 3), 0..1."""
    name, bits = picture.format.name, picture.format.components[0].bits
    if name.startswith("gbrp") and not name.startswith("gbrpf"):
        codes = picture.to_ndarray()
    elif bits == 8:
        codes = picture.to_ndarray(format="rgb24")
    else:
        codes, bits = picture.to_ndarray(format="rgb48le"), 16
    return codes.astype(np.float32) / np.float32(2**bits - 1)


def _luma(frame: NDArray[np.float32]) -> NDArray[np.float32]:
    # NOTE: no matrix product: BLAS sums in an order that depends on where the array lies in
    # memory, and one code that flips between two runs changes the whole encoded file.
    r, g, b = frame[..., 0], frame[..., 1], frame[..., 2]
    return np.float32(KR) * r + np.float32(KG) * g + np.float32(KB) * b


def _halved(frame: NDArray[np.float32]) -> NDArray[np.float32]:
    """Half size: rows averaged in pairs, columns 1 2 1 around every even one."""
    rows = frame[0::2] * np.float32(0.5) + frame[1::2] * np.float32(0.5)
    even, odd = rows[:, 0::2], rows[:, 1::2]
    before = np.concatenate([even[:, :1], odd[:, :-1]], axis=1)
    return (before + even + even + odd) * np.float32(0.25)
