"""Two cards: parts of a model apart, one take over both, a take on each, an upscale beside a take.

Run it as `python -m benchmarks.gpus results/gpus.json` on a machine with two cards; `--tiny` is a
rehearsal of the script over two CPU processes and proves nothing.

Real-size Wan models with random weights, drawn on the card by every worker
(`random_family`), 17 frames of 512x512 and 81 frames of 832x480.

* placement: a 14B with two experts; text encoder, second expert and VAE on the other card; every
  stage's latents are compared with the one-card take, hash by hash.
* together: context parallelism (Ulysses) through the pool, as `gpus: 2` asks for it, 1.3B and
  14B; seconds a step from the stage's own span, distance of the latents to the one-card take.
* swapped: the same with blocks swapped from host memory (`gang_memory`).
* descent: a gang on cards too small for it, until it has stepped down to swapping together.
* apart: a take on each card at once, against one after another.
* upscale: a network upscales on the other card while a take samples, against on the same card,
  where the two take turns (`upscale_beside`).

Each part may be run by itself (`--parts`), into a file of its own, under a time limit (`timeout`):
workers start for 15 s, and descent needs two minutes or three.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gang_memory import descent, swapped
from benchmarks.overlap import recipe as two_stages
from benchmarks.two_cards import (
    BUDGET,
    SMALL,
    Rig,
    compared,
    one_stage,
    order,
    spans,
    step_seconds,
)
from benchmarks.upscale_beside import upscale
from render.order import Placement
from tasks.worker_pool import WorkerPool

PARTS = ("together", "upscale", "descent", "swapped", "apart", "placement")
SHALLOW = "14B quick 12layers"
"""The 14B with 12 of its 40 layers, which are alike: a gang that steps down loads it anew, and one
that swaps locks host memory for it."""
SMALL_CARD = 8.5
"""GiB, beside 8.35 of those layers' weights: not enough to sample with them there, enough to
decode 17 frames of 512x512."""


def placement(folder: Path, model: str) -> dict[str, Any]:
    """Whole takes of a two-expert model, all on one card and with its parts on two; each twice,
    because the first of a kind loads."""
    import torch

    from benchmarks.random_family import BOUNDARY, RandomBackend

    made = replace(two_stages(seed=1, tiny=True), width=512, height=512, boundary=BOUNDARY)
    told: dict[str, Any] = {}
    hashes = []
    for name, places in (
        ("one card", Placement()),
        ("two cards", Placement(text_encoder="cuda:1", low_expert="cuda:1", vae="cuda:1")),
    ):
        backend, cards = RandomBackend(), range(torch.cuda.device_count())
        for again in ("first", "again"):
            shot = f"{name}-{again}".replace(" ", "-")
            asked = replace(
                order(folder, model, made, device="cuda:0", name=shot), placement=places
            )
            for card in cards:
                torch.cuda.reset_peak_memory_stats(card)
            receipt = backend.render(asked, tell=lambda progress: None)
            peaks = [round(torch.cuda.max_memory_allocated(card) / 2**30, 2) for card in cards]
            hashes.append([*(s.latents_sha256 for s in receipt.stages), receipt.clip_sha256])
            told[f"{name}, {again}"] = found = {
                "seconds": round(receipt.seconds, 2),
                "peak_gib": peaks,
                "spans": spans(receipt),
                "notes": list(receipt.notes),
            }
            print(f"placement {name}, {again}", json.dumps(found), flush=True)
        backend.close()
    return {**told, "latents_and_clip_equal": all(each == hashes[0] for each in hashes)}


async def together(rig: Rig, folder: Path, models: tuple[str, ...]) -> dict[str, Any]:
    """One take over two cards, against the same take on one."""
    told: dict[str, Any] = {}
    async with rig.pool(folder / "together") as pool:
        for model in models:
            for words, shape in rig.shapes.items():
                receipts = {}
                for gpus in (1, 2):
                    # The first loads and meets new kernels; a large one comes to a warm worker.
                    for again in range(2 if words == SMALL else 1):
                        name = f"{model}-{shape[0]}f-{gpus}cards-{again}".replace(".", "_")
                        made = one_stage(3, *shape)
                        asked = order(folder, model, made, device=rig.device, gpus=gpus, name=name)
                        receipts[gpus] = await pool.render(asked, budget=BUDGET)
                told[f"{model}, {words}"] = found = {
                    "step_seconds": {n: round(step_seconds(r), 4) for n, r in receipts.items()},
                    "speedup": round(step_seconds(receipts[1]) / step_seconds(receipts[2]), 3),
                    "take_seconds": {n: round(r.seconds, 2) for n, r in receipts.items()},
                    **compared(receipts[2], receipts[1]),
                }
                print(f"together {model} {words}", json.dumps(found), flush=True)
    return told


async def apart(rig: Rig, folder: Path, model: str) -> dict[str, Any]:
    """Four takes on two cards at once, against two takes on one card: twice the work."""
    told: dict[str, Any] = {}
    shape = rig.shapes[SMALL]

    async def takes(pool: WorkerPool, name: str, count: int) -> float:
        asked = [
            order(folder, model, one_stage(n, *shape), device=rig.device, name=f"{name}-{n}")
            for n in range(count)
        ]
        begun = time.perf_counter()
        receipts = await asyncio.gather(*(pool.render(each, budget=BUDGET) for each in asked))
        seconds = time.perf_counter() - begun
        told[f"{name}: cards"] = sorted({receipt.card for receipt in receipts})
        return seconds

    async with rig.pool(folder / "apart") as pool:
        await takes(pool, "warm up", 4)
        told["4 takes on 2 cards, seconds"] = round(await takes(pool, "two cards", 4), 2)
    async with rig.pool(folder / "apart1", device="cuda:0") as pool:
        await takes(pool, "warm up one", 2)
        told["4 takes on 1 card, seconds"] = round(await takes(pool, "one card", 4), 2)
    return told


def main() -> None:
    """Build the models, run each part, write what is found as it comes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("result", type=Path)
    parser.add_argument("--tiny", action="store_true", help="a rehearsal on a CPU")
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    arguments = parser.parse_args()
    from benchmarks.wan_folder import card_words

    # Stopped at a time limit, it ends its workers: they would go on in the cards of what is next.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    rig = Rig(arguments.tiny)
    found: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": card_words(),
        "what": "random weights" + (", a rehearsal: proves nothing" * rig.tiny),
    }

    def note(name: str, work: Callable[[], Any]) -> None:
        if name not in arguments.parts:
            return
        begun = time.perf_counter()
        try:
            found[name] = work()
        except Exception as error:  # the other parts are worth their while all the same
            traceback.print_exc()
            found[name] = {"failed": f"{type(error).__name__}: {error}"}
        print(name, f"{time.perf_counter() - begun:.0f} s", json.dumps(found[name]), flush=True)
        arguments.result.write_text(json.dumps(found, indent=1) + "\n")

    small, large = ("tiny", "tiny") if rig.tiny else ("1.3B", "14B")
    os.environ["RUSHES_BACKEND"] = "benchmarks.random_family:RandomBackend"
    with tempfile.TemporaryDirectory() as text:
        folder, short = Path(text), partial(descent, gib=SMALL_CARD, knows=("cache", "alone"))
        models = tuple(dict.fromkeys((small, large)))
        note("together", lambda: asyncio.run(together(rig, folder, models)))
        note("upscale", lambda: asyncio.run(upscale(rig, folder / "up", f"{small} quick")))
        note("descent", lambda: asyncio.run(short(rig, folder, "tiny" if rig.tiny else SHALLOW)))
        note("swapped", lambda: asyncio.run(swapped(rig, folder, "tiny" if rig.tiny else SHALLOW)))
        note("apart", lambda: asyncio.run(apart(rig, folder, small)))
        if not rig.tiny:  # needs two devices that torch tells apart
            note("placement", lambda: placement(folder, f"{large} x2"))


if __name__ == "__main__":
    main()
