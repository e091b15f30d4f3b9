"""How busy a card is over a night of small shots: Rushes' pool against a plain loop.

Run it as `python -m benchmarks.overlap results/overlap.json`; `--tiny` is a rehearsal on a CPU.

Twenty shots of a 1.3B text-to-video Wan (random weights), 17 frames of 512x512, the two-stage
recipe (18 and 25 steps with guidance). Every shot is rendered, scored, pictured and finished as a
night does it, through the same functions of the worker:

* plain: one process, one shot after another, each step after the one before;
* pool: the worker processes of a night, shots as many at once as the crew has lanes.

What is counted comes from the takes' own timelines (`reports.busy`): seconds in which a take
encoded, sampled or decoded, over the seconds between the first and the last of it. Beside it stands
what NVML saw: the mean of its utilisation, sampled every 0.1 s in the same window. Prefect and the
ledger are left out: their time lies between calls, while other takes wait at the card.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

from manifests.shot import FinishSpec
from manifests.stage import Recipe, Stage, StageKind
from render.order import FinishOrder, ModelRef, Receipt, RenderOrder, ScoreOrder
from reports.busy import CardBusy, card_busy

BUDGET = 600.0
"""Seconds for any one step."""


def recipe(*, seed: int, tiny: bool) -> Recipe:
    """The two-stage recipe, another seed and prompt for each shot."""
    renoise, short = StageKind.RENOISE, (3, 2)
    first, second = short if tiny else (18, 25)
    return Recipe(
        preset="wan/two-stage",
        family="wan",
        model="wan",
        model_id="random",
        prompt=f"slow pan left shot {seed}",
        negative="blurry",
        width=64 if tiny else 512,
        height=64 if tiny else 512,
        frames=17,
        fps=16.0,
        seed=seed,
        stages=(
            Stage(kind=renoise, steps=first, cfg=5.0, shift=5.0),
            Stage(kind=renoise, steps=second, cfg=4.0, shift=5.0, denoise=0.45, seed_offset=1),
        ),
        precision="bfloat16",
        vae_precision="bfloat16",
    )


def orders(root: Path, model: Path, *, shots: int, device: str, tiny: bool) -> list[RenderOrder]:
    """The night's renders, each into a folder of its own below `root`."""
    return [
        RenderOrder(
            take_id=f"night/sh{seed:03d}/f/t1",
            shot=f"sh{seed:03d}",
            take=1,
            recipe=recipe(seed=seed, tiny=tiny),
            model=ModelRef(name="wan", family="wan", location=str(model)),
            source=None,
            folder=root / f"sh{seed:03d}",
            device=device,
            store=root / "store",
        )
        for seed in range(shots)
    ]


def score_order(order: RenderOrder, receipt: Receipt) -> ScoreOrder:
    """How a night scores that take."""
    made = order.recipe
    return ScoreOrder(
        clip=receipt.clip,
        source=None,
        frames=made.frames,
        width=made.width,
        height=made.height,
        fps=made.fps,
    )


def finish_order(order: RenderOrder, receipt: Receipt) -> FinishOrder:
    """How a night finishes that take."""
    return FinishOrder(
        take_id=order.take_id,
        shot=order.shot,
        clip=receipt.clip,
        finish=FinishSpec(),
        destination=order.folder / "final.mp4",
    )


def plain(night: Sequence[RenderOrder]) -> list[Receipt]:
    """One shot after another, in this process."""
    from tasks import worker

    receipts = []
    for order in night:
        receipt = worker.render(order)
        worker.score(score_order(order, receipt))
        worker.picture(receipt.clip)
        worker.finish(finish_order(order, receipt))
        receipts.append(receipt)
        print(f"plain {order.shot}: {receipt.seconds:.2f} s", flush=True)
    return receipts


async def pooled(night: Sequence[RenderOrder], *, device: str, scratch: Path) -> list[Receipt]:
    """As many shots at once as the crew has lanes, through worker processes."""
    import os

    from tasks.gpus import find_machine
    from tasks.worker_pool import WorkerPool

    machine, cores = find_machine(device), os.cpu_count() or 1
    async with WorkerPool(
        machine, threads=cores, scratch=scratch, listener=lambda progress: None
    ) as pool:
        posts = ", ".join(f"{post.name} x{post.seats}" for post in pool.crew.posts)
        print(f"crew: {posts}; {pool.lanes} lanes", flush=True)
        lanes = asyncio.Semaphore(pool.lanes)

        async def shot(place: int, order: RenderOrder) -> Receipt:
            async with lanes:
                receipt = await pool.render(order, budget=BUDGET, place=place)
                await pool.score(score_order(order, receipt), budget=BUDGET)
                await pool.picture(receipt.clip, budget=BUDGET)
                await pool.finish(finish_order(order, receipt), budget=BUDGET)
                print(f"pool {order.shot}: {receipt.seconds:.2f} s", flush=True)
                return receipt

        return list(await asyncio.gather(*(shot(*pair) for pair in enumerate(night))))


