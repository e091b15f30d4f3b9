"""Takes of pocket Wan over stills, moves, presets and seeds, with every metric: the thresholds'
`pocket` section and the presets' numbers are chosen from its results, and it says what stages give.

    python -m benchmarks.pocket_sweep --out benchmarks/results/pocket_sweep.json
    python -m benchmarks.pocket_sweep --seeds 1 2 3 4 5 6 --without-rows --out seeds.json

`single at equal cost` is the single pass with as many model calls as two stages have.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from benchmarks.pocket_takes import (
    MOVES,
    Job,
    Pocket,
    Row,
    about,
    calls_of,
    card_of,
    recipe_of,
    spread,
    stills,
    write_results,
)
from manifests.stage import Recipe
from qc.judge import judge, rank
from qc.scorecard import Level, Scorecard, Verdict
from qc.thresholds import load_thresholds

PRESETS = ("single", "single at equal cost", "two-stage", "three-stage")
TOLD = (
    "conditioning_ssim", "flicker", "flicker_local", "boiling", "wobble", "colour_drift",
    "saturation_shift", "identity_drift", "collapse", "blur", "banding", "dropped", "ssim_mean",
    "motion",
)  # fmt: skip
"""Metrics whose medians are put side by side."""


def jobs(args: argparse.Namespace) -> list[Job]:
    """Every combination of the arguments."""
    names = args.stills or [still.name for still in stills()]
    grid = itertools.product(args.samplers, args.presets, names, args.moves, args.seeds)
    return [
        {
            "preset": preset, "still": still, "move": move, "seed": seed,
            "cfg": args.cfg, "sampler": sampler,
        }
        for sampler, preset, still, move, seed in grid
    ]  # fmt: skip


def recipe_for(job: Job) -> Recipe:
    """The recipe of a job."""
    equal = job["preset"] == "single at equal cost"
    name = "single" if equal else job["preset"]
    recipe = recipe_of(name, job["move"], job["seed"], cfg=job["cfg"], sampler=job["sampler"])
    if equal:
        (stage,) = recipe.stages
        recipe = replace(recipe, stages=(replace(stage, steps=16),))
    return recipe


def take(pocket: Pocket, job: Job) -> Row:
    """Render and measure one take."""
    recipe = recipe_for(job)
    still = next(each for each in stills() if each.name == job["still"])
    begun = time.perf_counter()
    frames = pocket.decode(pocket.stages(recipe, still)[-1])
    seconds = time.perf_counter() - begun
    card = card_of(frames, still)
    return {"calls": sum(calls_of(recipe)), "seconds": round(seconds, 3), "card": card.to_dict()}


def summary(rows: Iterable[Row]) -> dict[str, dict[str, float]]:
    """Quartiles and extremes of each metric over all rows."""
    cards = [row["card"]["metrics"] for row in rows]
    found = {}
    for name in sorted({name for card in cards for name in card}):
        values = sorted(card[name] for card in cards if name in card)
        cuts = quantiles(values, n=100, method="inclusive") if len(values) > 1 else values * 99
        found[name] = {
            "min": values[0], "p01": cuts[0], "p05": cuts[4], "p50": cuts[49],
            "p95": cuts[94], "p99": cuts[98], "max": values[-1],
        }  # fmt: skip
    return found


def judged(row: Row) -> tuple[Verdict, tuple[float, ...]]:
    """Verdict and rank of a row, by the limits as they are."""
    card = Scorecard.from_dict(row["card"])
    verdict = judge(
        card, thresholds=load_thresholds("pocket"), expects_motion=row["move"] != "static shot"
    )
    return verdict, rank(card, verdict)


def staging(rows: Sequence[Row]) -> dict[str, Any]:
    """The presets against each other on the same stills, moves and seeds."""
    by: dict[str, dict[tuple[str, str, int], Row]] = {}
    for row in rows:
        by.setdefault(row["preset"], {})[row["still"], row["move"], row["seed"]] = row
    if len(by) < 2:
        return {}
    base = by.get("single") or next(iter(by.values()))
    found: dict[str, Any] = {}
    for preset, shots in by.items():
        cards = [row["card"]["metrics"] for row in shots.values()]
        verdicts = [judged(row) for row in shots.values()]
        common = [key for key in shots if key in base]
        found[preset] = {
            "takes": len(shots),
            "model_calls": next(iter(shots.values()))["calls"],
            "cost_against_single": round(
                next(iter(shots.values()))["calls"] / next(iter(base.values()))["calls"], 2
            ),
            "approved": sum(1 for verdict, _ in verdicts if verdict.failure is None),
            "ranked_before_single": sum(
                judged(shots[key])[1] < judged(base[key])[1] for key in common
            ),
            "ranked_behind_single": sum(
                judged(shots[key])[1] > judged(base[key])[1] for key in common
            ),
            "before_and_behind_by_seed": _by_seed(shots, base),
            "median_of_worst_severity": round(median(place[4] for _, place in verdicts), 4),
            "median_of_sum_of_severities": round(median(place[6] for _, place in verdicts), 4),
            "medians": {
                name: round(median(card[name] for card in cards if name in card), 5)
                for name in TOLD
                if any(name in card for card in cards)
            },
        }
    return found


def _by_seed(
    shots: dict[tuple[str, str, int], Row], base: dict[tuple[str, str, int], Row]
) -> dict[str, list[int]]:
    """Seed -> on how many shots these takes rank before those of `base`, and behind them.

    All takes of one seed begin with the same noise, so their shots are no draws of their own.
    """
    found: dict[str, list[int]] = {}
    for key in sorted(shots.keys() & base.keys(), key=lambda key: key[2]):
        ours, theirs = judged(shots[key])[1], judged(base[key])[1]
        counts = found.setdefault(str(key[2]), [0, 0])
        counts[0] += ours < theirs
        counts[1] += ours > theirs
    return found


def verdicts(rows: Iterable[Row]) -> dict[str, dict[str, Any]]:
    """Seed -> takes, how many of them fail, and how many are warned about by which metric."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        counts = found.setdefault(str(row["seed"]), {"takes": 0, "failed": 0, "warned": {}})
        verdict = judged(row)[0]
        counts["takes"] += 1
        counts["failed"] += verdict.failure is not None
        for finding in verdict.findings:
            if finding.level is Level.WARN:
                warned = counts["warned"]
                warned[finding.metric] = warned.get(finding.metric, 0) + 1
    return found


