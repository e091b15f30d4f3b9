"""The same take on cards of several sizes, as torch's allocator sees them."""

from __future__ import annotations

import gc
import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.memory_model import RandomWan, footprint_of
from manifests.files import sha256_file
from manifests.stage import Concession, Recipe, Stage, StageKind
from render import diffusers_backend
from render.diffusers_backend import DiffusersBackend, _device_words
from render.errors import OutOfMemory
from render.footprint import GIB, Footprint, fit
from render.ladder import Rung
from render.order import ModelRef, RenderOrder

LEAST: dict[tuple[int, int, int], tuple[float, float]] = {
    (832, 480, 81): (29.0, 8.3),
    (512, 512, 17): (27.0, 5.4),
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A take on a card of some size."""

    name: str
    folder: str
    cap: float | None
    """GiB; None: the whole card."""
    known: bool = True
    """Whether the room that the take needs is told from the estimate; else it is said to be
    nothing, so that memory really runs out."""
    conceded: tuple[Concession, ...] = ()
    begins: tuple[Rung, ...] = ()
    """Rungs that it begins with, as if takes before it had needed them."""


def runs_of(size: tuple[int, int, int], *, most: float) -> tuple[Run, ...]:
    """Whole, then smaller and smaller; caps above `most` GiB are left out.

    The two smallest share a folder: the second goes on from the first one's stage.
    """
    low, least = LEAST[size]
    runs = (
        Run(name="whole card", folder="whole", cap=None),
        Run(name="48 GiB", folder="48", cap=48),
        Run(name="32 GiB", folder="32", cap=32),
        Run(name=f"{low:g} GiB, room unknown", folder="unknown", cap=low, known=False),
        Run(name="24 GiB", folder="24", cap=24),
        Run(name="12 GiB", folder="12", cap=12),
        Run(name=f"{least:g} GiB", folder="least", cap=least, known=False),
        Run(
            name=f"{least:g} GiB, tiling conceded",
            folder="least",
            cap=least,
            known=False,
            conceded=(Concession.TILING,),
        ),
    )
    return tuple(run for run in runs if run.cap is None or run.cap <= most)


NARROW = (
    Run(name="whole card", folder="whole", cap=None),
    Run(
        name="24 GiB, weights in 8 bits",
        folder="narrow",
        cap=24,
        conceded=(Concession.FP8,),
        begins=(Rung.ALONE, Rung.FP8),
    ),
)
"""Two experts in turn, each resident, where bfloat16 must be swapped."""


def ladder(
    kind: str,
    model: RandomWan,
    size: Any,
    root: Path,
    device: torch.device,
    say: Any,
    *,
    runs: tuple[Run, ...],
) -> list[Any]:
    """The same take on cards of several sizes: rungs, seconds, and whether the bits are equal."""
    footprint = footprint_of(kind, root / "models" / kind, size)
    found: list[Any] = []
    whole: list[Any] = []
    for run in runs:
        _install(kind, model)
        order = order_of(
            kind,
            size,
            root,
            f"{size[2]}-{run.folder}",
            device,
            room=footprint.room(()) if run.known else dict.fromkeys(footprint.parts, 1),
            concessions=run.conceded,
            rungs={_device_words(device): tuple(rung.value for rung in run.begins)},
        )
        said = _rendered(run, order, footprint, device)
        if "error" not in said:
            if run.cap is None:
                whole = list(LAST)
            if whole:
                said["frames_apart"] = _apart(whole)
        for residence in model.residences:
            for part in model.components.values():
                residence.send_away(part)
        found.append(said)
        say(said)
        gc.collect()
    return found


def _rendered(
    run: Run, order: RenderOrder, footprint: Footprint, device: torch.device
) -> dict[str, Any]:
    """What was planned for a take on a card of that size, and what became of it."""
    planned = fit(footprint, card=int((run.cap or 140) * GIB), concessions=run.conceded)
    said: dict[str, Any] = {
        "name": run.name,
        "cap_gib": run.cap,
        "plan": planned.words,
        "planned_rungs": [rung.value for rung in planned.rungs],
    }
    begun = time.perf_counter()
    with capped(run.cap, device):
        try:
            receipt = DiffusersBackend().render(order, tell=lambda progress: None)
            said |= {
                "estimated_gib": round(footprint.peak(list(map(Rung, receipt.rungs))) / GIB, 2),
                "rungs": list(receipt.rungs),
                "notes": list(receipt.notes),
                "peak_gib": round(receipt.peak_memory / GIB, 2),
                "load_seconds": round(receipt.load_seconds, 2),
                "encode_seconds": round(receipt.encode_seconds, 2),
                "stage_seconds": [round(stage.seconds, 2) for stage in receipt.stages],
                "decode_seconds": round(receipt.decode_seconds, 2),
                "latents": receipt.stages[-1].latents_sha256[:16],
                "clip": receipt.clip_sha256[:16],
            }
        except OutOfMemory as error:
            said |= {"error": str(error), "phase": error.phase, "rungs": list(error.rungs)}
    said["wall"] = round(time.perf_counter() - begun, 1)
    return said


def _install(kind: str, model: RandomWan) -> None:
    """Have the backend 'load' the model that is there already."""
    keep: Any = model
    keep.close = lambda: None
    diffusers_backend.load_model = lambda request, **_: keep  # type: ignore[attr-defined]


LAST: list[Any] = []
"""Decoded frames of the last take, chunk by chunk."""


def no_clip(frames: Any, path: Path, *, fps: float) -> None:
    """Keep and hash the frames in place of writing them."""
    digest = hashlib.sha256()
    LAST.clear()
    for chunk in frames:
        digest.update(chunk.tobytes())
        LAST.append(chunk)
    path.write_text(digest.hexdigest())


def _apart(whole: list[Any]) -> dict[str, float]:
    """How far the last take's frames are from those of the whole card, in 0..1."""
    mine, theirs = np.concatenate(LAST), np.concatenate(whole)
    apart = np.abs(mine - theirs)
    return {"most": float(apart.max()), "rms": float(np.sqrt(np.square(apart).mean()))}
