"""Clean clips: photographs as moving scenes, with objects that move on their own in front.

Everything follows from (half, index): photographs and seeds of the two halves are apart. Formulas
and limits are chosen on `training` and reported on `held out`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.qc_bench.photographs import names
from benchmarks.qc_bench.photographs import picture as photograph

Clip = npt.NDArray[np.uint8]
"""(N, H, W, 3) RGB."""

FRAMES = 33
SIZES = ((256, 144), (320, 192), (416, 240))
"""(width, height)."""
HALVES = ("training", "held out")
KINDS = (
    "slow pan", "fast pan", "zoom in", "zoom out", "roll", "handheld", "static camera", "eased",
    "violent shake", "strong grain", "half fade", "sky", "low light", "parallax", "drawn",
)  # fmt: skip
"""Of clean clips."""
PLAIN = ("slow pan", "fast pan", "zoom in", "zoom out", "roll", "handheld", "eased", "sky")
"""Kinds that defects are put on."""
# Spent, with held-out halves that are training by now: 1,000,000, 5,000,000, 9,000,000, 13,000,000
# and 17,000,000.
_SEEDS = {"training": 0, "held out": 21_000_000}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What is filmed, and how."""

    half: str
    picture: str
    other: str
    """The photograph that the objects are cut from."""
    kind: str
    width: int
    height: int
    seed: int
    objects: int = 2
    frames: int = FRAMES


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """A filmed scene and where its first object is."""

    clip: Clip
    masks: npt.NDArray[np.float32]
    """(N, H, W): 1 on the object in front, soft edges; 0 everywhere where there is none."""


def clean_scene(half: str, index: int) -> Scene:
    """The clean scene `index` of a half: kinds in turn, photographs and sizes by its seed."""
    kind = KINDS[index % len(KINDS)]
    return _scene(half, index, kind, names(half, drawn=kind == "drawn"))


def defect_scene(half: str, index: int, *, salt: int, colourful: bool, kind: str | None) -> Scene:
    """A scene for a defect; never the seed of a clean one."""
    pictures = names(half, colourful=colourful)
    chosen = kind or PLAIN[(index + salt) % len(PLAIN)]
    return _scene(half, 10_000 + 100 * salt + index, chosen, pictures)


def _scene(half: str, index: int, kind: str, pictures: tuple[str, ...]) -> Scene:
    seed = index + _SEEDS[half]
    rng = np.random.default_rng(seed)
    first, second = rng.permutation(len(pictures))[:2]
    width, height = SIZES[int(rng.integers(len(SIZES)))]
    return Scene(
        half=half,
        picture=pictures[first],
        other=pictures[second],
        kind=kind,
        width=width,
        height=height,
        seed=seed,
        objects=4 if kind == "parallax" else int(rng.integers(1, 3)),
    )


def film(scene: Scene) -> Film:
    """The clip of a scene, before it is encoded."""
    rng = np.random.default_rng(scene.seed)
    camera = _camera(scene, rng)
    picture = photograph(scene.picture)
    if scene.kind == "sky":
        picture = _with_sky(picture, rng)
    frames = _moved(picture, camera, scene, rng)
    masks = np.zeros((scene.frames, scene.height, scene.width), np.float32)
    for number in range(scene.objects):
        mask = _put_object(frames, scene, camera, rng)
        masks = mask if number == 0 else masks * (1 - mask)
    fade = np.linspace(1, {"half fade": 0.5}.get(scene.kind, 1.0), scene.frames)
    fade *= 0.25 if scene.kind == "low light" else 1.0
    grain = {"strong grain": 7.0, "low light": 2.5}.get(scene.kind, 0.8)
    noise = rng.standard_normal((*frames.shape[:3], 1)).astype(np.float32)
    return Film(clip=to_bytes(frames * fade[:, None, None, None] + grain * noise), masks=masks)


def another(scene: Scene) -> Clip:
    """A clip of another scene of the same half, size and length: what a cut jumps to."""
    return film(replace(scene, picture=scene.other, other=scene.picture, seed=scene.seed + 7)).clip


