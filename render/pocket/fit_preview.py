"""Fits the pocket model's linear preview: ``python -m render.pocket.fit_preview``.

Clips with camera moves over the training photographs are encoded; by least squares their latents
are mapped to the mean colour of what each latent pixel stands for (8 x 8 pixels; one frame for the
first latent frame, four for the others). Writes the `pocket` entry of `render/latent_rgb.json` and
prints how well it does on pictures that it never saw.
"""

from __future__ import annotations

import json

import cv2
import numpy as np
import torch
from torch import Tensor

from render.pocket.data import Shot, camera_paths, shoot
from render.pocket.evaluate import true_clips
from render.pocket.layout import load_pipeline
from render.pocket.moves import DIRECTED, Move
from render.pocket.paths import MODEL_DIR
from render.pocket.photos import find_photos
from render.preview_factors import TABLE

SPACE, TIME = 8, 4
"""Pixels and frames that a latent pixel stands for."""
SIDE, FRAMES = 128, 17
PER_PHOTO = 4
DIGITS = 4


def training_clips(*, seed: int = 1) -> Tensor:
    """Camera moves in turn over the training photographs: (N, 3, 17, 128, 128), -1..1."""
    gen = torch.Generator().manual_seed(seed)
    canvases = torch.cat([_square(photo.pixels) for photo in find_photos()] * PER_PHOTO)
    moves = [Move.STATIC, *DIRECTED]
    paths = camera_paths(
        shots=[Shot((moves[i % len(moves)],)) for i in range(len(canvases))],
        height=SIDE,
        width=SIDE,
        frames=FRAMES,
        side=canvases.shape[-1],
        generator=gen,
    )
    return shoot(canvases=canvases, paths=paths, height=SIDE, width=SIDE)


@torch.inference_mode()
def rows_of(clips: Tensor) -> tuple[Tensor, Tensor]:
    """Normalised latents (M, C) of all latent pixels of the clips, and their colours (M, 3)."""
    vae = load_pipeline(folder=MODEL_DIR).vae
    mean = torch.tensor(vae.config.latents_mean).view(1, -1, 1, 1, 1)
    std = torch.tensor(vae.config.latents_std).view(1, -1, 1, 1, 1)
    latents, colours = [], []
    for clip in clips.split(1):
        z = (vae.encode(clip).latent_dist.mode() - mean) / std
        pooled = torch.nn.functional.avg_pool3d(clip, (1, SPACE, SPACE))
        first, rest = pooled[:, :, :1], pooled[:, :, 1:]
        rest = torch.nn.functional.avg_pool3d(rest, (TIME, 1, 1))
        latents.append(z[0].flatten(1).T)
        colours.append(torch.cat([first, rest], dim=2)[0].flatten(1).T)
    return torch.cat(latents), torch.cat(colours)


def fit(latents: Tensor, colours: Tensor) -> Tensor:
    """Least squares with a constant: (C + 1, 3), the constant last."""
    ones = torch.ones(len(latents), 1)
    return torch.linalg.lstsq(torch.cat([latents, ones], dim=1).double(), colours.double()).solution


def correlation(found: Tensor, wanted: Tensor) -> float:
    """Pearson correlation over all values."""
    return float(np.corrcoef(found.flatten().numpy(), wanted.flatten().numpy())[0, 1])


def _square(picture: np.ndarray) -> Tensor:
    """The middle square of a picture, 448 pixels wide: (1, 3, 448, 448), -1..1."""
    side = min(picture.shape[:2])
    y, x = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
    square = cv2.resize(picture[y : y + side, x : x + side], (448, 448))
    return torch.from_numpy(square).permute(2, 0, 1).float()[None] / 127.5 - 1


def main() -> None:
    """Fit, write, and measure on held-out pictures."""
    latents, colours = rows_of(training_clips())
    found = fit(latents, colours).round(decimals=DIGITS)
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    vae = json.loads((MODEL_DIR / "vae" / "config.json").read_text(encoding="utf-8"))
    table["pocket"] = {
        "source": "least squares over the training photographs: render/pocket/fit_preview.py",
        "latents_mean": vae["latents_mean"],
        "factors": found[:-1].tolist(),
        "bias": found[-1].tolist(),
    }
    TABLE.write_text(_one_row_a_line(table), encoding="utf-8")
    unseen, wanted = rows_of(true_clips(moves=DIRECTED)[0])
    shown = unseen.double() @ found[:-1] + found[-1]
    print(
        json.dumps(
            {
                "rows": len(latents),
                "held_out_rows": len(unseen),
                "held_out_correlation": round(correlation(shown, wanted.double()), 4),
                "held_out_rmse": round(float((shown - wanted).square().mean().sqrt()) / 2, 4),
            }
        )
    )


def _one_row_a_line(table: dict[str, dict[str, object]]) -> str:
    """JSON with one list of numbers on each line."""
    names = []
    for name, entry in table.items():
        lines = []
        for key, value in entry.items():
            text = json.dumps(value)
            if key == "factors":
                text = text.replace("[[", "[\n   [").replace("], [", "],\n   [")
                text = text.replace("]]", "]\n  ]")
            lines.append(f'  "{key}": {text}')
        names.append(f' "{name}": {{\n' + ",\n".join(lines) + "\n }")
    return "{\n" + ",\n".join(names) + "\n}\n"


if __name__ == "__main__":
    main()
