"""Canvases to film: photographs in many guises and pictures made from nothing but numbers.

A canvas is a square RGB picture, larger than any frame, that a camera path then crosses. Half of
the pool are photographs (random scale, crop, flip, colour); the other half is made up: leaves of
noise lying over each other (the statistics of real scenes: flat areas, hard edges, all sizes),
pure noise of many octaves, and strokes like writing. All of it is drawn on one torch device.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from render.pocket.photos import Photo

CANVAS = 448
"""Side of a canvas, pixels."""


def build_pool(
    *, photos: list[Photo], count: int, device: torch.device, seed: int, side: int = CANVAS
) -> Tensor:
    """``count`` canvases, uint8 (count, 3, side, side); same seed and device, same pool."""
    gen = torch.Generator(device=device).manual_seed(seed)
    rng = np.random.default_rng(seed)
    stills = [_photo_tensor(p, device) for p in photos]
    made: list[Tensor] = []
    from_photos = int(0.55 * count) if stills else 0
    for _ in range(from_photos):
        made.append(_to_bytes(_photo_canvas(stills, rng, side)[None]))
    while sum(len(m) for m in made) < count:
        kind = rng.random()
        batch = max(1, min(16, count - sum(len(m) for m in made)))
        if kind < 0.7:
            canvas = _leaves(batch, side, gen, rng, stills)
        elif kind < 0.88:
            canvas = _noise(batch, side, gen, rng)
        else:
            canvas = _strokes(batch, side, gen, rng)
        made.append(_to_bytes(canvas))
    pool = torch.cat(made)
    return pool[torch.randperm(len(pool), generator=gen, device=device)]


def _photo_tensor(photo: Photo, device: torch.device) -> Tensor:
    """(3, H, W) float, 0..1."""
    return torch.from_numpy(photo.pixels).to(device).permute(2, 0, 1).float() / 255


def _to_bytes(canvas: Tensor) -> Tensor:
    """Float canvases 0..1 to uint8."""
    return (canvas.clamp(0, 1) * 255).round().to(torch.uint8)


def _photo_canvas(stills: list[Tensor], rng: np.random.Generator, side: int) -> Tensor:
    """One photograph at a random scale, cropped, flipped and recoloured: (3, side, side)."""
    still = stills[int(rng.choice(len(stills), p=_photo_odds(stills)))]
    _, height, width = still.shape
    scale = float(np.exp(rng.uniform(np.log(0.5), np.log(1.5))))
    take_h = min(height, int(side / scale) + 1)
    take_w = min(width, int(side / scale) + 1)
    y = int(rng.integers(0, height - take_h + 1))
    x = int(rng.integers(0, width - take_w + 1))
    crop = still[None, :, y : y + take_h, x : x + take_w]
    size = (max(8, int(take_h * scale)), max(8, int(take_w * scale)))
    crop = functional.interpolate(
        crop, size=size, mode="bicubic", antialias=True, align_corners=False
    )
    if rng.random() < 0.5:
        crop = crop.flip(-1)
    if rng.random() < 0.15:
        crop = crop.flip(-2)
    return _recolour(_mirror_fill(crop, side), rng)[0]


def _photo_odds(stills: list[Tensor]) -> list[float]:
    """Rich colour pictures are drawn more often than flat grey textures."""
    weights = []
    for still in stills:
        colour = float((still - still.mean(0, keepdim=True)).abs().mean())
        weights.append(1.0 if colour < 0.01 else 3.0)
    return [w / sum(weights) for w in weights]


def _mirror_fill(picture: Tensor, side: int) -> Tensor:
    """Mirrors a too small picture outwards until it covers side x side; crops a larger one."""
    while picture.shape[-2] < side:
        picture = torch.cat([picture, picture.flip(-2)], dim=-2)
    while picture.shape[-1] < side:
        picture = torch.cat([picture, picture.flip(-1)], dim=-1)
    return picture[..., :side, :side]


def _recolour(picture: Tensor, rng: np.random.Generator) -> Tensor:
    """Random gain, gamma, tint, colour mixing; at times grey. (N, 3, H, W), 0..1."""
    picture = picture.clamp(0, 1)
    kind = rng.random()
    if kind < 0.15:
        picture = picture.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    elif kind < 0.40:
        picture = picture[:, list(rng.permutation(3))]
    elif kind < 0.60:
        mix = torch.eye(3) + 0.35 * torch.from_numpy(rng.standard_normal((3, 3))).float()
        mix = (mix / mix.sum(1, keepdim=True)).to(picture.device)
        picture = torch.einsum("ij,njhw->nihw", mix, picture).clamp(0, 1)
    if rng.random() < 0.6:
        picture = picture ** float(np.exp(rng.uniform(-0.45, 0.45)))
    if rng.random() < 0.5:
        gain, lift = float(rng.uniform(0.6, 1.35)), float(rng.uniform(-0.15, 0.15))
        picture = (picture - 0.5) * gain + 0.5 + lift
    return picture.clamp(0, 1)


def _noise(
    batch: int, side: int, gen: torch.Generator, rng: np.random.Generator, channels: int = 3
) -> Tensor:
    """Octaves of smooth noise; the fall-off per octave sets how rough it is. 0..1."""
    device = gen.device
    total = torch.zeros(batch, channels, side, side, device=device)
    falloff = float(rng.uniform(0.5, 1.05))
    weight = 1.0
    cells = int(rng.integers(2, 6))
    while cells < side:
        size = (cells, max(2, int(cells * rng.uniform(0.5, 2.0))))
        grain = torch.randn(batch, channels, *size, generator=gen, device=device)
        total += weight * functional.interpolate(
            grain, size=(side, side), mode="bicubic", align_corners=False
        )
        weight *= falloff
        cells = int(cells * 2)
    low = total.amin((2, 3), keepdim=True)
    high = total.amax((2, 3), keepdim=True)
    total = (total - low) / (high - low)
    if channels == 3:
        shared = total.mean(1, keepdim=True)
        colour = torch.rand(batch, 1, 1, 1, generator=gen, device=device)
        total = _stretch(colour * total + (1 - colour) * shared, gen)
    return total


def _stretch(picture: Tensor, gen: torch.Generator) -> Tensor:
    """Full contrast, then a random colour pair laid over it: (N, 3, H, W), 0..1."""
    batch, device = len(picture), gen.device
    dark = torch.rand(batch, 3, 1, 1, generator=gen, device=device) * 0.6
    light = dark + torch.rand(batch, 3, 1, 1, generator=gen, device=device) * (1 - dark)
    return dark + ((picture - 0.5) * 1.6 + 0.5).clamp(0, 1) * (light - dark)


def _leaves(
    batch: int, side: int, gen: torch.Generator, rng: np.random.Generator, stills: list[Tensor]
) -> Tensor:
    """Shapes of all sizes lying over each other, each with its own filling. 0..1."""
    device = gen.device
    canvas = _noise(batch, side, gen, rng)
    fillings = [_noise(batch, side, gen, rng) for _ in range(4)]
    if stills:
        fillings += [
            torch.stack([_photo_canvas(stills, rng, side) for _ in range(batch)]) for _ in range(4)
        ]
    axis = torch.linspace(-1, 1, side, device=device)
    yy, xx = torch.meshgrid(axis, axis, indexing="ij")
    for _ in range(int(rng.integers(40, 220))):
        # sizes fall as a power law: a few large shapes, many small ones
        size = 0.03 / (1 - rng.random() * 0.985) ** 0.8
        mask = _shape_mask(batch, xx, yy, min(size, 0.8), side, gen, rng)
        fill = _filling(batch, fillings, gen, rng)
        canvas = canvas + mask * (fill - canvas)
    return _shade(canvas, gen, rng)


def _filling(
    batch: int, fillings: list[Tensor], gen: torch.Generator, rng: np.random.Generator
) -> Tensor:
    """Flat colour, a piece of noise, or a piece of a photograph, shifted at random."""
    colour = torch.rand(batch, 3, 1, 1, generator=gen, device=gen.device)
    if rng.random() < 0.6:
        colour = 0.3 * colour + 0.7 * colour.mean(1, keepdim=True)
    if rng.random() < 0.3:
        return colour
    fill = fillings[int(rng.integers(len(fillings)))]
    shift = (int(rng.integers(fill.shape[-1])), int(rng.integers(fill.shape[-1])))
    fill = fill.roll(shift, dims=(-2, -1))
    return fill if rng.random() < 0.7 else 0.5 * fill + 0.5 * colour


def _shape_mask(
    batch: int,
    xx: Tensor,
    yy: Tensor,
    size: float,
    side: int,
    gen: torch.Generator,
    rng: np.random.Generator,
) -> Tensor:
    """Soft-edged (one pixel) ellipses, boxes or diamonds: (N, 1, side, side), 0..1."""
    device = gen.device

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(batch, 1, 1, generator=gen, device=device)

    angle = uniform(0, 3.1416)
    dx, dy = xx - uniform(-1.1, 1.1), yy - uniform(-1.1, 1.1)
    u = (dx * angle.cos() + dy * angle.sin()) / (size * uniform(0.6, 1.6))
    v = (dy * angle.cos() - dx * angle.sin()) / (size * uniform(0.25, 1.0))
    kind = rng.random()
    if kind < 0.5:
        distance = (u * u + v * v + 1e-9).sqrt() - 1
    elif kind < 0.8:
        distance = torch.maximum(u.abs(), v.abs()) - 1
    else:
        distance = u.abs() + v.abs() - 1
    edge = side * size / 2 / (1.0 if rng.random() < 0.8 else float(rng.uniform(2, 12)))
    return (0.5 - distance * edge).clamp(0, 1)[:, None]


def _shade(canvas: Tensor, gen: torch.Generator, rng: np.random.Generator) -> Tensor:
    """A slow light over the whole picture, as lamps and skies give."""
    if rng.random() < 0.5:
        return canvas
    light = torch.randn(len(canvas), 1, 3, 3, generator=gen, device=gen.device) * 0.25
    light = functional.interpolate(
        light, size=canvas.shape[-2:], mode="bicubic", align_corners=True
    )
    return (canvas * (1 + light)).clamp(0, 1)


def _strokes(batch: int, side: int, gen: torch.Generator, rng: np.random.Generator) -> Tensor:
    """Rows of short strokes on a quiet ground, like writing or fine structure. 0..1."""
    device = gen.device
    ground = (
        _noise(batch, side, gen, rng) * 0.3
        + torch.rand(batch, 3, 1, 1, generator=gen, device=device) * 0.7
    )
    pitch = int(rng.integers(5, 22))
    rows = torch.rand(batch, 1, side // pitch, side // 3, generator=gen, device=device)
    ink = functional.interpolate(rows, size=(side, side), mode="nearest")
    lines = (torch.arange(side, device=device) % pitch < pitch * rng.uniform(0.4, 0.8)).float()
    mask = (ink > rng.uniform(0.4, 0.75)).float() * lines[:, None]
    slant = torch.rand(batch, 1, side // pitch, side // 5, generator=gen, device=device)
    mask = mask * (functional.interpolate(slant, size=(side, side), mode="bilinear") > 0.35).float()
    if rng.random() < 0.5:
        mask = mask.transpose(-1, -2)
    colour = torch.rand(batch, 3, 1, 1, generator=gen, device=device)
    return ground + mask * (colour - ground)


def plain_pool(*, photos: list[Photo], device: torch.device, side: int = CANVAS) -> Tensor:
    """The photographs as they are, mirrored out to a canvas: uint8 (N, 3, side, side)."""
    return torch.cat(
        [_to_bytes(_mirror_fill(_photo_tensor(p, device)[None], side)) for p in photos]
    )
