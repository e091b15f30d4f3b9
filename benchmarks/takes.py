"""Whole takes on a card, as a warm worker renders them: speed levels in turn, and packed weights.

Run it as `python -m benchmarks.takes results/takes.json` on a machine with a card; `--tiny` is a
rehearsal on a CPU and proves nothing.

A 1.3B text-to-video Wan of real size with random weights, a tiny text encoder, two stages of 8
and 4 steps with guidance, through `DiffusersBackend.render`: load, encode, stages, decode, the
clip and the receipt. No store: every take computes all of it.

* levels: turbo, exact and fast in turn on one warm backend, twice over (the first round compiles),
  and an exact take of a cold one. Exact takes must be equal to the bit, whatever ran before them.
* large: the same at 14B, 17 frames of 832x480, drawn on the card (`random_family`).
* packed: the transformer from a GGUF file, 8 and 4 bits, beside the folder it was packed from; 6
  of its 30 layers, which are alike.

Random weights: how near a level comes to exact is measured on a trained model
(`speed_quality.py`), and a step cache finds other steps alike here than there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import gguf
import torch
from safetensors.torch import load_file

from benchmarks.overlap import recipe as two_stages
from benchmarks.random_family import RandomBackend
from benchmarks.wan_folder import card_words, write_wan
from manifests.stage import Recipe, Speed
from manifests.wan_names import original_name
from render.clip import read_clip
from render.diffusers_backend import DiffusersBackend
from render.order import ModelRef, Receipt, RenderOrder

ROUNDS = 2
LEVELS = (Speed.TURBO, Speed.EXACT, Speed.FAST)
LAYERS = 6
WEIGHTS = "diffusion_pytorch_model"
Say = Callable[[str, Any], None]


def recipe(*, tiny: bool, large: bool = True, **changes: Any) -> Recipe:
    """Two stages of 8 and 4 steps with guidance, 81 frames of 832x480 or 17 of 512x512."""
    made = two_stages(seed=4, tiny=tiny)
    if not tiny:
        steps = (8, 4)
        stages = zip(made.stages, steps, strict=True)
        changes["stages"] = tuple(replace(stage, steps=count) for stage, count in stages)
    if large and not tiny:
        changes |= {"width": 832, "height": 480, "frames": 81}
    return replace(made, **changes)


def order(folder: Path, model: ModelRef, made: Recipe) -> RenderOrder:
    """An order for one take into `folder`."""
    return RenderOrder(
        take_id=f"bench/{folder.name}/t1",
        shot=folder.name,
        take=1,
        recipe=made,
        model=model,
        source=None,
        folder=folder,
        device="cuda:0" if torch.cuda.is_available() else "cpu",
    )


def rendered(backend: DiffusersBackend, asked: RenderOrder) -> tuple[Receipt, dict[str, Any]]:
    """The take, and what is told of it."""
    begun = time.perf_counter()
    receipt = backend.render(asked, tell=lambda progress: None)
    spans = {span.kind: round(span.ended - span.begun, 2) for span in receipt.timeline}
    return receipt, {
        "wall_seconds": round(time.perf_counter() - begun, 2),
        "spans": spans,
        "kept_to": receipt.speed,
        "notes": list(receipt.notes),
        "peak_gib": round(receipt.peak_memory / 2**30, 2),
        "hashes": [*(stage.latents_sha256[:16] for stage in receipt.stages)],
        "clip": receipt.clip_sha256[:16],
    }


def distance(receipt: Receipt, to: Receipt) -> dict[str, float]:
    """Of the last latents and of the frames in the clips: relative RMS, and decibels."""
    mine, theirs = (load_file(r.stages[-1].latents)["latents"] for r in (receipt, to))
    rms = (mine - theirs).square().mean().sqrt() / theirs.square().mean().sqrt()
    squares = [
        float(((a - b) ** 2).mean())
        for a, b in zip(read_clip(receipt.clip), read_clip(to.clip), strict=True)
    ]
    error = sum(squares) / len(squares)
    decibels = 999.0 if error == 0 else -10 * float(torch.log10(torch.tensor(error)))
    return {"latents_rms_ratio": float(rms), "frames_psnr_db": round(decibels, 1)}


# ---------------------------------------------------------------------- speed levels


def levels(folder: Path, *, tiny: bool, say: Say) -> dict[str, Any]:
    """Every level at 1.3B, from a folder."""
    where = write_wan(folder / "model", "tiny" if tiny else "1.3B")
    model = ModelRef(name="wan", family="wan", location=str(where))
    return _levels(folder, model, recipe(tiny=tiny), DiffusersBackend, say=say)


def large(folder: Path, *, tiny: bool, say: Say) -> dict[str, Any]:
    """Every level at 14B, of a model that is drawn."""
    model = ModelRef(name="wan", family="wan", location="tiny" if tiny else "14B quick")
    made = recipe(tiny=tiny, large=False)
    if not tiny:
        made = replace(made, width=832, height=480)
    return _levels(folder, model, made, RandomBackend, say=say)


def _levels(
    folder: Path, model: ModelRef, made: Recipe, begin: Callable[[], DiffusersBackend], *, say: Say
) -> dict[str, Any]:
    """Every level twice on one warm backend; the second exact take is what the others are near."""
    backend, told = begin(), {}
    receipts: dict[str, Receipt] = {}

    def take(name: str, level: Speed, by: DiffusersBackend) -> None:
        asked = order(folder / name.replace(" ", "-"), model, replace(made, speed=level))
        receipts[name], told[name] = rendered(by, asked)
        say(name, told[name])

    for n in range(1, ROUNDS + 1):
        for level in LEVELS:
            take(f"{level} {n}", level, backend)
    backend.close()
    take("exact cold", Speed.EXACT, begin())
    exact = receipts[f"exact {ROUNDS}"]
    for name, receipt in receipts.items():
        told[name] |= distance(receipt, exact)
    exacts = [told[name] for name in told if name.startswith("exact")]
    return {
        "takes": told,
        "exact takes equal": len({(*each["hashes"], each["clip"]) for each in exacts}) == 1,
        "equal to themselves": {
            level: told[f"{level} 1"]["clip"] == told[f"{level} {ROUNDS}"]["clip"]
            for level in LEVELS
        },
    }


# ---------------------------------------------------------------------- packed weights


def packed(folder: Path, *, tiny: bool, say: Say) -> dict[str, Any]:
    """Whole takes from GGUF files, by the card, beside the folder's own."""
    size, layers = ("tiny", None) if tiny else ("1.3B", LAYERS)
    where = write_wan(folder / "short", size, layers=layers)
    files: dict[str, Path | None] = {"folder": None}
    for kind in (gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.Q4_0):
        begun = time.perf_counter()
        files[kind.name] = pack(where, folder / f"{kind.name}.gguf", kind)
        say(f"packed as {kind.name}", round(time.perf_counter() - begun, 1))
    told: dict[str, Any] = {}
    receipts: dict[str, Receipt] = {}
    backend = DiffusersBackend()
    for n in range(1, ROUNDS + 1):
        for name, file in files.items():
            there = None if file is None else str(file)
            model = ModelRef(name="wan", family="wan", location=str(where), transformer=there)
            made = recipe(tiny=tiny, large=False)
            asked = order(folder / f"{name}-{n}", model, made)
            receipts[name], told[f"{name} {n}"] = rendered(backend, asked)
            told[f"{name} {n}"] |= distance(receipts[name], receipts["folder"])
            told[f"{name} {n}"]["file_mib"] = (
                None if file is None else round(file.stat().st_size / 2**20, 1)
            )
            say(f"{name} {n}", told[f"{name} {n}"])
    equal = {name: told[f"{name} 1"]["clip"] == told[f"{name} {ROUNDS}"]["clip"] for name in files}
    return {"takes": told, "equal to themselves": equal}


