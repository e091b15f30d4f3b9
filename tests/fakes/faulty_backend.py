"""The fake backend on cards that fail: they hang in a step, or their context breaks.

Words in the prompt, once per take folder: `[stall once]` tells of three steps and hangs in the
next with the card in its hands; `[fault once]` raises what a broken CUDA context makes of a take,
and so does every take in that process from then on. `[steps]` takes ten steps of 0.15 seconds.
`[short of memory]` runs out of it as it samples, until caches are freed.
"""

from __future__ import annotations

import time
from dataclasses import replace

from card_backend import CardBackend

from render.backend import Progress, Tell, Watch
from render.errors import OutOfMemory, WorkerLost
from render.look import Look
from render.order import Receipt, RenderOrder

PACE = 0.15
"""Seconds of a step."""


class FaultyBackend(CardBackend):
    """Fails as the prompt says, then renders."""

    def __init__(self) -> None:
        super().__init__()
        self._broken = False

    def render(
        self,
        order: RenderOrder,
        *,
        tell: Tell,
        watch: Watch | None = None,
        look: Look | None = None,
    ) -> Receipt:
        """See `RenderBackend.render`."""
        prompt = order.recipe.prompt
        begins = () if order.gang is None else order.gang.rungs
        first_time = not (order.folder / "failed_once").exists()
        order.folder.mkdir(parents=True, exist_ok=True)
        (order.folder / "failed_once").touch()
        with self.card():
            if "[fault once]" in prompt and first_time:
                self._broken = True
            if self._broken:
                tell(Progress(take_id=order.take_id, phase="encode"))
                raise WorkerLost(f"{order.take_id}: the card failed (CUDA error: misaligned)")
            if "[short of memory]" in prompt and "cache" not in begins:
                raise OutOfMemory(f"{order.take_id}: no room", phase="sample", rungs=begins)
            if "[stall once]" in prompt and first_time:
                _steps(order, tell, 3)
                time.sleep(3600)
            if "[steps]" in prompt:
                _steps(order, tell, 10)
        receipt = super().render(order, tell=tell, watch=watch, look=look)
        return replace(receipt, rungs=begins)


def _steps(order: RenderOrder, tell: Tell, count: int) -> None:
    for step in range(count + 1):
        time.sleep(PACE if step else 0.0)
        told = Progress(
            take_id=order.take_id, phase="stage", stage=1, stages=1, step=step, steps=10
        )
        tell(told)
