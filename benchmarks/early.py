"""What a look after stage 1 spares, and whether it can choose among candidates: takes of pocket
Wan, good recipes and bad ones, each looked at after stage 1 and rendered to its end.

    python -m benchmarks.early --rows rows.jsonl --out benchmarks/results/early.json
    python -m benchmarks.early --device cuda:0 --processes 12 --rows rows.jsonl --out early.json

Nothing is stopped early: each take is judged twice, after stage 1 and as a clip, and the two are
held against each other. What is spared is counted in model calls, which no busy machine changes;
what looks cost is a share of the same process's own sampling.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import beta

from benchmarks.pocket_takes import (
    MOVES,
    SIZE,
    STILLS,
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
from manifests.candidates import candidate_seeds
from manifests.stage import Recipe, Sampler
from qc.early import judge_early, measure_early, rank_early
from qc.judge import judge, rank
from qc.scorecard import FailureClass, Scorecard
from qc.thresholds import load_thresholds
from render.glimpse import glimpse

CANDIDATES = 3
SEEDS = 4
"""Of each good shot; the first three are its candidates."""
BAD = (
    "cfg 8.5", "cfg 12", "cfg 18", "cfg 25", "as published", "first cfg 25",
    "first cfg 25, no refinement", "first cfg 12, no refinement", "later cfg 25",
    "flat still", "fog still", "black still", "dim still", "noise still",
)  # fmt: skip
EACH = 6
EDGE = "cfg 6"
"""A recipe of which some seeds end well: there choosing could help."""
LOOKED_FOR = {
    FailureClass.BLACK, FailureClass.FROZEN, FailureClass.CUT, FailureClass.CONDITIONING,
    FailureClass.NAN, FailureClass.NAN_FRAMES,
}  # fmt: skip
KEPT = ("kind", "still", "move", "seed", "calls", "early", "stopped", "final")
"""Of a row, in the results."""
CLIPS = ("pan", "fast pan", "slow pan", "frozen", "black", "cut", "another picture")


def jobs(drawing: int = 0) -> list[Job]:
    """Good takes of all stills and moves, then bad ones, then those on the edge.

    Another `drawing` is the same with other seeds: takes that no limit was chosen on.
    """
    more = 100_000 * drawing
    names = [still.name for still in stills()]
    found: list[Job] = []
    for shot, (still, move) in enumerate(itertools.product(names, MOVES)):
        for seed in candidate_seeds(more + shot + 1, SEEDS):
            found.append({"kind": "good", "still": still, "move": move, "seed": seed})
    for at, (kind, number) in enumerate(itertools.product(BAD, range(EACH))):
        still, move = names[(5 * at) % len(names)], MOVES[(3 * at + number) % 7]
        found.append({"kind": kind, "still": still, "move": move, "seed": more + 1000 + at})
    for at in range(24):
        for seed in candidate_seeds(more + 5000 + at, CANDIDATES):
            still, move = names[at % len(names)], MOVES[at // len(names) + 3 * (at % 2)]
            found.append({"kind": EDGE, "still": still, "move": move, "seed": seed})
    return found


def spoilt(kind: str, recipe: Recipe) -> Recipe:
    """The recipe of a job."""
    first, second = recipe.stages
    match kind.replace(",", "").split():
        case ["cfg", cfg]:
            first, second = replace(first, cfg=float(cfg)), replace(second, cfg=float(cfg))
        case ["first", "cfg", cfg, *rest]:
            first = replace(first, cfg=float(cfg))
            second = replace(second, denoise=0.05) if rest else second
        case ["later", "cfg", cfg]:
            second = replace(second, cfg=float(cfg))
        case ["as", "published"]:
            first = replace(first, steps=18, cfg=8.5, sampler=Sampler.DPMPP_2M)
            second = replace(second, steps=25, cfg=7.5, sampler=Sampler.DPMPP_2M)
    return replace(recipe, stages=(first, second))


def still_of(kind: str, still: Still, seed: int) -> Still:
    """The still of a job: one that nothing can be made of, where its kind says so."""
    pixels = np.asarray(still.picture, np.float32)
    match kind.split()[0]:
        case "flat":
            pixels = np.full_like(pixels, 120)
        case "fog":
            pixels = 128 + 0.02 * (pixels - 128)
        case "black":
            pixels = np.full_like(pixels, 2)
        case "dim":
            pixels = 0.06 * pixels
        case "noise":
            noise = np.random.default_rng(seed).uniform(0, 255, pixels.shape)
            pixels = noise.astype(np.float32)
    return Still(name=still.name, picture=Image.fromarray(np.uint8(pixels)))


def take(pocket: Pocket, job: Job) -> Row:
    """Render one take to its end and look at its first stage."""
    named = next(each for each in stills() if each.name == job["still"])
    still = still_of(job["kind"], named, job["seed"])
    recipe = spoilt(job["kind"], recipe_of("two-stage", job["move"], job["seed"]))
    begun = time.perf_counter()
    ends = pocket.stages(recipe, still)
    sampled = time.perf_counter()
    early, decode_seconds, judge_seconds = look(pocket, ends[0].x, still)
    decoding = time.perf_counter()
    frames = pocket.decode(ends[-1])
    return {
        "calls": calls_of(recipe),
        "sampling": round(sampled - begun, 4),
        "look_decode": round(decode_seconds, 4),
        "look_judge": round(judge_seconds, 4),
        "decode": round(time.perf_counter() - decoding, 4),
        "early": {name: round(value, 5) for name, value in early.items()},
        "card": card_of(frames, still).to_dict(),
    }


def look(pocket: Pocket, x: torch.Tensor, still: Still) -> tuple[dict[str, float], float, float]:
    """The numbers of an early look at latents; seconds of its decode, and of its judgement."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "still.png"
        still.picture.save(source)
        begun = time.perf_counter()
        with torch.inference_mode():
            shown = glimpse(pocket.model, x.to(pocket.model.device))
        decoded = time.perf_counter()
        assert shown is not None, "the pocket model's factors are known"
        box = (shown.box.left, shown.box.top, shown.box.right, shown.box.bottom)
        found = measure_early(colours=shown.colours, frames=shown.frames, box=box, source=source)
        return found, decoded - begun, time.perf_counter() - decoded


