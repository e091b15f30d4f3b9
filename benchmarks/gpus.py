"""Two cards: parts of a model apart, one take over both, a take on each, an upscale beside a take.

Run it as `python -m benchmarks.gpus results/gpus.json` on a machine with two cards; `--tiny` is a
rehearsal of the script over two CPU processes and proves nothing.

Real-size Wan models with random weights, drawn on the card by every worker
(`random_family`), 17 frames of 512x512 and 81 frames of 832x480.

* placement: a 14B with two experts; text encoder, second expert and VAE on the other card; every
  stage's latents are compared with the one-card take, hash by hash.
* together: context parallelism (Ulysses) through the pool, as `gpus: 2` asks for it, 1.3B and
  14B; seconds a step from the stage's own span, distance of the latents to the one-card take.
* short: the same with the ladder's rungs in force that a gang short of memory would take.
* apart: a take on each card at once, against one after another.
* upscale: a network upscales on the other card while a take samples, against on the same card,
  where the two take turns.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.overlap import recipe as two_stages
from manifests.placement import CardPlacement
from manifests.shot import FinishSpec, Upscale
from manifests.stage import Recipe, Stage, StageKind
from render.order import FinishOrder, ModelRef, Placement, Receipt, RenderOrder
from tasks.gpus import Device, Machine, find_machine
from tasks.worker_pool import WorkerPool

# NOTE: torch is imported inside the functions: worker processes import this module first, and what
# brings torch and diffusers in looks at the cards before a worker is told which one is its own.

PARTS = ("together", "upscale", "short", "apart", "placement")
BUDGET = 300.0
STEPS = 3
"""Of the takes that are timed: a step is a step."""
SMALL, LARGE = "17 frames 512x512", "81 frames 832x480"
SHAPES = {SMALL: (17, 512, 512), LARGE: (81, 832, 480)}
TINY_SHAPES = {SMALL: (5, 64, 64), LARGE: (9, 64, 64)}


@dataclass(frozen=True, slots=True)
class Rig:
    """Where the benchmark runs."""

    tiny: bool

    @property
    def device(self) -> str:
        """What a worker calls its card."""
        return "cpu" if self.tiny else "cuda:0"

    @property
    def shapes(self) -> dict[str, tuple[int, int, int]]:
        """Frames, width and height, by words."""
        return TINY_SHAPES if self.tiny else SHAPES

    def machine(self, device: str, placed: CardPlacement) -> Machine:
        """Of this machine, or of CPU processes in place of cards."""
        if not self.tiny:
            return find_machine(device, placed)
        number = 2 if device == "auto" and placed.upscale is None else 1
        fake = [Device(name=f"fake #{n}", torch_device="cpu", visible="") for n in range(3)]
        return Machine(cards=tuple(fake[:number]), upscaler=fake[2] if placed.upscale else None)

    def pool(
        self, scratch: Path, *, device: str = "auto", placed: CardPlacement | None = None
    ) -> WorkerPool:
        """The night's pool over those cards."""
        return WorkerPool(
            self.machine(device, placed or CardPlacement()),
            threads=os.cpu_count() or 1,
            scratch=scratch,
            listener=lambda progress: None,
        )


def order(
    folder: Path, model: str, made: Recipe, *, device: str, gpus: int = 1, name: str = "take"
) -> RenderOrder:
    """An order for one take, in a folder of its own."""
    return RenderOrder(
        take_id=f"bench/{name}/f/t1",
        shot=name,
        take=1,
        recipe=made,
        model=ModelRef(name="wan", family="wan", location=model),
        source=None,
        folder=folder / name,
        device=device,
        gpus=gpus,
    )


def one_stage(seed: int, frames: int, width: int, height: int) -> Recipe:
    """One stage of a few steps with guidance."""
    stage = Stage(kind=StageKind.RENOISE, steps=STEPS, cfg=5.0, shift=5.0)
    return replace(
        two_stages(seed=seed, tiny=False),
        stages=(stage,),
        frames=frames,
        width=width,
        height=height,
    )


def step_seconds(receipt: Receipt) -> float:
    """Seconds of one step (two model calls), the slow first ones of a shape included."""
    (span,) = [span for span in receipt.timeline if span.kind == "stage 1"]
    return (span.ended - span.begun) / STEPS


def latents(receipt: Receipt) -> Any:
    """Of the last stage, a float32 tensor."""
    from safetensors.torch import load_file

    return load_file(receipt.stages[-1].latents)["latents"]


def placement(folder: Path, model: str) -> dict[str, Any]:
    """Whole takes of a two-expert model, all on one card and with its parts on two."""
    import torch

    from benchmarks.random_family import BOUNDARY, RandomBackend

    made = replace(two_stages(seed=1, tiny=True), width=512, height=512, boundary=BOUNDARY)
    told: dict[str, Any] = {}
    hashes = []
    for name, places in (
        ("one card", Placement()),
        ("two cards", Placement(text_encoder="cuda:1", low_expert="cuda:1", vae="cuda:1")),
    ):
        backend = RandomBackend()
        asked = replace(
            order(folder, model, made, device="cuda:0", name=name.replace(" ", "-")),
            placement=places,
        )
        for card in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(card)
        receipt = backend.render(asked, tell=lambda progress: None)
        cards = range(torch.cuda.device_count())
        told[name] = {
            "seconds": round(receipt.seconds, 2),
            "peak_gib": [round(torch.cuda.max_memory_allocated(card) / 2**30, 2) for card in cards],
            "notes": list(receipt.notes),
        }
        hashes.append([stage.latents_sha256 for stage in receipt.stages] + [receipt.clip_sha256])
        backend.close()
    return {**told, "latents_and_clip_equal": hashes[0] == hashes[1]}


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


