"""What a look after stage 1 would have spared, and whether it can choose among candidates: takes of
pocket Wan, good recipes and absurd ones, each looked at after stage 1 and rendered to its end.

    python benchmarks/early.py render --work /tmp/early
    python benchmarks/early.py report --work /tmp/early --out benchmarks/results/early.json

`render` goes on where it was stopped. Nothing is stopped early: each take is judged twice, after
stage 1 and as a clip, and `report` holds the two against each other. Costs are model calls, which
no busy machine changes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from numpy.typing import NDArray
from PIL import Image
from pocket_order import ROOT, STILLS, pocket_order
from pocket_sweep import MOVES, recipe_of

from manifests.candidates import candidate_seeds
from manifests.schedules import model_calls
from manifests.stage import Recipe
from qc.early import judge_early, measure_early, rank_early
from qc.faults import Expected
from qc.judge import judge, rank
from qc.measure import measure
from qc.scorecard import Level, Scorecard, Verdict
from qc.thresholds import load_thresholds
from render.diffusers_backend import DiffusersBackend
from render.look import Look, Opinion
from render.pocket.paths import MODEL_DIR
from render.preview_factors import factors_for

SHOTS = 8
CANDIDATES = 3


CLIPS = ("pan", "fast pan", "frozen", "black", "cut", "another picture")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One take: what is done to the recipe, and the row that it would come from."""

    kind: str
    still: str
    move: str
    seed: int


class Keep(Look):
    """Keeps the pictures that a look is shown, and stops nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def see(self, pictures: Any) -> Opinion:
        """Write them down."""
        np.save(self._path, pictures)
        return Opinion(words="kept", rank=())


def jobs(work: Path) -> Iterator[Job]:
    """Three good takes of a shot, then two bad ones, and so on."""
    stills = [str(path) for path in sorted(STILLS.iterdir())]
    black, flat = str(work / "black.png"), str(work / "flat.png")
    bad = [
        ("black still", black), ("cfg 12", ""), ("flat still", flat), ("cfg 25", ""),
        ("static", ""), ("stage 1 of 1 step", ""), ("black still", black), ("flat still", flat),
        ("cfg 25", ""), ("stage 1 of 1 step", ""), ("shift 30", ""), ("static", ""),
        ("black still", black), ("flat still", flat), ("cfg 25, no refinement", ""),
        ("cfg 12", ""),
    ]  # fmt: skip
    for shot in range(SHOTS):
        still, move = stills[shot % len(stills)], MOVES[(3 * shot) % 7]
        for seed in candidate_seeds(shot + 1, CANDIDATES):
            yield Job(kind="good", still=still, move=move, seed=seed)
        for kind, other in bad[2 * shot : 2 * shot + 2]:
            told = "static shot" if kind == "static" else MOVES[(3 * shot + 1) % 7]
            yield Job(kind=kind, still=other or still, move=told, seed=100 + shot)


def spoilt(kind: str, recipe: Recipe) -> Recipe:
    """The recipe of a job: an absurd value where its kind says so."""
    first, second = recipe.stages
    match kind:
        case "cfg 12":
            first = replace(first, cfg=12.0)
        case "cfg 25":
            first, second = replace(first, cfg=25.0), replace(second, cfg=25.0)
        case "cfg 25, no refinement":
            first, second = replace(first, cfg=25.0), replace(second, denoise=0.05)
        case "stage 1 of 1 step":
            first = replace(first, steps=1)
        case "shift 30":
            first = replace(first, shift=30.0, steps=6)
    return replace(recipe, stages=(first, second))


def render(work: Path) -> None:
    """Render what is not there yet, a line of `rows.jsonl` for each take."""
    work.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (128, 128), (2, 2, 2)).save(work / "black.png")
    Image.new("RGB", (128, 128), (120, 120, 120)).save(work / "flat.png")
    path, backend = work / "rows.jsonl", DiffusersBackend()
    done = len(path.read_text().splitlines()) if path.exists() else 0
    for number, job in enumerate(jobs(work)):
        if number < done:
            continue
        still = Path(job.still)
        plain = recipe_of("two-stage", job.move, still, job.seed, cfg=None, sampler=None)
        recipe = spoilt(job.kind, plain)
        with tempfile.TemporaryDirectory() as folder:
            order = pocket_order(recipe, still, Path(folder))
            look = Keep(work / f"{number}.npy")
            receipt = backend.render(order, tell=lambda _: None, look=look)
            expected = Expected(frames=17, width=128, height=128, fps=8.0)
            card = measure(receipt.clip, source=still, expected=expected, lpips=None)
        row = {
            **asdict(job),
            "calls": [model_calls(stage) for stage in recipe.stages],
            "seconds": [round(stage.seconds, 2) for stage in receipt.stages],
            "card": card.to_dict(),
        }
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(number, job.kind, row["seconds"], flush=True)


def clips() -> dict[str, dict[str, int]]:
    """What is thought of latents of known clips, through the pocket model's encoder: by label,
    how many of four photographs were stopped, and by which class."""
    vae = AutoencoderKLWan.from_pretrained(MODEL_DIR / "vae", local_files_only=True).eval()
    mean, std = (
        torch.tensor(values).view(1, -1, 1, 1, 1)
        for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    factors, photos = factors_for(vae.config.latents_mean), sorted(STILLS.iterdir())
    assert factors is not None, "the pocket model's are known"
    found: dict[str, dict[str, int]] = {}
    for label, (at, photo) in itertools.product(CLIPS, enumerate(photos)):
        other = photos[(at + 1) % len(photos)]
        with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
            source = Path(folder) / "source.png"
            first = other if label == "another picture" else photo
            Image.fromarray(np.uint8(_move(first, 1)[0] * 255)).save(source)
            clip = torch.from_numpy(_clip(label, photo, other) * 2 - 1).permute(3, 0, 1, 2)[None]
            z = (vae.encode(clip).latent_dist.mode() - mean) / std
            seen = judge_early(measure_early(factors.colours(z.numpy()), source=source))
        counts = found.setdefault(label, {})
        counts[seen.failure or "goes on"] = counts.get(seen.failure or "goes on", 0) + 1
    return found


def _clip(label: str, photo: Path, other: Path) -> NDArray[np.float32]:
    match label:
        case "frozen":
            return np.repeat(_move(photo, 1)[:1], 17, axis=0)
        case "black":
            return np.zeros((17, 128, 128, 3), np.float32)
        case "cut":
            return np.concatenate([_move(photo, 1)[:9], _move(other, 1)[:8]])
        case _:
            return _move(photo, 3 if label == "fast pan" else 1)


def _move(photo: Path, step: int) -> NDArray[np.float32]:
    """17 frames of 128 x 128, `step` pixels a frame over a photograph."""
    small = Image.open(photo).convert("RGB").resize((192, 144), Image.Resampling.BOX)
    picture = np.asarray(small, np.float32) / 255
    return np.stack([picture[8:136, step * k : step * k + 128] for k in range(17)])


def judged(work: Path) -> list[dict[str, Any]]:
    """Each take with its two verdicts and both ranks."""
    rows = []
    for number, line in enumerate((work / "rows.jsonl").read_text().splitlines()):
        row = json.loads(line)
        card = Scorecard.from_dict(row.pop("card"))
        final = judge(card, thresholds=load_thresholds("pocket"))
        early = measure_early(np.load(work / f"{number}.npy"), source=Path(row["still"]))
        verdict = judge_early(early)
        rows.append(
            {
                **row,
                "still": Path(row["still"]).name,
                "early": {name: round(value, 5) for name, value in early.items()},
                "stopped": verdict.failure,
                "early_rank": rank_early(early, verdict),
                "final": final.failure,
                "fails": _fails(final),
                "final_rank": rank(card, final),
                "metrics": {name: round(value, 5) for name, value in card.metrics.items()},
            }
        )
    return rows


def _fails(verdict: Verdict) -> list[str]:
    return [finding.metric for finding in verdict.findings if finding.level is Level.FAIL]


def stopping(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Doomed takes caught, good takes lost, and what the stops would have spared."""
    doomed = [row for row in rows if row["final"] is not None]
    good = [row for row in rows if row["final"] is None]
    caught = [row for row in doomed if row["stopped"] is not None]
    looked_for = [
        row for row in doomed if row["final"] in ("black", "frozen", "cut", "conditioning")
    ]
    spared = sum(row["calls"][1] for row in rows if row["stopped"] is not None)
    every = sum(sum(row["calls"]) for row in rows)
    of_caught = sum(sum(row["calls"]) for row in rows if row["stopped"] is not None)
    return {
        "takes": len(rows),
        "doomed": len(doomed),
        "caught": len(caught),
        "of_a_class_that_is_looked_for": len(looked_for),
        "of_those_caught": sum(1 for row in looked_for if row["stopped"] is not None),
        "good": len(good),
        "good_lost": sum(1 for row in good if row["stopped"] is not None),
        "model_calls_spared_share_of_all": round(spared / every, 4),
        "model_calls_spared_share_of_caught": round(spared / of_caught, 4) if of_caught else 0.0,
    }


