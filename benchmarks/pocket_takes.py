"""Takes of pocket Wan in memory, for benchmarks that need hundreds: no files, so no FFV1 either.

What is sampled, decoded, quantised and measured is what the backend does (`render.stages`,
`render.developing`); only the writing is left out. Runs on a CPU or a card.
"""

from __future__ import annotations

import json
import multiprocessing
import platform
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from manifests.library import resolve_model
from manifests.preset import load_preset
from manifests.schedules import model_calls
from manifests.settings import load_studio
from manifests.stage import Recipe, Sampler
from qc.conditioning import prepared
from qc.faults import Expected
from qc.measure import measure_frames
from qc.scorecard import Scorecard
from render.clip import quantised
from render.families.base import Conditioning, LoadRequest
from render.families.registry import load_model
from render.order import ModelRef
from render.pocket.paths import MODEL_DIR
from render.sampling import Latents, run_chain_stage

ROOT = Path(__file__).parents[1]
STILLS = ROOT / "manifests/examples/demo/stills"
"""The demo's; none of them was trained on (see the model card)."""
MOVES = (
    "the camera pans left",
    "the camera pans right",
    "the camera tilts up",
    "the camera tilts down",
    "the camera zooms in",
    "the camera zooms out",
    "the camera rolls clockwise",
    "static shot",
)
SIZE, FRAMES, FPS = 128, 17, 8.0
Frames = NDArray[np.float32]
"""(17, 128, 128, 3), RGB, 0..1, as a clip gives them back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Still:
    """A still that shots start from."""

    name: str
    picture: Image.Image
    """RGB, of clip size."""


class Pocket:
    """The bundled model, warm."""

    def __init__(self, device: str) -> None:
        ref = ModelRef(name="pocket-wan", family="pocket", location=str(MODEL_DIR))
        request = LoadRequest(
            model=ref, precision="float32", vae_precision="float32", device=device,
            image_to_video=True, boundary=None,
        )  # fmt: skip
        self.model = load_model(request)
        self.device = device

    @torch.inference_mode()
    def stages(self, recipe: Recipe, still: Still) -> list[Latents]:
        """What each stage leaves."""
        model = self.model
        given = Conditioning(
            prompt=model.encode_text(recipe.prompt),
            negative=model.encode_text(recipe.negative),
            image=model.encode_still(still.picture, frames=recipe.frames),
        )
        ends: list[Latents] = []
        for k in range(len(recipe.stages)):
            before = ends[-1] if ends else None
            ends.append(run_chain_stage(recipe, k, before, model=model, conditioning=given))
        return ends

    @torch.inference_mode()
    def decode(self, latents: Latents) -> Frames:
        """The clip that these latents are."""
        x = latents.x.to(self.model.device)
        return quantised(np.concatenate(list(self.model.decode(x))))


def card_of(frames: Frames, still: Still) -> Scorecard:
    """The scorecard of a clip, without LPIPS: no limit of the pocket family uses it."""
    return measure_frames(
        [frames],
        fps=FPS,
        source=prepared(still.picture, width=SIZE, height=SIZE),
        expected=Expected(frames=FRAMES, width=SIZE, height=SIZE, fps=FPS),
    )


def calls_of(recipe: Recipe) -> list[int]:
    """Model calls of each stage."""
    return [model_calls(stage) for stage in recipe.stages]


def stills() -> list[Still]:
    """Each of the demo's whole, and squares out of its left and right: three of each."""
    found = []
    for path in sorted(STILLS.iterdir()):
        picture = Image.open(path).convert("RGB")
        side = min(picture.size)
        part = round(0.7 * side)
        squares = {
            "whole": (0, 0, side),
            "left": (0, side - part, part),
            "right": (picture.width - part, (side - part) // 2, part),
        }
        for where, (x, y, size) in squares.items():
            cut = picture.crop((x, y, x + size, y + size))
            cut = cut.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
            found.append(Still(name=f"{path.stem} {where}", picture=cut))
    return found


def recipe_of(
    preset: str, move: str, seed: int, *, cfg: float | None = None, sampler: str | None = None
) -> Recipe:
    """The recipe that a row with these cells would give, at the preset's own size."""
    studio = load_studio(Path(tempfile.gettempdir()))
    found = load_preset("pocket", preset, studio)
    model = resolve_model("pocket-wan", studio=studio)
    stages = found.stages
    if cfg is not None:
        stages = tuple(replace(stage, cfg=cfg) for stage in stages)
    if sampler is not None:
        stages = tuple(replace(stage, sampler=Sampler(sampler)) for stage in stages)
    return Recipe(
        preset=found.qualified_name,
        family="pocket",
        model=model.name,
        model_id=model.model_id,
        prompt=move,
        negative="",
        width=SIZE,
        height=SIZE,
        frames=FRAMES,
        fps=FPS,
        seed=seed,
        stages=stages,
        # These stills are no files; a recipe only wants to be told that there is one.
        source_sha256="0" * 64,
    )


Job = Mapping[str, Any]
"""Plain data of one take or shot, under whatever names a benchmark likes."""
Row = dict[str, Any]
Do = Callable[[Pocket, Job], Row]
"""Does one job; a module's own function, which other processes can import."""


def spread(jobs: Sequence[Job], do: Do, *, device: str, processes: int, rows: Path) -> list[Row]:
    """Do all jobs in so many processes with a model each; the rows in the order of the jobs.

    A row is written to `rows` as soon as it is there; jobs whose rows are there are not done again.
    Raises ValueError where `rows` holds those of other jobs.
    """
    rows.parent.mkdir(parents=True, exist_ok=True)
    done = _read(rows)
    for number, row in done.items():
        if number >= len(jobs) or not jobs[number].items() <= row.items():
            raise ValueError(f"{rows}: row {number} is not of these jobs; name another file")
    left = [(number, job) for number, job in enumerate(jobs) if number not in done]
    if processes == 1:
        _work(left, do, device, rows)
    else:
        context = multiprocessing.get_context("spawn")
        workers = [
            context.Process(target=_work, args=(left[k::processes], do, device, rows))
            for k in range(processes)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    done = _read(rows)
    missing = [number for number in range(len(jobs)) if number not in done]
    if missing:
        raise RuntimeError(f"{len(missing)} of {len(jobs)} jobs were not done: {missing[:8]} ...")
    return [done[number] for number in range(len(jobs))]


def _work(left: Sequence[tuple[int, Job]], do: Do, device: str, rows: Path) -> None:
    if not left:
        return
    torch.set_num_threads(1 if device.startswith("cuda") else torch.get_num_threads())
    pocket = Pocket(device)
    for number, job in left:
        line = json.dumps({"number": number, **job, **do(pocket, job)})
        # One short write in append mode: lines of several processes do not mix.
        with rows.open("a", buffering=1 << 20) as file:
            file.write(line + "\n")


def _read(rows: Path) -> dict[int, Row]:
    if not rows.exists():
        return {}
    lines = (json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines())
    return {line.pop("number"): line for line in lines}


def write_results(path: Path, data: Mapping[str, Any]) -> None:
    """Write a results file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def about(device: str) -> dict[str, Any]:
    """Date and machine, for the head of a results file."""
    where = torch.cuda.get_device_name(0) if device.startswith("cuda") else platform.machine()
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return {"date": str(datetime.now(UTC).date()), "machine": f"{where}, {versions}"}
