"""Moving photographs, their defects, and files to read them from. All seeded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest
from skimage import data

from qc.scorecard import FailureClass

if TYPE_CHECKING:
    from qc.lpips import LpipsBackbone

Clip = npt.NDArray[np.uint8]
"""(N, H, W, 3)."""

FRAMES, WIDTH, HEIGHT = 17, 192, 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A camera move over a photograph, from the first frame to the last."""

    x: float = 0.0
    """Share of the frame's width."""
    y: float = 0.0
    zoom: float = 1.0
    """Of the last frame against the first."""
    roll: float = 0.0
    """Degrees."""


MOVES = {
    "pan": Move(x=0.15),
    "fast pan": Move(x=-0.3, y=0.05),
    "tilt": Move(y=0.12),
    "zoom in": Move(zoom=1.15),
    "zoom out": Move(zoom=1 / 1.15),
    "roll": Move(roll=4),
}


def film(
    picture: str,
    move: Move,
    *,
    frames: int = FRAMES,
    width: int = WIDTH,
    height: int = HEIGHT,
    seed: int = 0,
) -> Clip:
    """`picture` of scikit-image filmed with `move`, with a little sensor noise."""
    image = getattr(data, picture)()
    if image.ndim == 2:
        image = np.dstack([image] * 3)
    rng = np.random.default_rng(seed)
    across = min(image.shape[1] / width, image.shape[0] / height) * 0.72
    if across > 1:
        image = cv2.GaussianBlur(image, (0, 0), 0.45 * across)
    centre = np.array([image.shape[1] / 2, image.shape[0] / 2])
    shift = np.array([move.x * width, move.y * height]) * across
    clip = []
    for t in np.linspace(-0.5, 0.5, frames):
        scale = across / move.zoom ** (t + 0.5 * np.sign(move.zoom - 1))
        turn = np.deg2rad(move.roll * t)
        matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        at = centre + shift * t - matrix @ [width / 2, height / 2]
        still = cv2.warpAffine(
            image,
            np.column_stack([matrix, at]),
            (width, height),
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        )
        clip.append(_bytes(still + rng.normal(0, 0.6, still.shape)))
    return np.stack(clip)


def flickering(clip: Clip, seed: int) -> Clip:
    """Every frame has its own exposure, 2.5 % off."""
    gains = 1 + 0.025 * np.random.default_rng(seed).standard_normal(len(clip))
    return _bytes(clip * gains[:, None, None, None])


def flickering_in_places(clip: Clip, seed: int) -> Clip:
    """Soft patches brighten and darken on their own; the whole picture's mean stays."""
    rng = np.random.default_rng(seed)
    height, width = clip.shape[1:3]
    gains = []
    for _ in clip:
        coarse = rng.standard_normal((4, 6)).astype(np.float32)
        field = cv2.resize(coarse - coarse.mean(), (width, height), interpolation=cv2.INTER_CUBIC)
        gains.append(1 + 0.03 * (field - field.mean()))
    return _bytes(clip * np.stack(gains)[..., None])