def choosing(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The candidate that stage 1 chooses against the first one and the best one, by final rank."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        if row["kind"] == "good":
            groups.setdefault((row["still"], row["move"]), []).append(row)
    whole = [group for group in groups.values() if len(group) == CANDIDATES]
    better = worse = best = same = 0
    places: list[int] = []
    for group in whole:
        chosen = min(group, key=lambda row: row["early_rank"])
        order = sorted(group, key=lambda row: row["final_rank"])
        places.append(order.index(chosen) + 1)
        same += chosen is group[0]
        better += chosen["final_rank"] < group[0]["final_rank"]
        worse += chosen["final_rank"] > group[0]["final_rank"]
        best += chosen is order[0]
    one, two = whole[0][0]["calls"] if whole else (1, 1)
    return {
        "shots": len(whole),
        "candidates": CANDIDATES,
        "chose_the_first": same,
        "better_than_the_first": better,
        "worse_than_the_first": worse,
        "chose_the_best": best,
        "mean_place_of_the_chosen": round(sum(places) / len(places), 2) if places else 0.0,
        "mean_place_by_chance": (CANDIDATES + 1) / 2,
        "model_calls_against_one_take": round((CANDIDATES * one + two) / (one + two), 3),
    }


def report(work: Path, out: Path) -> None:
    """Write the results."""
    rows = judged(work)
    where = f"{platform.machine()}, {platform.python_version()}, torch {version('torch')}"
    data = {
        "date": str(datetime.now(UTC).date()),
        "machine": where,
        "thresholds": judge_early({}).thresholds,
        "stopping": stopping(rows),
        "candidates": choosing(rows),
        "known_clips": clips(),
        "rows": rows,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(data, indent=1) + "\n")
    print(
        json.dumps({key: data[key] for key in ("stopping", "candidates", "known_clips")}, indent=1)
    )


def main() -> None:
    """Render takes, or report on those that are there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("render", "report"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/early.json")
    args = parser.parse_args()
    if args.what == "render":
        render(args.work)
    else:
        report(args.work, args.out)


if __name__ == "__main__":
    main()
