"""Fifteen defects in three grades: weak (just seen), middle (plain), strong (glaring)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.qc_bench import visible
from benchmarks.qc_bench.scenes import Clip, Film, Scene, another, to_bytes
from qc.scorecard import FailureClass

GRADES = ("weak", "middle", "strong")


@dataclass(frozen=True, slots=True, kw_only=True)
class Defect:
    """One way to spoil a clip."""

    name: str
    spoil: Callable[[Film, Scene, float, np.random.Generator], Clip]
    strengths: tuple[float, float, float]
    """Of the three grades, in the unit of the defect's own sentence."""
    failure: FailureClass
    """The class that a verdict should name."""
    metrics: tuple[str, ...]
    """Those that should see it, the one whose AUC counts first."""
    colourful: bool = False
    """Only on photographs with colours."""
    kind: str | None = None
    """Only on scenes of this kind."""
    seen: Callable[[Film, Clip], bool] = visible.always
    """Whether anybody sees it in the spoilt clip of a scene; else that clip is not labelled."""


def _gain(clip: Clip, gains: npt.NDArray[np.floating]) -> Clip:
    return to_bytes(clip * gains[:, None, None, None])


def global_flicker(film: Film, scene: Scene, strength: float, rng: np.random.Generator) -> Clip:
    """Every frame has its own exposure, off by `strength` (standard deviation)."""
    errors = rng.standard_normal(len(film.clip))
    return _gain(film.clip, 1 + strength * errors / errors.std())


def local_flicker(film: Film, scene: Scene, strength: float, rng: np.random.Generator) -> Clip:
    """Soft patches brighten and darken on their own, by `strength`; the mean stays."""
    gains = []
    for _ in film.clip:
        coarse = rng.standard_normal((4, 6)).astype(np.float32)
        size = (scene.width, scene.height)
        field = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
        gains.append(1 + strength * (field - field.mean()))
    return to_bytes(film.clip * np.stack(gains)[..., None])


def _displaced(clip: Clip, fields: npt.NDArray[np.floating]) -> Clip:
    """Each frame pushed about by its field (N, H, W, 2), pixels."""
    height, width = clip.shape[1:3]
    grid = np.dstack(np.meshgrid(np.arange(width), np.arange(height))).astype(np.float32)
    moved = [
        cv2.remap(
            frame,
            grid + field.astype(np.float32),
            None,
            cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REFLECT,
        )
        for frame, field in zip(clip, fields, strict=True)
    ]
    return np.stack(moved)


