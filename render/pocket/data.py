"""Clips with a known camera move: a canvas filmed along an affine path.

All geometry is in pixels of the canvas, ``x`` to the right and ``y`` downwards. At frame time
``tau`` (0..1) the camera stands at ``centre(tau)``, sees ``density / zoom(tau)`` canvas pixels per
frame pixel and is turned clockwise by ``roll(tau)``. Directions are the camera's (see moves.py):
"pan left" moves the centre left, so the content moves right. Every frame pixel is the mean of
2 x 2 samples, so the clips are crisp and free of aliasing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from render.pocket.moves import FAST_SHARE, SLOW_SHARE, TRAVEL, Move

SUPERSAMPLE = 2
"""Samples per frame pixel and axis."""

BUCKETS: tuple[tuple[int, int], ...] = (
    (128, 128),
    (96, 160),
    (160, 96),
    (112, 144),
    (144, 112),
)
"""(height, width) pairs trained on."""


@dataclass(frozen=True)
class Shot:
    """What one clip is to do."""

    moves: tuple[Move, ...]
    """One move, or two that run together."""
    speed: int = 0
    """-1 slow, 0 normal, 1 fast."""


def film(
    *,
    pool: Tensor,
    shots: list[Shot],
    height: int,
    width: int,
    frames: int,
    generator: torch.Generator,
) -> Tensor:
    """Films one random canvas of ``pool`` per shot; (N, 3, frames, height, width), -1..1.

    ``pool`` is uint8 (P, 3, S, S). Draws come from ``generator``, which lives on the pool's
    device: the same generator state gives the same clips.
    """
    count = len(shots)
    device = pool.device
    pick = torch.randint(len(pool), (count,), generator=generator, device=device)
    canvases = pool[pick].float() / 127.5 - 1
    paths = camera_paths(
        shots=shots,
        height=height,
        width=width,
        frames=frames,
        side=pool.shape[-1],
        generator=generator,
    )
    return shoot(canvases=canvases, paths=paths, height=height, width=width)


@dataclass(frozen=True)
class Paths:
    """Camera paths of N clips over T frames; every field is (N, T)."""

    x: Tensor
    """Centre, canvas pixels from the canvas centre, to the right."""
    y: Tensor
    """Centre, canvas pixels from the canvas centre, downwards."""
    step: Tensor
    """Canvas pixels per frame pixel."""
    roll: Tensor
    """Clockwise turn of the camera, radians."""


def camera_paths(
    *,
    shots: list[Shot],
    height: int,
    width: int,
    frames: int,
    side: int,
    generator: torch.Generator,
) -> Paths:
    """Paths for the shots: nearly constant speed, +-7 % of travel, a trace of ease.

    The travel for ``frames`` frames is that of 17: shorter clips go proportionally less far, so
    the speed per frame is always the same.
    """
    count, device = len(shots), generator.device

    def uniform(low: float, high: float) -> Tensor:
        draw = torch.rand(count, 1, generator=generator, device=device)
        return low + (high - low) * draw

    wish = torch.tensor([_travel(s) for s in shots], device=device, dtype=torch.float32)
    wish = wish * uniform(0.93, 1.07)
    right, down, zoom, roll = wish.split(1, dim=1)
    share = torch.linspace(0, (frames - 1) / 16, frames, device=device)[None]
    ease = uniform(0.0, 0.10)
    tau = share + ease * (share - torch.sin(math.pi * (share - 0.5)).add(1).div(2)) * -1
    density = torch.exp(uniform(math.log(0.9), math.log(1.9)))
    start_roll = uniform(-0.26, 0.26) * (uniform(0, 1) < 0.2)
    # density is that of the path's closest frame, so that no frame is sampled too finely
    step = density * torch.exp(zoom.clamp(min=0) - zoom * tau)
    angle = start_roll + roll * tau
    travel_x, travel_y = right * width * tau, down * height * tau
    x = step[:, :1] * (travel_x * start_roll.cos() - travel_y * start_roll.sin())
    y = step[:, :1] * (travel_x * start_roll.sin() + travel_y * start_roll.cos())
    middle_x, middle_y = x[:, -1:] / 2, y[:, -1:] / 2
    half = step.amax(1, keepdim=True) / 2
    room_x = (side / 2 - half * width - x[:, -1:].abs() / 2).clamp(min=0)
    room_y = (side / 2 - half * height - y[:, -1:].abs() / 2).clamp(min=0)
    x = x - middle_x + uniform(-1, 1) * room_x
    y = y - middle_y + uniform(-1, 1) * room_y
    return Paths(x=x, y=y, step=step, roll=angle)


def shoot(*, canvases: Tensor, paths: Paths, height: int, width: int) -> Tensor:
    """Frames of (N, 3, S, S) canvases along their paths: (N, 3, T, height, width)."""
    count, frames = paths.x.shape
    side = canvases.shape[-1]
    fine_h, fine_w = height * SUPERSAMPLE, width * SUPERSAMPLE
    rows = (torch.arange(fine_h, device=canvases.device) + 0.5) / SUPERSAMPLE - height / 2
    cols = (torch.arange(fine_w, device=canvases.device) + 0.5) / SUPERSAMPLE - width / 2
    v, u = torch.meshgrid(rows, cols, indexing="ij")
    x, y, step, roll = (t[..., None, None] for t in (paths.x, paths.y, paths.step, paths.roll))
    # the camera's own axes, turned clockwise by roll (y points down)
    grid_x = x + step * (u * roll.cos() - v * roll.sin())
    grid_y = y + step * (u * roll.sin() + v * roll.cos())
    grid = torch.stack([grid_x, grid_y], dim=-1) / (side / 2)
    grid = grid.reshape(count, frames * fine_h, fine_w, 2)
    fine = functional.grid_sample(
        canvases,
        grid.to(canvases.dtype),
        mode="bilinear",
        padding_mode="reflection",
        align_corners=False,
    )
    fine = fine.reshape(count * 3 * frames, 1, fine_h, fine_w)
    return functional.avg_pool2d(fine, SUPERSAMPLE).reshape(count, 3, frames, height, width)


def _travel(shot: Shot) -> tuple[float, float, float, float]:
    """(right, down, log zoom, roll in radians) of a shot over 17 frames."""
    share = {-1: SLOW_SHARE, 0: 1.0, 1: FAST_SHARE}[shot.speed]
    if len(shot.moves) > 1:
        share *= 0.8
    legs = [TRAVEL[m] for m in shot.moves]
    return (
        share * sum(leg.right for leg in legs),
        share * sum(leg.down for leg in legs),
        share * sum(math.log(leg.zoom) for leg in legs),
        share * sum(math.radians(leg.roll) for leg in legs),
    )