def compared(receipt: Receipt, to: Receipt) -> dict[str, Any]:
    """How far the last latents are apart, and what the receipt says of how they were made."""
    one, two = latents(to), latents(receipt)
    return {
        "latents_rms": round(float(one.square().mean().sqrt()), 4),
        "distance_rms": float((one - two).square().mean().sqrt()),
        "peak_gib": round(receipt.peak_memory / 2**30, 2),
        "rungs": list(receipt.rungs),
        "notes": list(receipt.notes),
        "spans": {span.kind: round(span.ended - span.begun, 2) for span in receipt.timeline},
    }


async def short(rig: Rig, folder: Path, model: str) -> dict[str, Any]:
    """A take over two cards with blocks swapped, against the same without."""
    told: dict[str, Any] = {}
    shape = rig.shapes[SMALL]
    async with rig.pool(folder / "short") as pool:
        plain: Receipt | None = None
        for name, rungs in (("plain", ()), ("swapped", ("cache", "alone", "swap"))):
            asked = order(
                folder, model, one_stage(3, *shape), device=rig.device, gpus=2, name=f"short-{name}"
            )
            asked = replace(asked, rungs={"as if learned": rungs})
            receipt = await pool.render(asked, budget=BUDGET)
            plain = plain or receipt
            told[name] = {"seconds": round(receipt.seconds, 2), **compared(receipt, plain)}
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


async def upscale(rig: Rig, folder: Path, model: str) -> dict[str, Any]:
    """A take of many steps while another is upscaled: on the other card, and on the same."""
    told: dict[str, Any] = {}
    network = _compact(folder / "compact.safetensors")
    shape = rig.shapes[SMALL]
    longer = replace(one_stage(5, *shape), stages=two_stages(seed=1, tiny=rig.tiny).stages)
    for words, placed, device in (
        ("another card", CardPlacement(upscale="cuda:1"), "auto"),
        ("the same card", CardPlacement(), "cuda:0"),
    ):
        name = words.replace(" ", "-")
        async with rig.pool(folder / name, device=device, placed=placed) as pool:
            made = one_stage(1, *rig.shapes[LARGE])
            first = order(folder, model, made, device=rig.device, name=f"a-{name}")
            receipt = await pool.render(first, budget=BUDGET)
            finish = FinishOrder(
                take_id=first.take_id,
                shot=first.shot,
                clip=receipt.clip,
                finish=FinishSpec(upscale=Upscale(factor=4.0, model=network)),
                destination=folder / f"{name}.mp4",
            )
            second = order(folder, model, longer, device=rig.device, name=f"b-{name}")
            begun, wall = time.perf_counter(), time.time()
            beside, delivery = await asyncio.gather(
                pool.render(second, budget=BUDGET), pool.finish(finish, budget=BUDGET)
            )
            told[words] = {
                "both_seconds": round(time.perf_counter() - begun, 2),
                "take_seconds": round(beside.seconds, 2),
                "take_on_card": _on_card(beside, since=wall),
                "upscale_seconds": round(delivery.seconds, 2),
                "delivered": [delivery.width, delivery.height, delivery.upscaler],
            }
    return told


def _on_card(receipt: Receipt, *, since: float) -> list[float]:
    """When a take had the card, first and last second after `since`."""
    spans = [span for span in receipt.timeline if span.on_card]
    ends = min(span.begun for span in spans), max(span.ended for span in spans)
    return [round(end - since, 2) for end in ends]


def _compact(path: Path, *, width: int = 64, depth: int = 16) -> Path:
    """A RealESRGAN Compact 4x network of its usual size, random weights."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(2)
    state: dict[str, Any] = {}
    channels = [3, *[width] * (depth + 1), 48]
    for index, (into, out) in enumerate(pairwise(channels)):
        last = index == len(channels) - 2
        state[f"body.{2 * index}.weight"] = 0.05 * torch.randn(out, into, 3, 3)
        state[f"body.{2 * index}.bias"] = torch.zeros(out)
        if not last:
            state[f"body.{2 * index + 1}.weight"] = torch.full((out,), 0.2)
    save_file(state, path)
    return path


def main() -> None:
    """Build the models, run each part, write what is found as it comes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("result", type=Path)
    parser.add_argument("--tiny", action="store_true", help="a rehearsal on a CPU")
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    arguments = parser.parse_args()
    from benchmarks.wan_folder import card_words

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
        folder = Path(text)
        models = tuple(dict.fromkeys((small, large)))
        note("together", lambda: asyncio.run(together(rig, folder, models)))
        note("upscale", lambda: asyncio.run(upscale(rig, folder, f"{small} quick")))
        note("short", lambda: asyncio.run(short(rig, folder, small)))
        note("apart", lambda: asyncio.run(apart(rig, folder, small)))
        if not rig.tiny:  # needs two devices that torch tells apart
            note("placement", lambda: placement(folder, f"{large} x2"))


if __name__ == "__main__":
    main()