def to_bytes(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Rounded to 0..255."""
    return np.rint(values).clip(0, 255).astype(np.uint8)


def _with_sky(picture: npt.NDArray[np.float32], rng: np.random.Generator) -> Any:
    """The upper half becomes a smooth ramp between two colours that dissolves into the picture."""
    height, width = picture.shape[:2]
    top, low = rng.uniform((30, 50, 100), (120, 150, 200)), rng.uniform(120, 220, 3)
    y = np.linspace(0, 2, height, dtype=np.float32)[:, None, None]
    x = np.linspace(-0.1, 0.1, width, dtype=np.float32)[None, :, None]
    ramp = top + (low - top) * np.clip(y + x, 0, 1)
    share = np.clip((1.15 - y) / 0.3, 0, 1)
    return (share * ramp + (1 - share) * picture).astype(np.float32)


def _camera(scene: Scene, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """(N, 4): x and y shift in output pixels, zoom, and roll in radians, of each frame."""
    t = np.linspace(-0.5, 0.5, scene.frames)
    if scene.kind == "eased":
        u = t + 0.5
        t = u * u * (3 - 2 * u) - 0.5
    way = rng.uniform(0, 2 * np.pi)
    reach = {
        "fast pan": 0.55, "slow pan": 0.1, "static camera": 0.0, "eased": 0.35, "handheld": 0.08,
        "violent shake": 0.05, "zoom in": 0.03, "zoom out": 0.03, "roll": 0.05,
    }.get(scene.kind, 0.18)  # fmt: skip
    x = reach * scene.width * np.cos(way) * t
    y = reach * scene.height * np.sin(way) * t
    if scene.kind in {"handheld", "violent shake"}:
        sway = rng.standard_normal((2, scene.frames))
        if scene.kind == "handheld":
            sway = cv2.GaussianBlur(sway, (0, 0), 2.0, borderType=cv2.BORDER_REFLECT) * 2
        strength = 0.004 if scene.kind == "handheld" else 0.02
        x, y = x + strength * scene.width * sway[0], y + strength * scene.width * sway[1]
    grows = {"zoom in": 1.25, "zoom out": 1 / 1.25}.get(scene.kind, 1.0)
    turn = np.deg2rad(8.0 if scene.kind == "roll" else 0.0) * t * np.sign(np.cos(way))
    return np.stack([x, y, grows ** (t - 0.5 * np.sign(1 - grows)), turn], axis=1)


def _moved(
    picture: npt.NDArray[np.float32],
    camera: npt.NDArray[np.float64],
    scene: Scene,
    rng: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """The picture as the camera sees it, without aliasing at its widest view."""
    height, width = picture.shape[:2]
    across = min(width / scene.width, height / scene.height) * 0.6
    widest = across / float(camera[:, 2].min())
    if widest > 1:
        picture = cv2.GaussianBlur(picture, (0, 0), 0.5 * widest)
    centre = np.array([width, height]) / 2 + rng.uniform(-0.04, 0.04, 2) * (width, height)
    frames = []
    for x, y, zoom, turn in camera:
        scale = across / zoom
        matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        at = centre + across * np.array([x, y]) - matrix @ [scene.width / 2, scene.height / 2]
        frames.append(_warp(picture, np.column_stack([matrix, at]), scene))
    return np.stack(frames)


def _put_object(
    frames: npt.NDArray[np.float32],
    scene: Scene,
    camera: npt.NDArray[np.float64],
    rng: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """Put an ellipse of the other photograph into `frames` (in place); its mask (N, H, W).

    It moves one and a half times as far as the ground behind it, and a little on its own.
    """
    other = photograph(scene.other)
    radius = rng.uniform(0.13, 0.2) * scene.width * np.array([1.0, rng.uniform(0.7, 1.2)])
    across = min(other.shape[1] / scene.width, other.shape[0] / scene.height) * 0.6
    if across > 1:
        other = cv2.GaussianBlur(other, (0, 0), 0.5 * across)
    start = rng.uniform((0.3, 0.35), (0.7, 0.65)) * (scene.width, scene.height)
    own = rng.uniform(-0.12, 0.12, 2) * scene.width
    look = np.array([other.shape[1], other.shape[0]]) * rng.uniform(0.4, 0.6, 2)
    t = np.linspace(-0.5, 0.5, len(frames))
    if scene.kind == "eased":
        t = (t + 0.5) ** 2 * (3 - 2 * (t + 0.5)) - 0.5
    y, x = np.mgrid[: scene.height, : scene.width].astype(np.float32)
    masks = np.empty(frames.shape[:3], np.float32)
    for index, frame in enumerate(frames):
        at = start - 1.5 * camera[index, :2] + own * t[index]
        away = np.hypot((x - at[0]) / radius[0], (y - at[1]) / radius[1])
        mask = np.clip((1 - away) * float(radius.min()) / 1.5 + 0.5, 0, 1)
        matrix = np.column_stack([across * np.eye(2), look - across * at])
        thing = _warp(other, matrix, scene)
        frame += mask[..., None] * (thing - frame)
        masks[index] = mask
    return masks


def _warp(picture: Any, matrix: Any, scene: Scene) -> npt.NDArray[np.float32]:
    return np.asarray(
        cv2.warpAffine(
            picture,
            matrix,
            (scene.width, scene.height),
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        ),
        np.float32,
    )
