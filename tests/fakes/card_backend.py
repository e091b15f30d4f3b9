"""The fake backend behind a card: one take at a time has it, the clip is written beside it.

Words in the prompt: `[hold 0.5]` keeps the card so many seconds, `[hold until told]` until there
is a file `go_on` in the take's folder, whatever follows then; `[hang]` keeps it for ever,
`[die]` kills the process while it has the card, every time; `[die lending]` kills it as it lends;
`[leak 50]` keeps so many MiB for good, every time; `[swaps 50]` keeps them the first time, as a
model does whose blocks wait in the host's memory, and says so in its receipt.
"""

from __future__ import annotations

import os
import re
import signal
import time
from contextlib import AbstractContextManager
from dataclasses import replace

from fake_backend import FakeBackend

from render.backend import Progress, Tell, Watch
from render.look import Look
from render.order import Receipt, RenderOrder, Span
from render.turns import Turns


class CardBackend(FakeBackend):
    """Renders in turns; the receipt's device is the process id."""

    def __init__(self) -> None:
        self._turns = Turns()
        self._leaked: list[bytes] = []
        self._locked = b""

    def card(self) -> AbstractContextManager[None]:
        """The turns themselves."""
        return self._turns

    def render(
        self,
        order: RenderOrder,
        *,
        tell: Tell,
        watch: Watch | None = None,
        look: Look | None = None,
    ) -> Receipt:
        """Hold the card as the prompt says, then do what the fake does."""
        with self._turns:
            begun = time.time()
            tell(Progress(take_id=order.take_id, phase="encode"))
            order.folder.mkdir(parents=True, exist_ok=True)
            with (order.folder / "had_the_card.log").open("a") as log:
                log.write(f"{os.getpid()}\n")
            self._hold(order)
            ended = time.time()
        receipt = super().render(order, tell=tell, watch=watch, look=look)
        span = Span(kind="stage 1", begun=begun, ended=ended, on_card=True)
        ranks = "" if order.gang is None else f" leads {order.gang.size}"
        rungs = ("cache", "alone", "swap") if "[swaps" in order.recipe.prompt else ()
        return replace(receipt, device=f"{os.getpid()}{ranks}", timeline=(span,), rungs=rungs)

    def lend(self, order: RenderOrder) -> None:
        """Hold the card as long as the leader does."""
        assert order.gang is not None
        with self._turns:
            if "[die lending]" in order.recipe.prompt:
                os.kill(os.getpid(), signal.SIGKILL)
            order.folder.mkdir(parents=True, exist_ok=True)
            (order.folder / f"lent_by_rank_{order.gang.rank}").write_text(str(os.getpid()))
            self._hold(order)

    def _hold(self, order: RenderOrder) -> None:
        prompt = order.recipe.prompt
        while "[hold until told]" in prompt and not (order.folder / "go_on").exists():
            time.sleep(0.01)
        if "[die]" in prompt:
            time.sleep(1.0)  # so that its progress is heard before
            os.kill(os.getpid(), signal.SIGKILL)
        if "[hang]" in prompt:
            time.sleep(3600)
        if leak := re.search(r"\[leak ([0-9]+)\]", prompt):
            self._leaked.append(os.urandom(int(leak[1]) * 2**20))
        if (swaps := re.search(r"\[swaps ([0-9]+)\]", prompt)) and not self._locked:
            self._locked = os.urandom(int(swaps[1]) * 2**20)
        seconds = re.search(r"\[hold ([0-9.]+)\]", prompt)
        time.sleep(float(seconds[1]) if seconds else 0.0)
