"""Others hold memory of the cards and compute nothing that counts: large takes wait for room."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.cards.stand import HOLD, STILLS, Artist, Stand, uuids
from manifests.files import sha256_file
from manifests.models import POCKET, builtin_models
from manifests.stage import Recipe, Stage, StageKind
from render.order import ModelRef, Receipt, RenderOrder
from tasks.gpus import find_machine
from tasks.neighbours import Courtesy, Neighbours
from tasks.worker_pool import WorkerPool

GIB = 2**30
NEVER = 1e9
STAYS_CALM = Courtesy(every=1.0, stays=NEVER, quiet=NEVER)
"""A process that only draws would not be counted as one that computes. One that holds memory by
CUDA is: so nobody is left in this part, and memory alone decides."""
LARGE, SMALL = 40 * GIB, GIB // 2
"""What takes of a large and of a small model need at the least."""
BUDGET = 120.0
WAITS = 8.0
"""Seconds for which a take that has no room is seen to wait."""


def memory(stand: Stand) -> dict[str, Any]:
    """All but 2 GiB of the second card are held, then of both; then the first is free again."""
    os.environ.update(stand.environment())
    return asyncio.run(_memory(stand))


async def _memory(stand: Stand) -> dict[str, Any]:
    first, second, *_ = uuids()
    said: list[str] = []
    root = stand.folder / "memory"
    pool = WorkerPool(
        find_machine("cuda"),
        threads=os.cpu_count() or 1,
        scratch=root / "scratch",
        listener=lambda progress: None,
        neighbours=Neighbours(courtesy=STAYS_CALM),
    )
    async with pool:
        pool.on_news(said.append)
        large = order(root, "large", stand=stand)
        large = replace(large, least_memory=LARGE, best_on="card-1")
        one = await _holder(stand, second, said, 1)
        receipt = await _rendered(pool, large)
        two = await _holder(stand, first, said, 2)
        waits = asyncio.create_task(_rendered(pool, replace(large, **_named(root, "waits"))))
        fits = replace(large, least_memory=SMALL, **_named(root, "fits"))
        small = await _rendered(pool, fits)
        await asyncio.sleep(WAITS)
        waited = not waits.done()
        two.end()
        ended = time.time()
        late = await waits
        begun = min(span.begun for span in late.timeline if span.on_card)
        one.end()
    return {
        "large_take_wanted_the_card_that_was_full": large.best_on,
        "it_went_to_the_other": receipt.card == first,
        "small_take_on_a_full_card": small.card in (first, second),
        "large_take_waited_while_both_were_full": waited,
        "it_was_rendered_on_the_card_that_became_free": late.card == first,
        "seconds_until_then": round(begun - ended, 2),
        "news": said,
    }


async def _holder(stand: Stand, card: str, said: list[str], number: int) -> Artist:
    """Somebody who holds all but 2 GiB of a card, once the pool has seen it."""
    holder = stand.artist(card, gib=-2.0, seconds=600, compute=False)
    await asyncio.to_thread(holder.when, "holds")
    until = time.monotonic() + 20
    while sum("larger takes wait" in words for words in said) < number:
        if time.monotonic() > until:
            raise TimeoutError(f"the pool did not see it: {said}")
        await asyncio.sleep(0.1)
    return holder


async def _rendered(pool: WorkerPool, wanted: RenderOrder) -> Receipt:
    return await pool.render(wanted, budget=BUDGET)


def _named(root: Path, name: str) -> dict[str, Any]:
    return {"take_id": f"memory/{name}/f/t1", "shot": name, "folder": root / name}


def order(root: Path, name: str, *, stand: Stand) -> RenderOrder:
    """A take of the pocket model, into a folder of its own."""
    still = min(STILLS.glob("*.jpg"))
    first = Stage(kind=StageKind.RENOISE, steps=stand.steps, cfg=1.5, shift=3.0)
    recipe = Recipe(
        preset="pocket/long",
        family="pocket",
        model=POCKET,
        model_id=POCKET,
        prompt="the camera pans left" + f" [hold {HOLD}]" * stand.rehearsal,
        negative="",
        width=128,
        height=128,
        frames=17,
        fps=8.0,
        seed=1,
        stages=(first,),
        source_sha256=sha256_file(still),
    )
    location = builtin_models()[POCKET].location
    return RenderOrder(
        take=1,
        recipe=recipe,
        model=ModelRef(name=POCKET, family="pocket", location=str(location)),
        source=still,
        device="cuda:0",
        **_named(root, name),
    )
