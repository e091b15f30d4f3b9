"""What the levers of the speed levels do to pictures, on the trained pocket model.

    python -m benchmarks.speed_quality --out benchmarks/results/speed_quality_h200.json

Four stills, three moves, the pocket `two-stage` preset and a longer chain: each take at exact and
with one lever, or with the step cache at several thresholds; the frames' PSNR to the exact take,
and the share of forward passes that were computed whole. Two takes of other seeds show what a
different take of the same shot is worth in the same unit. Needs a CUDA card for all levers.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import render.speed_cache
from benchmarks.real_size import FAST, decisions, machine, psnr, tell
from manifests.source import open_source
from manifests.stage import Recipe, Speed, Stage, StageKind
from manifests.still import prepare_still
from render.families.base import Conditioning, LoadedModel, LoadRequest
from render.families.registry import load_model
from render.order import ModelRef
from render.sampling import Latents, run_chain_stage
from render.speed import Lever
from render.speed_cache import forget_steps
from render.speed_compile import FailureMemory
from render.speed_levers import Accelerator

ROOT = Path(__file__).parents[1]
STILLS = sorted((ROOT / "manifests/examples/demo/stills").glob("*.jpg"))
MOVES = ("the camera pans left", "the camera zooms in", "the camera rolls clockwise")
CHAINS: dict[str, tuple[tuple[int, float, float], ...]] = {
    "two-stage, 12 + 8 steps": ((12, 1.5, 1.0), (8, 1.0, 0.45)),
    "two stages, 25 + 20 steps": ((25, 1.5, 1.0), (20, 1.5, 0.45)),
}
"""Steps, CFG and denoise of each stage; shift 3, euler, simple, as the pocket presets."""
THRESHOLDS = (0.02, 0.05, 0.1, 0.2)


class Takes:
    """The pocket model in one precision, and its takes."""

    def __init__(self, precision: str, device: str) -> None:
        self.precision = precision
        self.model: LoadedModel = load_model(
            LoadRequest(
                model=ModelRef(
                    name="pocket-wan", family="pocket", location=str(ROOT / "render/pocket/model")
                ),
                precision=precision,
                vae_precision="float32",
                device=device,
                image_to_video=True,
                boundary=None,
            )
        )
        self.accelerator = Accelerator(self.model, failures=FailureMemory())
        self.notes: tuple[str, ...] = ()

    def pull(self, levers: tuple[Lever, ...], threshold: float | None = None) -> None:
        """Have exactly these levers in force."""
        recipe = self._recipe(STILLS[0], MOVES[0], next(iter(CHAINS.values())), seed=0)
        self.accelerator.pull(recipe, only=())
        if threshold is not None:
            render.speed_cache.STEP_CACHE_THRESHOLD = threshold  # type: ignore[attr-defined]
        self.accelerator.pull(recipe, only=levers)
        self.notes = self.accelerator.notes

    def render(
        self, still: Path, move: str, chain: tuple[tuple[int, float, float], ...], *, seed: int = 1
    ) -> Tensor:
        """Frames (T, H, W, 3) of one take, 0..1."""
        recipe, model = self._recipe(still, move, chain, seed=seed), self.model
        with self.accelerator.running(), torch.inference_mode():
            fitted = prepare_still(open_source(still), width=recipe.width, height=recipe.height)
            conditioning = Conditioning(
                prompt=model.encode_text(recipe.prompt),
                negative=model.encode_text(""),
                image=model.encode_still(fitted, frames=recipe.frames),
            )
            latents: Latents | None = None
            for k in range(len(recipe.stages)):
                forget_steps(model)
                latents = run_chain_stage(
                    recipe, k, latents, model=model, conditioning=conditioning
                )
            assert latents is not None, "a chain has a stage"
            chunks = [torch.from_numpy(chunk) for chunk in model.decode(latents.x)]
        return torch.cat(chunks)

    def _recipe(
        self, still: Path, move: str, chain: tuple[tuple[int, float, float], ...], *, seed: int
    ) -> Recipe:
        stages = tuple(
            Stage(
                kind=StageKind.RENOISE,
                steps=steps,
                cfg=cfg,
                shift=3.0,
                denoise=denoise,
                seed_offset=k,
            )
            for k, (steps, cfg, denoise) in enumerate(chain)
        )
        return Recipe(
            preset="bench",
            family="pocket",
            model="pocket-wan",
            model_id="pocket",
            prompt=move,
            negative="",
            width=128,
            height=128,
            frames=17,
            fps=8.0,
            seed=seed,
            stages=stages,
            source_sha256=still.name,
            precision=self.precision,
            speed=Speed.TURBO,
        )


def compare(takes: Takes, references: dict[tuple[str, str, str], Tensor]) -> dict[str, Any]:
    """PSNR of each take to its reference, for each chain; forwards computed; seconds."""
    found: dict[str, Any] = {"notes": list(takes.notes)}
    for name, chain in CHAINS.items():
        shots = [(still, move) for still in STILLS for move in MOVES]
        takes.render(*shots[0], chain)
        with decisions() as computed:
            begun = time.perf_counter()
            frames = {shot: takes.render(*shot, chain) for shot in shots}
            seconds = time.perf_counter() - begun
        near = [
            psnr(frames[still, move], references[name, still.name, move]) for still, move in shots
        ]
        found[name] = {
            "psnr_db": {"mean": statistics.mean(near), "worst": min(near)},
            "computed_share": sum(computed) / len(computed) if computed else 1.0,
            "take_s": seconds / len(shots),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/speed_quality.json"))
    parser.add_argument("--only", nargs="*", default=[""], help="rows by the start of their name")
    given = parser.parse_args()
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.deterministic = True
    full = Takes("float32", device)
    references = {
        (name, still.name, move): full.render(still, move, chain)
        for name, chain in CHAINS.items()
        for still in STILLS
        for move in MOVES
    }
    others = [
        psnr(full.render(still, move, chain, seed=2), references[name, still.name, move])
        for name, chain in CHAINS.items()
        for still in STILLS
        for move in MOVES
    ]
    results: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {}
    results |= {
        "machine": machine(),
        "takes": f"{len(STILLS)} stills x {len(MOVES)} moves, 17 frames of 128x128",
        "another seed, float32": {"mean": statistics.mean(others), "worst": min(others)},
    }
    half = Takes("bfloat16", device)
    plan: list[tuple[str, Takes, tuple[Lever, ...], float | None]] = [
        ("float32, exact again", full, (), None),
        ("float32, fast", full, FAST, None),
        *[(f"float32, step cache {t}", full, (Lever.STEP_CACHE,), t) for t in THRESHOLDS],
        ("bfloat16, exact", half, (), None),
        ("bfloat16, fast", half, FAST, None),
        ("bfloat16, fast + fp8", half, (*FAST, Lever.FP8), None),
        ("bfloat16, turbo", half, (*FAST, Lever.STEP_CACHE, Lever.FP8), 0.05),
    ]
    for name, takes, levers, threshold in plan:
        if not name.startswith(tuple(given.only)):
            continue
        takes.pull(levers, threshold)
        results[name] = compare(takes, references)
        tell(f"{name}: {results[name]}")
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