def pack(folder: Path, file: Path, kind: gguf.GGMLQuantizationType) -> Path:
    """The transformer of `folder` as GGUF in its makers' names, matrices packed."""
    writer = gguf.GGUFWriter(file, "wan")
    for part in sorted((folder / "transformer").glob(f"{WEIGHTS}*.safetensors")):
        for name, weight in load_file(part).items():
            values = weight.float().numpy()
            if values.ndim == 2 and values.shape[1] % 32 == 0:
                small = gguf.quants.quantize(values, kind)
                writer.add_tensor(original_name(name), small, raw_dtype=kind)
            else:
                writer.add_tensor(original_name(name), values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


# ---------------------------------------------------------------------- all of it


def main() -> None:
    """Run the parts, write what is found as it comes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("result", type=Path)
    parser.add_argument("--tiny", action="store_true", help="a rehearsal on a CPU")
    parser.add_argument("--parts", nargs="+", default=["levels", "large", "packed"])
    arguments = parser.parse_args()
    found: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": card_words(),
        "what": "random weights" + (", a rehearsal: proves nothing" * arguments.tiny),
    }

    def say(part: str, name: str, told: Any) -> None:
        print(part, name, json.dumps(told), flush=True)
        found.setdefault(part, {})[name] = told
        arguments.result.write_text(json.dumps(found, indent=1) + "\n")

    for name, work in (("levels", levels), ("large", large), ("packed", packed)):
        if name not in arguments.parts:
            continue
        folder = Path(tempfile.mkdtemp(prefix=f"takes-{name}-"))
        try:
            found[name] = work(folder, tiny=arguments.tiny, say=partial(say, name))
        except Exception as error:  # the other part is worth its while all the same
            traceback.print_exc()
            found[name] = {"failed": f"{type(error).__name__}: {error}"}
        finally:
            shutil.rmtree(folder)
        print(name, json.dumps(found[name]), flush=True)
        arguments.result.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
