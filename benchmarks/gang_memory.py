"""One take over two cards whose memory is short: blocks swapped, and the way there.

The cards are made smaller for torch's allocator (`random_family`), so that memory really runs out;
what the estimate would say is hidden from the workers (`room` of nothing), or they would keep out
of the way of it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.two_cards import BUDGET, SMALL, Rig, compared, one_stage, order
from render.order import Receipt

WAYS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("plain", ()),
    ("swapped", ("cache", "alone", "swap")),
)
PARTS = ("text_encoder", "transformer", "vae")


async def swapped(rig: Rig, folder: Path, model: str) -> dict[str, Any]:
    """A take over two cards with blocks swapped from the start, against the same without.

    Each twice: the first of a kind loads, and locks host memory.
    """
    told: dict[str, Any] = {}
    shape = rig.shapes[SMALL]
    async with rig.pool(folder / "swapped") as pool:
        plain: Receipt | None = None
        renewed: list[str] = []
        pool.on_renewal(renewed.append)
        for name, rungs in WAYS:
            for again in ("first", "again"):
                made, shot = one_stage(3, *shape), f"{name}-{again}"
                asked = order(folder, model, made, device=rig.device, gpus=2, name=shot)
                asked = replace(asked, rungs={"as if learned": rungs})
                receipt = await pool.render(asked, budget=BUDGET)
                plain = plain or receipt
                told[f"{name}, {again}"] = found = {
                    "seconds": round(receipt.seconds, 2),
                    "workers_begun_anew": list(renewed),
                    **compared(receipt, plain),
                }
                print(f"swapped: {name}, {again}", json.dumps(found), flush=True)
    return told


async def descent(
    rig: Rig, folder: Path, model: str, *, gib: float, knows: Sequence[str]
) -> dict[str, Any]:
    """A gang of two on cards of `gib` GiB, too small for the model's weights and its work: it runs
    out, steps down together and ends with the bits of two large cards.

    `knows`: rungs that takes before it had needed, so that fewer tries are paid for.
    """
    told: dict[str, Any] = {}
    shape = rig.shapes[SMALL]
    async with rig.pool(folder / "descent") as pool:
        plain: Receipt | None = None
        for name, words in (("large cards", ""), ("small cards", f" {gib:g}GiB")):
            made, shot = one_stage(3, *shape), name.replace(" ", "-")
            asked = order(folder, model + words, made, device=rig.device, gpus=2, name=shot)
            if words:
                asked = replace(
                    asked, room=dict.fromkeys(PARTS, 1), rungs={"as if learned": tuple(knows)}
                )
            before = pool.worker_pids()
            begun = time.perf_counter()
            receipt = await pool.render(asked, budget=BUDGET)
            plain = plain or receipt
            told[name] = found = {
                "wall_seconds": round(time.perf_counter() - begun, 2),
                "workers_begun_anew": len(set(pool.worker_pids().items()) - set(before.items())),
                "forced": list(receipt.forced),
                **compared(receipt, plain),
            }
            print(f"descent: {name}", json.dumps(found), flush=True)
    return told