def boiling(film: Film, scene: Scene, strength: float, rng: np.random.Generator) -> Clip:
    """Texture is pushed about, `strength` pixels at 256, by a fine field new in every frame."""
    cell = max(4, round(4 * scene.width / 256))
    shape = (scene.height // cell, scene.width // cell, 2)
    fields = [
        cv2.resize(
            rng.standard_normal(shape).astype(np.float32),
            (scene.width, scene.height),
            interpolation=cv2.INTER_CUBIC,
        )
        for _ in film.clip
    ]
    return _displaced(film.clip, np.stack(fields) * strength * scene.width / 256)


def wobble(film: Film, scene: Scene, strength: float, rng: np.random.Generator) -> Clip:
    """The ground sways like jelly, `strength` pixels at 256; the object in front stands firm."""
    count = len(film.clip)
    coarse = rng.standard_normal((count, 4 * 6 * 2)).astype(np.float32)
    smooth = cv2.GaussianBlur(coarse, (1, 0), sigmaX=0.01, sigmaY=1.2)
    smooth = (smooth / smooth.std()).reshape(count, 4, 6, 2)
    size = (scene.width, scene.height)
    fields = np.stack([cv2.resize(f, size, interpolation=cv2.INTER_CUBIC) for f in smooth])
    fields *= strength * scene.width / 256 * (1 - film.masks[..., None])
    return _displaced(film.clip, fields)


def frozen(film: Film, scene: Scene, strength: float, rng: np.random.Generator) -> Clip:
    """The last `strength` of the clip stands still."""
    stop = round(len(film.clip) * (1 - strength))
    return np.concatenate(
        [film.clip[:stop], np.repeat(film.clip[stop][None], len(film.clip) - stop, 0)]
    )


def duplicated(film: Film, scene: Scene, strength: float, rng: np.random.Generator) -> Clip:
    """`strength` frames are shown twice and their successors never."""
    clip = film.clip.copy()
    for at in rng.choice(np.arange(2, len(clip) - 3, 3), int(strength), replace=False):
        clip[at + 1] = clip[at]
    return clip


def dropped(film: Film, scene: Scene, strength: float, rng: np.random.Generator) -> Clip:
    """`strength` frames are missing in the middle."""
    at = len(film.clip) // 2 + int(rng.integers(-4, 3))
    return np.delete(film.clip, slice(at, at + int(strength)), axis=0)


def dimmed(film: Film, scene: Scene, strength: float, rng: np.random.Generator) -> Clip:
    """One or two frames lose `strength` of their light, or are brighter by it."""
    gains = np.ones(len(film.clip))
    at = int(rng.integers(5, len(gains) - 6))
    bright = rng.random() < 0.3 and float(film.clip.mean()) < 110 and strength < 1
    gains[at : at + int(rng.integers(1, 3))] = 1 / (1 - strength) if bright else 1 - strength
    return _gain(film.clip, gains)


def cut(film: Film, scene: Scene, strength: float, rng: np.random.Generator) -> Clip:
    """From the middle on another place of the scene (1), another scene (2), its negative (3)."""
    half = len(film.clip) // 2
    if strength == 1:
        after = np.roll(film.clip[:, :, ::-1], scene.width // 3, axis=2)
    else:
        after = another(scene)
    after = 255 - after if strength == 3 else after
    return np.concatenate([film.clip[:half], after[half:]])


def colour_drift(film: Film, scene: Scene, strength: float, rng: np.random.Generator) -> Clip:
    """White balance wanders off: one channel gains `strength` by the end, another loses it."""
    gains = np.ones((len(film.clip), 3))
    up, down = rng.permutation(3)[:2]
    gains[:, up] += np.linspace(0, strength, len(gains))
    gains[:, down] -= np.linspace(0, strength, len(gains))
    return to_bytes(film.clip * gains[:, None, None, :])


def oversaturated(film: Film, scene: Scene, strength: float, rng: np.random.Generator) -> Clip:
    """Colours grow to `strength` times theirs within eight frames, as a CFG too high makes them."""
    gains = np.interp(np.arange(len(film.clip)), [0, 8], [1, strength])[:, None, None, None]
    grey = film.clip.mean(axis=3, keepdims=True)
    return to_bytes(grey + (film.clip - grey) * gains)


def softening(film: Film, scene: Scene, strength: float, rng: np.random.Generator) -> Clip:
    """The focus drifts away, to a Gaussian of `strength` pixels at 256."""
    last, most = len(film.clip) - 1, strength * scene.width / 256
    return np.stack(
        [cv2.GaussianBlur(f, (0, 0), 0.05 + most * i / last) for i, f in enumerate(film.clip)]
    )


def collapse(film: Film, scene: Scene, strength: float, rng: np.random.Generator) -> Clip:
    """The last three frames dissolve into smeared noise of up to `strength` levels."""
    clip = film.clip.astype(np.float32)
    for step in range(3):
        noise = cv2.GaussianBlur(rng.standard_normal(clip.shape[1:]), (0, 0), 1.5)
        clip[len(clip) - 3 + step] += strength * (step + 1) / 3 * noise / noise.std()
    return to_bytes(clip)


def identity(film: Film, scene: Scene, strength: float, rng: np.random.Generator) -> Clip:
    """The object in front slowly turns into something else: `strength` of it by the end."""
    share = np.linspace(0, 1, len(film.clip)) * strength
    clip = film.clip.astype(np.float32)
    for index, mask in enumerate(film.masks):
        if (mask > 0.5).any():
            inner = _upside_down(film, index)
            clip[index] += (share[index] * mask)[..., None] * (inner - clip[index])
    return to_bytes(clip)


def _upside_down(film: Film, index: int) -> npt.NDArray[np.float32]:
    """The frame so turned that the object lies upside down at its own place: other features, the
    same colours."""
    height, width = film.masks.shape[1:]
    y, x = np.nonzero(film.masks[index] > 0.5)
    dy = round(2 * float(y.mean()) - (height - 1))
    dx = round(2 * float(x.mean()) - (width - 1))
    turned = film.clip[index, ::-1, ::-1].astype(np.float32)
    return np.roll(turned, (dy, dx), axis=(0, 1))


def banding(film: Film, scene: Scene, strength: float, rng: np.random.Generator) -> Clip:
    """Ramps in steps of `strength` levels, where the picture is smooth."""
    return np.stack([_banded(frame, strength) for frame in film.clip])


def _banded(frame: npt.NDArray[np.uint8], step: float) -> npt.NDArray[np.uint8]:
    smooth = cv2.GaussianBlur(frame.astype(np.float32), (0, 0), 2.5)
    texture = cv2.GaussianBlur(np.abs(frame - smooth).mean(axis=2), (0, 0), 4)
    share = np.clip((3.0 - texture) / 1.0, 0, 1)[..., None]
    return to_bytes(share * np.round(smooth / step) * step + (1 - share) * frame)


_SEEN = {
    "identity": visible.in_the_object,
    "wobble": visible.over_the_picture,
    "oversaturated": visible.over_the_picture,
    "colour drift": visible.over_the_picture,
}

DEFECTS = tuple(
    Defect(
        name=name,
        spoil=spoil,
        strengths=strengths,
        failure=FailureClass(failure),
        metrics=metrics,
        colourful=name in {"oversaturated", "colour drift"},
        kind="sky" if name == "banding" else None,
        seen=_SEEN.get(name, visible.always),
    )
    for name, spoil, strengths, failure, metrics in (
        ("global flicker", global_flicker, (0.012, 0.02, 0.04), "flicker", ("flicker",)),
        ("local flicker", local_flicker, (0.02, 0.03, 0.06), "flicker", ("flicker_local",)),
        ("boiling", boiling, (0.7, 1.1, 1.6), "boiling", ("boiling",)),
        ("wobble", wobble, (0.8, 1.5, 3.0), "wobble", ("wobble",)),
        ("frozen", frozen, (0.3, 0.5, 0.8), "frozen", ("frozen",)),
        ("duplicated", duplicated, (1, 2, 4), "duplicated", ("duplicate_ratio",)),
        ("dropped", dropped, (1, 2, 5), "dropped", ("dropped", "lpips_spike")),
        ("black or flash", dimmed, (0.27, 0.5, 1.0), "black", ("luma_dip", "luma_flash", "black")),
        ("cut", cut, (1, 2, 3), "cut", ("cut",)),
        ("colour drift", colour_drift, (0.1, 0.2, 0.35), "colour_drift", ("colour_drift",)),
        ("oversaturated", oversaturated, (1.35, 1.6, 2.0), "oversaturated", ("saturation_shift",)),
        ("softening", softening, (0.6, 1.0, 1.8), "blur", ("blur",)),
        ("collapse", collapse, (10, 20, 40), "collapse", ("collapse",)),
        ("identity", identity, (0.4, 0.7, 1.0), "identity", ("identity_drift", "identity_lpips")),
        ("banding", banding, (4, 7, 12), "banding", ("banding",)),
    )
)
