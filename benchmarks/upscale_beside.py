"""An upscale beside a take: on a card of its own, and on the card that renders.

In each arrangement, with warm workers: the take alone, the upscale alone, then both at once. Where
they share a card they take turns (`render.post.finish` asks for the card burst by burst).
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.overlap import recipe as two_stages
from benchmarks.two_cards import BUDGET, LARGE, SMALL, Rig, one_stage, order, spans
from manifests.placement import CardPlacement
from manifests.shot import FinishSpec, Upscale
from manifests.stage import Recipe
from render.order import Delivery, FinishOrder, Receipt
from tasks.worker_pool import WorkerPool

T = TypeVar("T")
FRAMES = 33
FACTOR = 2
"""Of 832x480. At 4 the grading, encoding and checking of 3328x1920 pixels on the CPU outlast by
far what the card does."""
Timed = tuple[T, float]
"""What came of it, and seconds."""
PLACES = (("another card", CardPlacement(upscale="cuda:1")), ("the same card", CardPlacement()))


async def upscale(rig: Rig, folder: Path, model: str) -> dict[str, Any]:
    """A take of many steps and an upscale of another, alone and at once, in both arrangements."""
    folder.mkdir(exist_ok=True)
    network = _compact(folder / "compact.safetensors")
    _, width, height = rig.shapes[LARGE]
    clip = _clip(folder / "clip.mkv", frames=FRAMES, width=width, height=height)
    short = _clip(folder / "short.mkv", frames=2, width=width, height=height)
    shape = rig.shapes[SMALL]
    longer = replace(one_stage(5, *shape), stages=two_stages(seed=1, tiny=rig.tiny).stages)
    told: dict[str, Any] = {}
    for words, placed in PLACES:
        name = words.replace(" ", "-")
        async with rig.pool(folder / name, device=_device(placed), placed=placed) as pool:
            beside = _Beside(rig, folder / name, model, longer, network, pool)
            await beside.finish("warm-up", short)
            await beside.take("warm-up")
            alone = await beside.take("alone"), await beside.finish("alone", clip)
            both = await asyncio.gather(beside.take("both"), beside.finish("both", clip))
        told[words] = _told(*alone, *both)
        print("upscale", words, told[words], flush=True)
    return told


class _Beside:
    """The two kinds of work in one arrangement; each name is used once for each kind."""

    def __init__(
        self, rig: Rig, folder: Path, model: str, made: Recipe, network: Path, pool: WorkerPool
    ) -> None:
        self._rig, self._folder, self._model = rig, folder, model
        self._made, self._network, self._pool = made, network, pool

    async def take(self, name: str) -> Timed[Receipt]:
        asked = order(
            self._folder, self._model, self._made, device=self._rig.device, name=f"take-{name}"
        )
        begun = time.perf_counter()
        receipt = await self._pool.render(asked, budget=BUDGET)
        return receipt, time.perf_counter() - begun

    async def finish(self, name: str, clip: Path) -> Timed[Delivery]:
        own = self._folder / name
        own.mkdir(parents=True)
        (own / clip.name).hardlink_to(clip)  # strips are laid beside it
        asked = FinishOrder(
            take_id=f"bench/finish-{name}/f/t1",
            shot=f"finish-{name}",
            clip=own / clip.name,
            finish=FinishSpec(upscale=Upscale(factor=float(FACTOR), model=self._network)),
            destination=own / "final.mp4",
        )
        begun = time.perf_counter()
        delivery = await self._pool.finish(asked, budget=BUDGET)
        return delivery, time.perf_counter() - begun


def _device(placed: CardPlacement) -> str:
    """One card renders in both arrangements."""
    return "auto" if placed.upscale else "cuda:0"


def _told(
    take: Timed[Receipt],
    finish: Timed[Delivery],
    take_beside: Timed[Receipt],
    finish_beside: Timed[Delivery],
) -> dict[str, Any]:
    """Seconds from the asking to the end, waits for the card and for a seat included."""
    (receipt, alone), (delivery, finished) = take, finish
    (beside, together), (delivered, finished_beside) = take_beside, finish_beside
    return {
        "take alone, seconds": round(alone, 2),
        "take beside the upscale, seconds": round(together, 2),
        "take slower by": round(together / alone, 3),
        "upscale alone, seconds": round(finished, 2),
        "upscale beside the take, seconds": round(finished_beside, 2),
        "upscale slower by": round(finished_beside / finished, 3),
        "one after the other, seconds": round(alone + finished, 2),
        "both at once, seconds": round(max(together, finished_beside), 2),
        "sampling alone and beside": [spans(receipt), spans(beside)],
        "latents equal": receipt.stages[-1].latents_sha256 == beside.stages[-1].latents_sha256,
        "deliveries equal": delivery.sha256 == delivered.sha256,
        "delivered": [delivery.frames, delivery.width, delivery.height, delivery.upscaler],
    }


def _clip(path: Path, *, frames: int, width: int, height: int) -> Path:
    """A clip of moving ramps: nothing of it need be rendered."""
    import numpy as np

    from render.clip import write_clip

    across, down = np.linspace(0, 1, width), np.linspace(0, 1, height)
    still = np.stack(np.broadcast_arrays(across, down[:, None], across[::-1]), axis=-1)
    moving = np.stack([np.roll(still, 4 * n, axis=1) for n in range(frames)])
    write_clip([moving.astype(np.float32)], path, fps=16.0)
    return path


def _compact(path: Path, *, width: int = 64, depth: int = 16) -> Path:
    """A RealESRGAN Compact network of its usual size, random weights."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(2)
    state: dict[str, Any] = {}
    channels = [3, *[width] * (depth + 1), 3 * FACTOR**2]
    for index, (into, out) in enumerate(pairwise(channels)):
        last = index == len(channels) - 2
        state[f"body.{2 * index}.weight"] = 0.05 * torch.randn(out, into, 3, 3)
        state[f"body.{2 * index}.bias"] = torch.zeros(out)
        if not last:
            state[f"body.{2 * index + 1}.weight"] = torch.full((out,), 0.2)
    save_file(state, path)
    return path