def main() -> None:
    """Run the sweep and write its results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--presets", nargs="+", default=list(PRESETS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--moves", nargs="+", default=list(MOVES))
    parser.add_argument("--stills", nargs="+", default=None, help="names as `stills` gives them")
    parser.add_argument("--cfg", type=float, default=None, help="override every stage's CFG")
    parser.add_argument("--samplers", nargs="+", default=[None], help="override every stage's")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--rows", type=Path, default=None, help="go on from the rows in this file")
    parser.add_argument("--without-rows", action="store_true", help="write no single takes")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = args.rows or Path(folder) / "rows.jsonl"
        rows = spread(jobs(args), take, device=args.device, processes=args.processes, rows=path)
    report(args.out, rows, about(args.device), single_takes=not args.without_rows)


def report(
    path: Path, rows: Sequence[Row], where: dict[str, Any], *, single_takes: bool = True
) -> None:
    """Write the results, each take's numbers too if `single_takes`."""
    told = [
        {**{k: v for k, v in row.items() if k != "card" and v is not None},
         "metrics": {k: round(v, 5) for k, v in row["card"]["metrics"].items()}}
        for row in rows
    ]  # fmt: skip
    data = {
        **where,
        "thresholds": load_thresholds("pocket").name,
        "versions": rows[0]["card"]["versions"],
        "verdicts": verdicts(rows),
        "summary": summary(rows),
        "staging": staging(rows),
        **({"rows": told} if single_takes else {}),
    }
    write_results(path, data)


if __name__ == "__main__":
    main()
