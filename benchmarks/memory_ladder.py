"""The same take on cards of several sizes, as torch's allocator sees them."""

from __future__ import annotations

import gc
import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from benchmarks.memory_model import RandomWan, footprint_of
from manifests.files import sha256_file
from manifests.stage import Concession, Recipe, Stage, StageKind
from render import diffusers_backend
from render.diffusers_backend import DiffusersBackend
from render.errors import OutOfMemory
from render.footprint import GIB, fit
from render.order import ModelRef, RenderOrder

LEAST: dict[tuple[int, int, int], tuple[float, float]] = {
    (832, 480, 81): (29.0, 7.2),
    (512, 512, 17): (27.0, 4.6),
}
"""Caps, GiB: one that holds an expert and not its work, one that holds all but the decode."""


@contextmanager
def capped(gib: float | None, device: torch.device) -> Iterator[None]:
    """A card of that many GiB, as torch's allocator sees it."""
    if gib is None or device.type != "cuda":
        yield
        return
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(gib * GIB / total)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def order_of(
    kind: str,
    size: tuple[int, int, int],
    root: Path,
    name: str,
    device: torch.device,
    **changes: Any,
) -> RenderOrder:
    """A take of two steps, one for each expert, without guidance."""
    still = root / "still.png"
    if not still.exists():
        Image.new("RGB", (size[0], size[1]), (90, 120, 150)).save(still)
    i2v = "i2v" in kind
    recipe = Recipe(
        preset="wan/single",
        family="wan",
        model=kind,
        model_id=f"random:{kind}",
        prompt="a",
        negative="b",
        width=size[0],
        height=size[1],
        frames=size[2],
        fps=16.0,
        seed=1,
        source_sha256=sha256_file(still) if i2v else None,
        precision="bfloat16",
        boundary=0.9 if i2v else None,
        stages=(Stage(kind=StageKind.RENOISE, steps=2, cfg=1.0, shift=5.0),),
        concessions=changes.pop("concessions", ()),
    )
    made = RenderOrder(
        take_id=f"bench/{name}/t1",
        shot=name,
        take=1,
        recipe=recipe,
        model=ModelRef(name=kind, family="wan", location="random"),
        source=still if i2v else None,
        folder=root / name,
        device=str(device),
    )
    return replace(made, **changes)


def ladder(
    kind: str, model: RandomWan, size: Any, root: Path, device: torch.device, say: Any
) -> list[Any]:
    """The same take on cards of several sizes: rungs, seconds, and whether the bits are equal.

    The room that a take needs is known from the estimate, or said to be nothing, so that memory
    really runs out. The last two share a folder: the second goes on from the first one's stage.
    """
    low, least = LEAST[size]
    footprint = footprint_of(kind, root / "models" / kind, size)
    known, nothing = footprint.room(()), dict.fromkeys(footprint.parts, 1)
    runs: list[tuple[str, float | None, dict[str, int], tuple[Concession, ...]]] = [
        ("whole card", None, known, ()),
        ("48 GiB", 48, known, ()),
        ("32 GiB", 32, known, ()),
        (f"{low:g} GiB, room unknown", low, nothing, ()),
        ("24 GiB", 24, known, ()),
        ("12 GiB", 12, known, ()),
        (f"{least:g} GiB", least, nothing, ()),
        (f"{least:g} GiB, tiling conceded", least, nothing, (Concession.TILING,)),
    ]
    found: list[Any] = []
    for name, gib, room, conceded in runs:
        _install(kind, model)
        backend = DiffusersBackend()
        folder = f"{size[2]}-{name.partition(',')[0]}".replace(" ", "-")
        if room is nothing and gib == low:
            folder += "-unknown"
        order = order_of(kind, size, root, folder, device, room=room, concessions=conceded)
        begun = time.perf_counter()
        said: dict[str, Any] = {"name": name, "cap_gib": gib}
        card = int((gib or 140) * GIB)
        said["plan"] = fit(footprint, card=card, concessions=conceded).words
        with capped(gib, device):
            try:
                receipt = backend.render(order, tell=lambda progress: None)
                said |= {
                    "rungs": list(receipt.rungs),
                    "notes": list(receipt.notes),
                    "peak_gib": round(receipt.peak_memory / GIB, 2),
                    "stage_seconds": [round(stage.seconds, 2) for stage in receipt.stages],
                    "decode_seconds": round(receipt.decode_seconds, 2),
                    "latents": receipt.stages[-1].latents_sha256[:16],
                    "clip": receipt.clip_sha256[:16],
                }
            except OutOfMemory as error:
                said |= {"error": str(error), "phase": error.phase, "rungs": list(error.rungs)}
        said["wall"] = round(time.perf_counter() - begun, 1)
        for residence in model.residences:
            for part in model.components.values():
                residence.send_away(part)
        found.append(said)
        say(said)
        del backend
        gc.collect()
    return found


def _install(kind: str, model: RandomWan) -> None:
    """Have the backend 'load' the model that is there already."""
    keep: Any = model
    keep.close = lambda: None
    diffusers_backend.load_model = lambda request: keep  # type: ignore[assignment]


def no_clip(frames: Any, path: Path, *, fps: float) -> None:
    digest = hashlib.sha256()
    for chunk in frames:
        digest.update(chunk.tobytes())
    path.write_text(digest.hexdigest())
