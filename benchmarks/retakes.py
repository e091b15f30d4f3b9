"""Whether retakes end better than they began: shots of pocket Wan with recipes that really fail,
through the real policy (`tasks.retake`, `tasks.attribution`, `manifests/remedies.yaml`, looks after
stage 1 included), with neither Prefect nor a ledger.

    python -m benchmarks.retakes --rows rows.jsonl --out benchmarks/results/retakes.json
    python -m benchmarks.retakes --device cuda:0 --processes 12 --rows rows.jsonl --out r.json

A shot ends better where it is approved, or where the best of its takes (as a night keeps it) is
not the first. A take that a look stops is rendered to its end here all the same, to be compared;
what that costs is not counted.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.early import look, spoilt, still_of
from benchmarks.pocket_takes import (
    MOVES,
    Frames,
    Job,
    Pocket,
    Row,
    Still,
    about,
    calls_of,
    card_of,
    recipe_of,
    spread,
    stills,
    write_results,
)
from manifests.remedy import Ranges, load_remedies
from manifests.stage import Recipe
from qc.early import judge_early
from qc.judge import HARD, judge, rank
from qc.scorecard import Verdict
from qc.thresholds import load_thresholds
from render.sampling import Latents
from tasks.attribution import Attribution, attribute_failure
from tasks.retake import Attempt, Hold, decide

KINDS = (
    "cfg 6", "cfg 8.5", "cfg 12", "cfg 18", "as published", "first cfg 25, no refinement",
    "first cfg 12, no refinement", "later cfg 25", "denoise too high", "three stages, cfg 8.5",
    "fog still",
)  # fmt: skip
EACH = 9
MAX_TAKES = 3
WIDE: Ranges = {"cfg": (1.5, 9.0), "denoise": (0.25, 0.60), "steps": (8.0, 28.0)}
"""Of the demo's preset `as-published`: what somebody gives who believes in such numbers."""


def jobs(drawing: int = 0) -> list[Job]:
    """Each kind on several stills and moves; another `drawing` is the same with other seeds."""
    names = [still.name for still in stills()]
    found: list[Job] = []
    for at, (kind, number) in enumerate(itertools.product(KINDS, range(EACH))):
        still, move = names[(5 * at + number) % len(names)], MOVES[(at + number) % 7]
        found.append(
            {"kind": kind, "still": still, "move": move, "seed": 100_000 * drawing + 9000 + at}
        )
    return found


def recipe_for(job: Job) -> Recipe:
    """What the sheet asks for."""
    match job["kind"]:
        case "denoise too high":
            recipe = recipe_of("two-stage", job["move"], job["seed"])
            first, second = recipe.stages
            return replace(recipe, stages=(first, replace(second, denoise=0.95, cfg=12.0)))
        case "three stages, cfg 8.5":
            return recipe_of("three-stage", job["move"], job["seed"], cfg=8.5)
        case kind:
            return spoilt(kind, recipe_of("two-stage", job["move"], job["seed"]))


def shot(pocket: Pocket, job: Job) -> Row:
    """A shot from its first take to its last."""
    named = next(each for each in stills() if each.name == job["still"])
    still = still_of(job["kind"], named, job["seed"])
    recipe, remedies, words = recipe_for(job), tuple[str, ...](), ""
    attempts: list[Attempt] = []
    takes: list[Row] = []
    while True:
        number = len(takes) + 1
        row, verdict, by_stage = take(pocket, recipe, still, stops=number < MAX_TAKES)
        takes.append({"words": words, **row})
        if verdict.failure is None:
            return {"takes": takes, "end": "approved"}
        attempts.append(Attempt(recipe=recipe, failure=verdict.failure, remedies=remedies))
        step = decide(
            attempts,
            remedies=load_remedies(),
            ranges=WIDE,
            max_takes=MAX_TAKES,
            blamed=by_stage,
        )
        if isinstance(step, Hold):
            return {"takes": takes, "end": step.words}
        recipe, remedies, words = step.recipe, (step.remedy.name,), step.words