def known_clips(pocket: Pocket) -> dict[str, dict[str, int]]:
    """What is thought of latents of known clips, through the pocket model's encoder: by label,
    how many of four photographs were stopped, and by which class."""
    model: Any = pocket.model
    vae = model.components["vae"]
    mean, std = (
        torch.tensor(values).view(1, -1, 1, 1, 1).to(pocket.device)
        for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    photos = sorted(STILLS.iterdir())
    found: dict[str, dict[str, int]] = {}
    for label, (at, photo) in itertools.product(CLIPS, enumerate(photos)):
        other = photos[(at + 1) % len(photos)]
        first = _move(other if label == "another picture" else photo, 1)[0]
        still = Still(name=label, picture=Image.fromarray(np.uint8(first * 255)))
        clip = torch.from_numpy(_clip(label, photo, other) * 2 - 1).permute(3, 0, 1, 2)[None]
        with torch.inference_mode():
            z = (vae.encode(clip.to(pocket.device)).latent_dist.mode() - mean) / std
        seen = judge_early(look(pocket, z, still)[0])
        counts = found.setdefault(label, {})
        counts[seen.failure or "goes on"] = counts.get(seen.failure or "goes on", 0) + 1
    return found


def _clip(label: str, photo: Path, other: Path) -> NDArray[np.float32]:
    match label:
        case "frozen":
            return np.repeat(_move(photo, 1)[:1], 17, axis=0)
        case "black":
            return np.zeros((17, SIZE, SIZE, 3), np.float32)
        case "cut":
            return np.concatenate([_move(photo, 1)[:9], _move(other, 1)[:8]])
        case "slow pan":
            return np.repeat(_move(photo, 1)[:9], 2, axis=0)[:17]
        case _:
            return _move(photo, 3 if label == "fast pan" else 1)


def _move(photo: Path, step: int) -> NDArray[np.float32]:
    """17 frames of 128 x 128, `step` pixels a frame over a photograph."""
    small = Image.open(photo).convert("RGB").resize((192, 144), Image.Resampling.BOX)
    picture = np.asarray(small, np.float32) / 255
    return np.stack([picture[8:136, step * k : step * k + 128] for k in range(17)])


def judged(rows: Iterable[Row]) -> list[Row]:
    """Each take with its two verdicts and both ranks, by the limits as they are."""
    found = []
    for row in rows:
        moves = row["move"] != "static shot"
        card = Scorecard.from_dict(row["card"])
        final = judge(card, thresholds=load_thresholds("pocket"), expects_motion=moves)
        verdict = judge_early(row["early"], expects_motion=moves)
        found.append(
            {
                **{name: value for name, value in row.items() if name != "card"},
                "stopped": verdict.failure,
                "early_rank": rank_early(row["early"], verdict),
                "final": final.failure,
                "final_rank": rank(card, final),
            }
        )
    return found


def stopping(rows: Sequence[Row]) -> dict[str, Any]:
    """Doomed takes caught, good takes lost, and what the stops would have spared."""
    doomed = [row for row in rows if row["final"] is not None]
    good = [row for row in rows if row["final"] is None]
    caught = [row for row in doomed if row["stopped"] is not None]
    looked_for = [row for row in doomed if row["final"] in LOOKED_FOR]
    lost = sum(1 for row in good if row["stopped"] is not None)
    stopped = [row for row in rows if row["stopped"] is not None]
    every = sum(sum(row["calls"]) for row in rows)
    return {
        "takes": len(rows),
        "doomed": len(doomed),
        "caught": len(caught),
        "of_a_class_that_is_looked_for": len(looked_for),
        "of_those_caught": sum(1 for row in looked_for if row["stopped"] is not None),
        "good": len(good),
        "good_lost": lost,
        "good_lost_at_most": round(float(beta.ppf(0.95, lost + 1, len(good) - lost)), 5)
        if len(good) > lost
        else None,
        "model_calls_spared_share_of_all": round(sum(r["calls"][1] for r in stopped) / every, 4),
        "model_calls_spared_share_of_doomed": round(
            sum(row["calls"][1] for row in caught)
            / max(1, sum(sum(row["calls"]) for row in doomed)),
            4,
        ),
        "seconds_of_looks_share_of_sampling": round(
            sum(row["look_decode"] + row["look_judge"] for row in rows)
            / sum(row["sampling"] for row in rows),
            4,
        ),
        "of_which_decode": round(
            sum(row["look_decode"] for row in rows) / sum(row["sampling"] for row in rows), 4
        ),
        "by_class": _counted(doomed, "final"),
        "by_kind": _counted([row for row in rows if row["kind"] != "good"], "kind"),
    }


def _counted(rows: Sequence[Row], key: str) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for name, count in Counter(str(row[key]) for row in rows).items():
        some = [row for row in rows if str(row[key]) == name]
        found[name] = {
            "takes": count,
            "doomed": sum(1 for row in some if row["final"] is not None),
            "stopped": sum(1 for row in some if row["stopped"] is not None),
        }
    return found


def choosing(rows: Sequence[Row], kind: str) -> dict[str, Any]:
    """The candidate that stage 1 chooses against the first one and the best one, by final rank."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row["kind"] == kind:
            groups.setdefault((row["still"], row["move"]), []).append(row)
    whole = [group[:CANDIDATES] for group in groups.values() if len(group) >= CANDIDATES]
    if not whole:
        return {}
    better = worse = best = same = saved = 0
    places: list[int] = []
    for group in whole:
        chosen = min(group, key=lambda row: row["early_rank"])
        order = sorted(group, key=lambda row: row["final_rank"])
        places.append(order.index(chosen) + 1)
        same += chosen is group[0]
        better += chosen["final_rank"] < group[0]["final_rank"]
        worse += chosen["final_rank"] > group[0]["final_rank"]
        best += chosen is order[0]
        saved += group[0]["final"] is not None and chosen["final"] is None
        saved -= group[0]["final"] is None and chosen["final"] is not None
    one, two = whole[0][0]["calls"]
    return {
        "shots": len(whole),
        "candidates": CANDIDATES,
        "chose_the_first": same,
        "better_than_the_first": better,
        "worse_than_the_first": worse,
        "chose_the_best": best,
        "mean_place_of_the_chosen": round(sum(places) / len(places), 2),
        "mean_place_by_chance": (CANDIDATES + 1) / 2,
        "more_approved_than_the_first": saved,
        "model_calls_against_one_take": round((CANDIDATES * one + two) / (one + two), 3),
    }


def main() -> None:
    """Render what is not there yet, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--rows", type=Path, required=True, help="go on from the rows in this file")
    parser.add_argument("--every", type=int, default=1, help="only each n-th take: a smoke test")
    parser.add_argument("--drawing", type=int, default=0, help="of the seeds")
    parser.add_argument("--without-rows", action="store_true", help="write no single takes")
    args = parser.parse_args()
    rows = spread(
        jobs(args.drawing)[:: args.every],
        take,
        device=args.device,
        processes=args.processes,
        rows=args.rows,
    )
    results = judged(rows)
    data = {
        **about(args.device),
        "thresholds": judge_early({}).thresholds,
        "clips_by": load_thresholds("pocket").name,
        "drawing": args.drawing,
        "versions": rows[0]["card"]["versions"],
        "stopping": stopping(results),
        "candidates": {kind: choosing(results, kind) for kind in ("good", EDGE)},
        "known_clips": known_clips(Pocket("cpu")),
    }
    if not args.without_rows:
        data["rows"] = [{name: row[name] for name in KEPT} for row in results]
    write_results(args.out, data)


if __name__ == "__main__":
    main()