def boiling(clip: Clip, seed: int) -> Clip:
    """Texture is pushed about by a random field that is new in every frame."""
    rng = np.random.default_rng(seed)
    height, width = clip.shape[1:3]
    grid = np.dstack(np.meshgrid(np.arange(width), np.arange(height))).astype(np.float32)
    boiled = []
    for frame in clip:
        coarse = rng.standard_normal((height // 4, width // 4, 2)).astype(np.float32)
        field = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        boiled.append(cv2.remap(frame, grid + 1.6 * field, None, cv2.INTER_LINEAR))
    return np.stack(boiled)


def frozen(clip: Clip, seed: int) -> Clip:
    """Stops in the middle and never goes on."""
    stop = len(clip) // 2
    return np.concatenate([clip[:stop], np.repeat(clip[stop][None], len(clip) - stop, axis=0)])


def black(clip: Clip, seed: int) -> Clip:
    """One black frame."""
    broken = clip.copy()
    broken[len(clip) // 2] = 0
    return broken


def dimmed(clip: Clip, seed: int) -> Clip:
    """Two frames at 60 % of their light."""
    broken = clip.copy()
    at = len(clip) // 2
    broken[at : at + 2] = _bytes(clip[at : at + 2] * 0.6)
    return broken


def cut(clip: Clip, seed: int) -> Clip:
    """Another scene from the middle on."""
    other = film(
        "rocket", MOVES["pan"], frames=len(clip), width=clip.shape[2], height=clip.shape[1]
    )
    half = len(clip) // 2
    return np.concatenate([clip[:half], other[half:]])


def oversaturated(clip: Clip, seed: int) -> Clip:
    """Colours grow to 1.6 times their strength."""
    gains = np.linspace(1, 1.6, len(clip))[:, None, None, None]
    grey = clip.mean(axis=3, keepdims=True)
    return _bytes(grey + (clip - grey) * gains)


def softening(clip: Clip, seed: int) -> Clip:
    """The focus drifts away."""
    last = len(clip) - 1
    return np.stack(
        [cv2.GaussianBlur(f, (0, 0), 0.05 + 1.3 * i / last) for i, f in enumerate(clip)]
    )


def collapsing(clip: Clip, seed: int) -> Clip:
    """The last three frames dissolve into smeared noise."""
    rng = np.random.default_rng(seed)
    broken = clip.astype(np.float64)
    for step, strength in enumerate((8, 16, 30)):
        noise = cv2.GaussianBlur(rng.normal(0, 1, clip.shape[1:]), (0, 0), 1.5)
        broken[len(clip) - 3 + step] += strength * noise / noise.std()
    return _bytes(broken)


def duplicated(clip: Clip, seed: int) -> Clip:
    """One frame is shown twice and its successor never."""
    broken = clip.copy()
    at = len(clip) // 2
    broken[at + 1] = broken[at]
    return broken


def foreign_start(clip: Clip, seed: int) -> Clip:
    """The clip is of something else than the source."""
    return film("rocket", MOVES["pan"], frames=len(clip), width=clip.shape[2], height=clip.shape[1])


DEFECTS: dict[str, tuple[Callable[[Clip, int], Clip], FailureClass]] = {
    "global flicker": (flickering, FailureClass.FLICKER),
    "local flicker": (flickering_in_places, FailureClass.FLICKER),
    "boiling": (boiling, FailureClass.BOILING),
    "frozen": (frozen, FailureClass.FROZEN),
    "black frame": (black, FailureClass.BLACK),
    "dimmed": (dimmed, FailureClass.BLACK),
    "cut": (cut, FailureClass.CUT),
    "oversaturated": (oversaturated, FailureClass.OVERSATURATED),
    "softening": (softening, FailureClass.BLUR),
    "collapsing": (collapsing, FailureClass.COLLAPSE),
    "duplicated": (duplicated, FailureClass.DUPLICATED),
    "foreign start": (foreign_start, FailureClass.CONDITIONING),
}
"""Defect -> what makes it, and the class it must fail with."""


def write(
    path: Path,
    clip: npt.NDArray[np.generic],
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    fps: int | Fraction = 24,
    times: list[int] | None = None,
    options: dict[str, str] | None = None,
    tagged: bool = True,
    written: int | None = None,
) -> Path:
    """Encode (N, H, W, C) frames as bt709 (RGB formats: full range); `times` in milliseconds.

    `written`: how many of them are really written; None: all.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=options or {})
        stream.width, stream.height, stream.pix_fmt = clip.shape[2], clip.shape[1], pix_fmt
        rgb = pix_fmt.startswith(("gbr", "rgb", "bgr"))
        context = stream.codec_context
        if tagged:
            context.colorspace, context.color_range = (0, 2) if rgb else (1, 1)
            context.color_primaries, context.color_trc = 1, 1
        if times is not None:
            stream.time_base = context.time_base = Fraction(1, 1000)
        container.start_encoding()
        for index, picture in enumerate(clip[:written]):
            given = {3: "rgb24", 4: "rgba"}[picture.shape[2]]
            if pix_fmt == "gbrp12le":
                # As takes are written: 255 is code 4095. (FFmpeg would shift it to 4080.)
                picture, given = np.rint(picture / 255 * 4095).astype(np.uint16), pix_fmt
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=given)
            if not rgb:
                frame = frame.reformat(format=pix_fmt, dst_colorspace=1, dst_color_range=1)
                frame.colorspace = 1 if tagged else 2
            if times is not None:
                frame.pts, frame.time_base = times[index], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def _bytes(values: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    return np.rint(values).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def random_backbone() -> LpipsBackbone:
    from qc.lpips import load_backbone  # torch, which most of these tests do without

    return load_backbone(weights_dir=None)


@pytest.fixture(scope="session")
def write_clip() -> Callable[..., Path]:
    return write


@pytest.fixture(scope="session")
def moves() -> dict[str, Move]:
    return MOVES


@pytest.fixture(scope="session")
def filmed() -> Callable[..., Clip]:
    """`film`, each clip made once."""
    return cache(film)


@pytest.fixture(scope="session")
def defects() -> dict[str, tuple[Callable[[Clip, int], Clip], FailureClass]]:
    return DEFECTS
