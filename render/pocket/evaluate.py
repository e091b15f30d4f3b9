"""Measures the bundled model on pictures it never saw: ``python -m render.pocket.evaluate``.

Prints one JSON document: the autoencoder's PSNR, how well frame 0 keeps the still, how often the
motion goes the asked way, and a table of sampling recipes against the true camera move.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from diffusers import WanImageToVideoPipeline
from torch import Tensor

from render.pocket.data import Shot, camera_paths, shoot
from render.pocket.flow import Stage, condition_of, decode, run_stage, text_of
from render.pocket.layout import load_pipeline
from render.pocket.measure import motion_of, sharpness
from render.pocket.moves import DIRECTED, Move
from render.pocket.paths import MODEL_DIR
from render.pocket.photos import held_out
from render.pocket.running import psnr

PROMPTS: dict[Move, str] = {
    Move.STATIC: "static shot, nothing moves",
    Move.GENTLE: "a quiet picture in soft light",
    Move.PAN_LEFT: "a cat on a sofa, slow pan to the left, cinematic",
    Move.PAN_RIGHT: "the camera pans right, film grain",
    Move.TILT_UP: "tilt up, an old photograph",
    Move.TILT_DOWN: "a man outdoors, the camera tilts down",
    Move.ZOOM_IN: "camera pushes in on the subject, 35mm",
    Move.ZOOM_OUT: "zoom out, warm light, high quality",
    Move.ROLL_CLOCKWISE: "camera rolls clockwise, dramatic",
    Move.ROLL_COUNTER: "a still life, roll counter-clockwise",
}
"""One prompt per move, as a user might type it."""

RECIPES: dict[str, tuple[Stage, ...]] = {
    "2 steps": (Stage(2),),
    "6 steps": (Stage(6),),
    "12 steps": (Stage(12),),
    "12 steps, dpmpp_2m": (Stage(12, sampler="dpmpp_2m"),),
    "12 steps, shift 1": (Stage(12, shift=1),),
    "12 steps, cfg 1.5": (Stage(12, cfg=1.5),),
    "12 steps, cfg 3": (Stage(12, cfg=3.0),),
    "12 steps, cfg 6": (Stage(12, cfg=6.0),),
    "8 cfg 1.5, then 8 denoise 0.3": (Stage(8, cfg=1.5), Stage(8, denoise=0.3)),
    "8 cfg 1.5, then 8 denoise 0.6": (Stage(8, cfg=1.5), Stage(8, denoise=0.6)),
    "8 cfg 1.5, then 8 denoise 0.9": (Stage(8, cfg=1.5), Stage(8, denoise=0.9)),
    "8 cfg 1.5, then 6 denoise 0.5, then 4 denoise 0.25": (
        Stage(8, cfg=1.5),
        Stage(6, denoise=0.5),
        Stage(4, denoise=0.25),
    ),
}
"""Recipes tried, cfg 1 and shift 3 unless said; every stage has its own seed."""

RECIPE_MOVES = (Move.PAN_LEFT, Move.TILT_DOWN, Move.ZOOM_IN, Move.ROLL_COUNTER)
"""Moves that recipes are tried on, each over another held-out picture."""


def crops(*, per_picture: int, seed: int = 11) -> Tensor:
    """Square pieces of the held-out pictures at random places and scales: (N, 3, 128, 128)."""
    rng = np.random.default_rng(seed)
    found = []
    for picture in held_out().values():
        short = min(picture.shape[:2])
        for _ in range(per_picture):
            side = int(rng.integers(150, short + 1))
            y = int(rng.integers(0, picture.shape[0] - side + 1))
            x = int(rng.integers(0, picture.shape[1] - side + 1))
            piece = cv2.resize(
                picture[y : y + side, x : x + side], (128, 128), interpolation=cv2.INTER_AREA
            )
            found.append(torch.from_numpy(np.ascontiguousarray(piece)).permute(2, 0, 1))
    return torch.stack(found).float() / 127.5 - 1


def true_clips(
    *, moves: tuple[Move, ...], rounds: int = 1, seed: int = 4
) -> tuple[Tensor, list[Move]]:
    """True camera moves over held-out pictures in turn: (N, 3, 17, 128, 128), and the moves."""
    gen = torch.Generator().manual_seed(seed)
    pictures = [_square(picture) for picture in held_out().values()]
    names = list(moves) * rounds
    canvases = torch.cat(
        [pictures[(i + i // len(moves)) % len(pictures)] for i in range(len(names))]
    )
    paths = camera_paths(
        shots=[Shot((m,)) for m in names],
        height=128,
        width=128,
        frames=17,
        side=canvases.shape[-1],
        generator=gen,
    )
    return shoot(canvases=canvases, paths=paths, height=128, width=128), names


def _square(picture: Any) -> Tensor:
    """The middle square of a picture, 448 pixels wide: (1, 3, 448, 448), -1..1."""
    side = min(picture.shape[:2])
    y, x = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
    square = cv2.resize(picture[y : y + side, x : x + side], (448, 448))
    return torch.from_numpy(square).permute(2, 0, 1).float()[None] / 127.5 - 1


@torch.no_grad()
def sample(
    pipe: WanImageToVideoPipeline,
    stills: Tensor,
    prompt: str,
    stages: tuple[Stage, ...],
    *,
    seed: int,
) -> Tensor:
    """Clips (N, 3, 17, H, W), -1..1, for stills (N, 3, H, W) and one prompt."""
    condition = condition_of(pipe, stills)
    text, empty = text_of(pipe, prompt), text_of(pipe, "")
    latent: Tensor | None = None
    for number, stage in enumerate(stages):
        latent = run_stage(
            pipe,
            stage,
            condition=condition,
            prompt=text,
            empty=empty,
            seed=seed + 1000 * number,
            start=latent,
        )
    assert latent is not None
    return decode(pipe, latent)


def vae_figures(pipe: WanImageToVideoPipeline, clips: Tensor) -> dict[str, float]:
    """PSNR of encode + decode on true clips and on single frames, through the stock calls."""
    with torch.no_grad():
        again = pipe.vae.decode(pipe.vae.encode(clips).latent_dist.mode()).sample
        still = pipe.vae.decode(pipe.vae.encode(clips[:, :, :1]).latent_dist.mode()).sample
    return {
        "clips_db": psnr(again, clips),
        "worst_clip_db": min(psnr(a, b) for a, b in zip(again, clips, strict=True)),
        "single_db": psnr(still, clips[:, :, :1]),
        "sharpness_share": sharpness(again) / sharpness(clips),
    }


def direction_figures(
    pipe: WanImageToVideoPipeline, stills: Tensor, stages: tuple[Stage, ...]
) -> dict[str, Any]:
    """Share of clips that move as asked, per move, and how well frame 0 keeps the still."""
    right: dict[str, float] = {}
    frame0: list[float] = []
    for move in Move:
        clips = sample(pipe, stills, PROMPTS[move], stages, seed=21)
        frame0 += [psnr(c[:, 0], s) for c, s in zip(clips, stills, strict=True)]
        motions = [motion_of(c) for c in clips]
        if move in DIRECTED:
            right[move] = sum(m.verdict() == move for m in motions) / len(motions)
        else:
            right[f"{move}: amount of motion"] = float(np.mean([m.amount() for m in motions]))
    directed = [right[m] for m in DIRECTED]
    return {
        "right_share": sum(directed) / len(directed),
        "per_move": right,
        "frame0_db": float(np.mean(frame0)),
        "frame0_worst_db": min(frame0),
    }


def recipe_figures(
    pipe: WanImageToVideoPipeline, clips: Tensor, moves: list[Move], stages: tuple[Stage, ...]
) -> dict[str, float]:
    """A recipe against true camera moves: PSNR over all frames, the last frame, sharpness."""
    made = torch.empty_like(clips)
    for move in sorted(set(moves)):
        pick = [i for i, m in enumerate(moves) if m == move]
        made[pick] = sample(pipe, clips[pick][:, :, 0], str(move), stages, seed=31)
    rights = [motion_of(c).verdict() == m for c, m in zip(made, moves, strict=True)]
    return {
        "right_share": sum(rights) / len(rights),
        "frame0_db": psnr(made[:, :, 0], clips[:, :, 0]),
        "middle_db": psnr(made[:, :, 8, 16:-16, 16:-16], clips[:, :, 8, 16:-16, 16:-16]),
        "all_db": psnr(made, clips),
        "sharpness_share": sharpness(made) / sharpness(clips),
        "contrast_share": float(made.std() / clips.std()),
    }


def write_sheet(*, clips: Tensor, path: Path) -> None:
    """Contact sheet: one row per clip, frames 0, 4, 8, 12, 16."""
    rows = clips[:, :, ::4].permute(0, 3, 2, 4, 1).flatten(0, 1).flatten(1, 2)
    pixels = ((rows.cpu().numpy() + 1) * 127.5).clip(0, 255).astype(np.uint8)
    cv2.imwrite(str(path), pixels[..., ::-1])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", default=str(MODEL_DIR))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--per-picture", type=int, default=3, help="crops of each picture")
    parser.add_argument("--rounds", type=int, default=1, help="true clips of each move")
    parser.add_argument("--skip-directions", action="store_true")
    parser.add_argument("--recipes", default="all", help="all, none or part of a name")
    parser.add_argument("--sheet", default="", help="PNG to write sample clips to")
    args = parser.parse_args()
    pipe = load_pipeline(folder=Path(args.model)).to(args.device)
    pipe.set_progress_bar_config(disable=True)
    stills = crops(per_picture=args.per_picture).to(args.device)
    clips, moves = true_clips(moves=DIRECTED, rounds=args.rounds)
    clips = clips.to(args.device)
    started = time.monotonic()
    report: dict[str, Any] = {"vae": vae_figures(pipe, clips)}
    print(report["vae"], flush=True)
    if not args.skip_directions:
        report["directions"] = direction_figures(pipe, stills, (Stage(12),))
        print(report["directions"], flush=True)
    report["recipes"] = {}
    clips, moves = true_clips(moves=RECIPE_MOVES)
    clips = clips.to(args.device)
    for name, stages in RECIPES.items():
        if args.recipes == "all" or args.recipes in name:
            report["recipes"][name] = {
                **recipe_figures(pipe, clips, moves, stages),
                "stages": [asdict(s) for s in stages],
            }
            print(name, report["recipes"][name], flush=True)
    report["seconds"] = time.monotonic() - started
    if args.sheet:
        made = [
            sample(pipe, stills[:: args.per_picture], PROMPTS[m], (Stage(12),), seed=5)
            for m in (Move.PAN_LEFT, Move.ZOOM_IN, Move.TILT_UP, Move.ROLL_CLOCKWISE)
        ]
        write_sheet(clips=torch.cat(made), path=Path(args.sheet))
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