class Nvml:
    """Samples the card's utilisation, 0..100, every 0.1 s until it is stopped."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, int]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No further samples."""
        self._stop.set()
        self._thread.join()

    def mean_between(self, begun: float, ended: float) -> float | None:
        """Mean utilisation as a share, 0..1; None without samples."""
        inside = [value for at, value in self.samples if begun <= at <= ended]
        return mean(inside) / 100 if inside else None

    def _watch(self) -> None:
        try:
            import pynvml

            pynvml.nvmlInit()
            card = pynvml.nvmlDeviceGetHandleByIndex(0)
        except Exception as error:
            print(f"no NVML: {error}", flush=True)
            return
        while not self._stop.wait(0.1):
            rates = pynvml.nvmlDeviceGetUtilizationRates(card)
            self.samples.append((time.time(), int(rates.gpu)))


def told(receipts: Sequence[Receipt], nvml: Nvml, *, wall: float) -> dict[str, Any]:
    """One night in figures."""
    spans = [span for receipt in receipts for span in receipt.timeline]
    work = [span for span in spans if span.on_card and span.kind != "load"]
    first, last = min(span.begun for span in work), max(span.ended for span in work)
    found: tuple[CardBusy, ...] = card_busy(
        [receipt if receipt.card else replace(receipt, card="cpu") for receipt in receipts]
    )
    kinds = sorted({span.kind for span in spans})
    return {
        "shots": len(receipts),
        "window_seconds": round(last - first, 3),
        "computing_seconds": round(found[0].computing, 3),
        "busy": round(found[0].share, 4),
        "nvml_mean_utilisation": nvml.mean_between(first, last),
        "wall_seconds": round(wall, 1),
        "mean_take_seconds": round(mean(receipt.seconds for receipt in receipts), 3),
        "mean_span_seconds": {
            kind: round(mean(s.ended - s.begun for s in spans if s.kind == kind), 4)
            for kind in kinds
        },
        "first_take_idle": [round(b - a, 4) for a, b in gaps(receipts[0])],
    }


def gaps(receipt: Receipt) -> list[tuple[float, float]]:
    """Stretches between the spans of one take on its card: what the timeline does not name."""
    work = sorted((s.begun, s.ended) for s in receipt.timeline if s.on_card)
    return [(a[1], b[0]) for a, b in pairwise(work) if b[0] - a[1] > 0.0005]


def run_night(kind: str, arguments: argparse.Namespace, root: Path, model: Path) -> dict[str, Any]:
    """One night of a kind, `plain` or `pool`, measured."""
    device = "cpu" if arguments.tiny else "cuda:0"
    shots = arguments.plain_shots if kind == "plain" else arguments.shots
    night = orders(root, model, shots=shots, device=device, tiny=arguments.tiny)
    nvml, begun = Nvml(), time.time()
    if kind == "plain":
        receipts = plain(night)
    else:
        wanted = "cpu" if arguments.tiny else "cuda"
        receipts = asyncio.run(pooled(night, device=wanted, scratch=root / "scratch"))
    wall = time.time() - begun
    nvml.stop()
    return told(receipts, nvml, wall=wall)


def main() -> None:
    """Build the model, run both nights in processes of their own, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("result", type=Path)
    parser.add_argument("--tiny", action="store_true", help="a rehearsal on a CPU")
    parser.add_argument("--shots", type=int, default=20)
    parser.add_argument("--plain-shots", type=int, default=10)
    parser.add_argument("--kind", choices=["plain", "pool"], help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.kind is not None:
            result = run_night(arguments.kind, arguments, Path(folder), arguments.model)
            arguments.result.write_text(json.dumps(result))
            return
        from benchmarks.wan_folder import card_words, write_wan

        model = write_wan(Path(folder) / "model", "tiny" if arguments.tiny else "1.3B")
        print("the model is written", flush=True)
        found: dict[str, Any] = {
            "date": datetime.now(UTC).date().isoformat(),
            "machine": card_words(),
            "what": "random weights" + (", a rehearsal: proves nothing" * arguments.tiny),
        }
        for kind in ("pool", "plain"):
            part = Path(folder) / f"{kind}.json"
            command = [sys.executable, "-m", "benchmarks.overlap", str(part)]
            command += ["--kind", kind, "--model", str(model), "--shots", str(arguments.shots)]
            command += ["--plain-shots", str(arguments.plain_shots)]
            subprocess.run([*command, *(["--tiny"] if arguments.tiny else [])], check=True)
            found[kind] = json.loads(part.read_text())
            print(kind, json.dumps(found[kind], indent=1), flush=True)
            arguments.result.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
