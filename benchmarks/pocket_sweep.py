"""Takes of pocket Wan over stills, moves, presets and seeds, with every metric: the thresholds'
`pocket` section and the presets' numbers are chosen from its results.

    python benchmarks/pocket_sweep.py --out benchmarks/results/pocket_sweep.json

The stills are the demo's; none of them was trained on (see the model card).
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import quantiles

from pocket_order import STILLS, pocket_order, pocket_recipe

from manifests.stage import Recipe, Sampler
from qc.faults import Expected
from qc.measure import measure
from render.diffusers_backend import DiffusersBackend

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


def recipe_of(
    preset: str, prompt: str, still: Path, seed: int, *, cfg: float | None, sampler: str | None
) -> Recipe:
    """The recipe that a row with these cells would give, at the preset's own size."""
    recipe = pocket_recipe(preset, still, prompt, seed=seed)
    stages = recipe.stages
    if cfg is not None:
        stages = tuple(replace(stage, cfg=cfg) for stage in stages)
    if sampler is not None:
        stages = tuple(replace(stage, sampler=Sampler(sampler)) for stage in stages)
    return replace(recipe, stages=stages)


def one(backend: DiffusersBackend, recipe: Recipe, still: Path, folder: Path) -> dict[str, object]:
    """Render and measure one take."""
    receipt = backend.render(pocket_order(recipe, still, folder), tell=lambda _: None)
    expected = Expected(frames=17, width=128, height=128, fps=8.0)
    card = measure(receipt.clip, source=still, expected=expected, lpips=None)
    return {"seconds": round(receipt.seconds, 2), "metrics": card.metrics}


def main() -> None:
    """Run the sweep and write its results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--presets", nargs="+", default=["single", "two-stage", "three-stage"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--moves", nargs="+", default=list(MOVES))
    parser.add_argument("--stills", nargs="+", default=[p.name for p in sorted(STILLS.iterdir())])
    parser.add_argument("--cfg", type=float, default=None, help="override every stage's CFG")
    parser.add_argument("--samplers", nargs="+", default=[None], help="override every stage's")
    args = parser.parse_args()
    backend, rows = DiffusersBackend(), []
    grid = itertools.product(args.samplers, args.presets, args.stills, args.moves, args.seeds)
    for sampler, preset, still, move, seed in grid:
        with tempfile.TemporaryDirectory() as folder:
            recipe = recipe_of(preset, move, STILLS / still, seed, cfg=args.cfg, sampler=sampler)
            row = one(backend, recipe, STILLS / still, Path(folder))
        named = {} if sampler is None else {"sampler": sampler}
        rows.append({**named, "preset": preset, "still": still, "move": move, "seed": seed, **row})
        print(json.dumps(rows[-1]), flush=True)
    write(args.out, rows)


def write(path: Path, rows: list[dict[str, object]]) -> None:
    """Rows, and the quartiles and extremes of each metric over them."""
    names = sorted({name for row in rows for name in row["metrics"]})  # type: ignore[attr-defined]
    summary = {}
    for name in names:
        values = sorted(row["metrics"][name] for row in rows if name in row["metrics"])  # type: ignore[index,operator]
        cuts = quantiles(values, n=20) if len(values) > 1 else values * 19
        summary[name] = {
            "min": values[0],
            "p05": cuts[0],
            "p50": cuts[9],
            "p95": cuts[18],
            "max": values[-1],
        }
    where = f"{platform.machine()}, {platform.python_version()}, torch {version('torch')}"
    path.parent.mkdir(parents=True, exist_ok=True)
    today = str(datetime.now(UTC).date())
    data = {"date": today, "machine": where, "summary": summary, "rows": rows}
    path.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