def take(
    pocket: Pocket, recipe: Recipe, still: Still, *, stops: bool
) -> tuple[Row, Verdict, int | None]:
    """One take, its verdict, and the stage that is to blame (0-based)."""
    begun = time.perf_counter()
    ends = pocket.stages(recipe, still)
    sampled = time.perf_counter()
    clip = pocket.decode(ends[-1])
    decoded = time.perf_counter()
    card, final = _judged(clip, still)
    row: Row = {
        "calls": calls_of(recipe),
        "rank": rank(card, final),
        "final": final.failure,
        "reasons": final.reasons[:2],
        "sampling": round(sampled - begun, 4),
        "decode": round(decoded - sampled, 4),
        "score": round(time.perf_counter() - decoded, 4),
    }
    if stops:
        early = judge_early(look(pocket, ends[0].x, still)[0])
        if early.failure is not None:
            return {**row, "stopped": early.failure}, early, 0
    by_stage, seconds = _attributed(pocket, ends, still, final)
    if by_stage is not None:
        row |= {"attributed": by_stage.words, "attribution": round(seconds, 4)}
    return row, final, None if by_stage is None else by_stage.blamed


def _attributed(
    pocket: Pocket, ends: Sequence[Latents], still: Still, final: Verdict
) -> tuple[Attribution | None, float]:
    """As `tasks.attribution` does it: earlier stages are decoded and judged. And its seconds."""
    if final.failure is None or final.failure in HARD or len(ends) == 1:
        return None, 0.0
    begun = time.perf_counter()
    earlier = {k: _judged(pocket.decode(end), still)[1] for k, end in enumerate(ends[:-1])}
    found = attribute_failure(final, earlier, stages=len(ends))
    return found, time.perf_counter() - begun


def _judged(clip: Frames, still: Still) -> tuple[Any, Verdict]:
    card = card_of(clip, still)
    return card, judge(card, thresholds=load_thresholds("pocket"))


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Over all shots that were retaken, by class of the first failure and by recipe."""
    retaken = [row for row in rows if len(row["takes"]) > 1]
    taken = [take for row in rows for take in row["takes"]]
    attributed = [take for take in taken if "attribution" in take]
    first = sum(_paid(row["takes"][0]) for row in retaken)
    return {
        "shots": len(rows),
        "approved_at_once": sum(
            1 for row in rows if row["end"] == "approved" and len(row["takes"]) == 1
        ),
        **_outcome(retaken),
        "model_calls_of_retakes_against_first_takes": round(
            sum(_paid(take) for row in retaken for take in row["takes"][1:]) / first, 3
        )
        if retaken
        else None,
        "stopped_by_a_look": sum("stopped" in take for take in taken),
        "attributions": len(attributed),
        "attribution_share_of_those_takes": _share(attributed, attributed),
        "attribution_share_of_all_takes": _share(attributed, taken),
        "by_class": _by(retaken, lambda row: _failure(row["takes"][0])),
        "by_recipe": _by(retaken, lambda row: row["kind"]),
    }


def _share(attributed: Sequence[Row], taken: Sequence[Row]) -> float | None:
    """Seconds of attribution against those of takes; None where there are none."""
    whole = sum(take["sampling"] + take["decode"] + take["score"] for take in taken)
    return round(sum(take["attribution"] for take in attributed) / whole, 4) if taken else None


def _by(rows: Sequence[Row], key: Any) -> dict[str, Any]:
    names = sorted({key(row) for row in rows})
    return {name: _outcome([row for row in rows if key(row) == name]) for name in names}


def _outcome(rows: Sequence[Row]) -> dict[str, Any]:
    approved = sum(row["end"] == "approved" for row in rows)
    better = sum(_is_better(row) for row in rows)
    return {
        "retaken": len(rows),
        "approved": approved,
        "better": better,
        "share_better": round(better / len(rows), 3) if rows else None,
    }


def _is_better(row: Row) -> bool:
    """Whether another take than the first is the one that is kept."""
    ranks = [tuple(take["rank"]) for take in row["takes"]]
    return row["end"] == "approved" or min(ranks) < ranks[0]


def _failure(take: Row) -> str:
    return str(take.get("stopped") or take["final"])


def _paid(take: Row) -> int:
    calls: list[int] = take["calls"]
    return calls[0] if "stopped" in take else sum(calls)


def main() -> None:
    """Render what is not there yet, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--rows", type=Path, required=True, help="go on from the rows in this file")
    parser.add_argument("--every", type=int, default=1, help="only each n-th shot: a smoke test")
    parser.add_argument("--drawing", type=int, default=0, help="of the seeds")
    args = parser.parse_args()
    rows = spread(
        jobs(args.drawing)[:: args.every],
        shot,
        device=args.device,
        processes=args.processes,
        rows=args.rows,
    )
    where = {
        "thresholds": load_thresholds("pocket").name,
        "max_takes": MAX_TAKES,
        "drawing": args.drawing,
    }
    write_results(args.out, {**about(args.device), **where, **summary(rows), "rows": rows})


if __name__ == "__main__":
    main()
