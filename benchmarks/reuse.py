"""What the store spares, in calls of the model, and what keeping costs, for latents of real size.

    OMP_NUM_THREADS=1 python -m benchmarks.reuse --out benchmarks/results/reuse.json

Calls are counted, not timed: they are what a card is busy with. Times are medians, with fsync, on
the disk of the temporary folder.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.pocket_order import STILLS, pocket_order, pocket_recipe
from render.diffusers_backend import DiffusersBackend
from render.families.wan import WanModel
from render.midway import CADENCE, Cadence, Keeper, load_cut
from render.order import RenderOrder
from render.sampling import StepEnd
from render.solver import SolverSetup
from render.solver_ode import DPMpp2M
from render.store import Kind, Store

STILL = STILLS / "cat.jpg"
LATENTS = {
    "wan-2.1, 81 frames of 832x480": (1, 16, 21, 60, 104),
    "wan-2.1, 81 frames of 1280x720": (1, 16, 21, 90, 160),
    "wan-2.2-5b, 121 frames of 1280x704": (1, 48, 31, 44, 80),
}
TEXT = (1, 512, 4096)
"""Of UMT5-XXL, bfloat16."""
REPEATS = 9


def order_of(folder: Path) -> RenderOrder:
    """A small pocket take in two stages."""
    small = {"width": 64, "height": 64, "frames": 9}
    recipe = pocket_recipe("two-stage", STILL, "the camera pans left", **small)
    return pocket_order(recipe, STILL, folder / "first", store=folder / "store", store_leaves=0)


def takes(folder: Path) -> dict[str, Any]:
    """Calls of the transformer and of the text encoder, for four takes by fresh workers."""
    first = order_of(folder)
    recipe = first.recipe
    later = replace(recipe.stages[1], denoise=recipe.stages[1].denoise - 0.1)
    others = {
        "first take": recipe,
        "retake, stage 2 changed": replace(recipe, stages=(recipe.stages[0], later)),
        "retake, new seed": recipe.with_seed(2),
        "same recipe in another shot": recipe,
    }
    return {
        name: calls_of(replace(first, recipe=changed, folder=folder / name))
        for name, changed in others.items()
    }


def calls_of(order: RenderOrder) -> dict[str, Any]:
    counts = {"velocity": 0, "encode_text": 0}
    kept = {name: getattr(WanModel, name) for name in counts}

    def counting(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            counts[name] += 1
            return kept[name](*arguments, **named)

        return call

    for name in counts:
        setattr(WanModel, name, counting(name))
    try:
        receipt = DiffusersBackend().render(order, tell=lambda _: None)
    finally:
        for name, method in kept.items():
            setattr(WanModel, name, method)
    return {
        "model calls": counts["velocity"],
        "texts encoded": counts["encode_text"],
        "reused": list(receipt.reused),
    }


def costs(folder: Path, label: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """Keeping a stage between its steps and taking it up, with the memory of dpmpp_2m."""
    x, solver = torch.randn(shape), DPMpp2M(SolverSetup())
    solver.load_state({"x0": torch.randn(shape), "sigma": torch.tensor(0.8)})
    often = Cadence(every_seconds=0.0, most_share=float("inf"))
    keep, take_up = [], []
    end = StepEnd(done=1, steps=9, x=x, solver=solver)
    for _ in range(REPEATS):
        keeper = Keeper(folder, plan=label, cadence=often)
        keep.append(timed(partial(keeper.after_step, end)))
        take_up.append(timed(lambda: load_cut(folder, plan=label)))
    seconds = median(keep)
    return {
        "megabytes": round(2 * x.nbytes / 1e6, 1),
        "keep_ms": round(1e3 * seconds, 1),
        "take_up_ms": round(1e3 * median(take_up), 1),
        "share of the time": round(seconds / max(CADENCE.every_seconds, seconds / 0.02), 5),
    }


def text(folder: Path) -> dict[str, Any]:
    """Keeping and finding the embeddings of one text."""
    store, parts = Store(folder, reserve_bytes=0), {"text": torch.randn(TEXT).bfloat16()}
    keep = [timed(partial(store.keep, Kind.TEXT, key(k), parts)) for k in range(REPEATS)]
    found: list[dict[str, Tensor] | None] = []

    def look(k: int) -> None:
        found.append(store.find(Kind.TEXT, key(k)))

    find = [timed(partial(look, k)) for k in range(REPEATS)]
    assert all(each is not None for each in found)
    return {"keep_ms": round(1e3 * median(keep), 1), "find_ms": round(1e3 * median(find), 1)}


def key(k: int) -> str:
    return f"{k:064x}"


def timed(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result = {
            "date": datetime.now(UTC).date().isoformat(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores (shared), torch, 1 thread",
            "versions": {name: version(name) for name in ("torch", "diffusers", "safetensors")},
            "pocket two-stage": takes(folder),
            "a stage between its steps": {
                label: costs(folder / str(index), label, shape)
                for index, (label, shape) in enumerate(LATENTS.items())
            },
            "a text of UMT5-XXL": text(folder / "texts"),
        }
    out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
