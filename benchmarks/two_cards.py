"""What the parts of the benchmark of two cards share: the machine, orders, and what is told.

NOTE: torch is imported inside the functions: worker processes import this module first, and what
brings torch and diffusers in looks at the cards before a worker is told which one is its own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.overlap import recipe as two_stages
from manifests.placement import CardPlacement
from manifests.stage import Recipe, Stage, StageKind
from render.order import ModelRef, Receipt, RenderOrder
from tasks.gpus import Device, Machine, find_machine
from tasks.worker_pool import WorkerPool

BUDGET = 300.0
"""Seconds for any one step."""
STEPS = 3
"""Of the takes that are timed: a step is a step."""
SMALL, LARGE = "17 frames 512x512", "81 frames 832x480"
SHAPES = {SMALL: (17, 512, 512), LARGE: (81, 832, 480)}
TINY_SHAPES = {SMALL: (5, 64, 64), LARGE: (9, 64, 64)}


@dataclass(frozen=True, slots=True)
class Rig:
    """Where the benchmark runs."""

    tiny: bool
    """A rehearsal over CPU processes."""

    @property
    def device(self) -> str:
        """What a worker calls its card."""
        return "cpu" if self.tiny else "cuda:0"

    @property
    def shapes(self) -> dict[str, tuple[int, int, int]]:
        """Frames, width and height, by words."""
        return TINY_SHAPES if self.tiny else SHAPES

    def machine(self, device: str, placed: CardPlacement) -> Machine:
        """Of this machine, or of CPU processes in place of cards."""
        if not self.tiny:
            return find_machine(device, placed)
        number = 2 if device == "auto" and placed.upscale is None else 1
        fake = [Device(name=f"fake #{n}", torch_device="cpu", visible="") for n in range(3)]
        return Machine(cards=tuple(fake[:number]), upscaler=fake[2] if placed.upscale else None)

    def pool(
        self, scratch: Path, *, device: str = "auto", placed: CardPlacement | None = None
    ) -> WorkerPool:
        """The night's pool over those cards."""
        return WorkerPool(
            self.machine(device, placed or CardPlacement()),
            threads=os.cpu_count() or 1,
            scratch=scratch,
            listener=lambda progress: None,
        )


def order(
    folder: Path, model: str, made: Recipe, *, device: str, gpus: int = 1, name: str = "take"
) -> RenderOrder:
    """An order for one take, in a folder of its own."""
    return RenderOrder(
        take_id=f"bench/{name}/f/t1",
        shot=name,
        take=1,
        recipe=made,
        model=ModelRef(name="wan", family="wan", location=model),
        source=None,
        folder=folder / name,
        device=device,
        gpus=gpus,
    )


def one_stage(seed: int, frames: int, width: int, height: int) -> Recipe:
    """One stage of a few steps with guidance."""
    stage = Stage(kind=StageKind.RENOISE, steps=STEPS, cfg=5.0, shift=5.0)
    return replace(
        two_stages(seed=seed, tiny=False),
        stages=(stage,),
        frames=frames,
        width=width,
        height=height,
    )


def spans(receipt: Receipt) -> dict[str, float]:
    """Seconds of each stretch of a take, by its kind."""
    return {span.kind: round(span.ended - span.begun, 2) for span in receipt.timeline}


def step_seconds(receipt: Receipt) -> float:
    """Seconds of one step (two model calls), the slow first ones of a shape included."""
    (span,) = [span for span in receipt.timeline if span.kind == "stage 1"]
    return (span.ended - span.begun) / STEPS


def compared(receipt: Receipt, to: Receipt) -> dict[str, Any]:
    """How far the last latents are apart, and what the receipt says of how they were made."""
    one, two = _latents(to), _latents(receipt)
    return {
        "latents_rms": round(float(one.square().mean().sqrt()), 4),
        "distance_rms": float((one - two).square().mean().sqrt()),
        "latents_equal": to.stages[-1].latents_sha256 == receipt.stages[-1].latents_sha256,
        "peak_gib": round(receipt.peak_memory / 2**30, 2),
        "rungs": list(receipt.rungs),
        "notes": list(receipt.notes),
        "spans": spans(receipt),
    }


def _latents(receipt: Receipt) -> Any:
    """Of the last stage, a float32 tensor."""
    from safetensors.torch import load_file

    return load_file(receipt.stages[-1].latents)["latents"]
