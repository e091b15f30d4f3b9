"""The fake backend on a host: it writes as it goes, as the real one does, and can be watched.

Words in the prompt: `[until go]` takes steps of a tenth of a second until there is a file `go` in
the take's folder. Each writes `midway.txt` (the process and the step) the way checkpoints are
written. That it was about to do so is a line of `steps.log`, which is written past every rule: so a
test can see who was still alive.
"""

from __future__ import annotations

import itertools
import os
import time

from card_backend import CardBackend

from manifests.files import write_atomic
from render.backend import Progress, Tell, Watch
from render.look import Look
from render.order import Receipt, RenderOrder

BEAT = 0.1
"""Seconds of a step."""


class LivelyBackend(CardBackend):
    """Renders step by step; the receipt's device is the process id."""

    def render(
        self,
        order: RenderOrder,
        *,
        tell: Tell,
        watch: Watch | None = None,
        look: Look | None = None,
    ) -> Receipt:
        """See `RenderBackend.render`."""
        with self.card():
            if "[until go]" in order.recipe.prompt:
                self._beat(order, tell)
        return super().render(order, tell=tell, watch=watch, look=look)

    def _beat(self, order: RenderOrder, tell: Tell) -> None:
        order.folder.mkdir(parents=True, exist_ok=True)
        for step in itertools.count(1):
            time.sleep(BEAT)
            with (order.folder / "steps.log").open("a") as log:
                log.write(f"{os.getpid()} {step}\n")
            write_atomic(order.folder / "midway.txt", f"{os.getpid()} {step}")
            tell(
                Progress(
                    take_id=order.take_id,
                    phase="stage",
                    stage=1,
                    stages=1,
                    step=step,
                    steps=step + 1,
                )
            )
            if (order.folder / "go").exists():
                break
