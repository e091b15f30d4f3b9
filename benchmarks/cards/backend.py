"""The real backend, on a card that can be broken: what a worker of these nights runs.

A take prompted with `[assert]` reads behind the end of a tensor as it samples, on the card that
CARDS_FAULTY names alone: a device-side assert, after which the process can use the card no more.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import replace

from render.backend import Progress, RenderBackend, Tell, Watch
from render.errors import WorkerLost
from render.look import Look
from render.order import Receipt, RenderOrder

BREAKS_AT = 3
"""The step in which it happens: work of the take is on the card and in its folder by then."""


class Breakable(RenderBackend):
    """Another backend whose card breaks on a word."""

    def __init__(self, inner: RenderBackend) -> None:
        self._inner = inner
        self._breaks = os.environ.get("CARDS_FAULTY") == os.environ.get("CUDA_VISIBLE_DEVICES")

    def render(
        self,
        order: RenderOrder,
        *,
        tell: Tell,
        watch: Watch | None = None,
        look: Look | None = None,
    ) -> Receipt:
        """See `RenderBackend.render`."""

        def told(progress: Progress) -> None:
            tell(progress)
            if progress.phase == "stage" and progress.preview is None and progress.step:
                self._break(order, progress.step)

        listener = told if self._breaks and "[assert]" in order.recipe.prompt else tell
        return self._inner.render(order, tell=listener, watch=watch, look=look)

    def _break(self, order: RenderOrder, step: int) -> None:
        """Once the step is reached; the kernel fails some time after this returns."""
        if step != BREAKS_AT:
            return
        import torch

        ours = torch.zeros(2, device=order.device)
        ours[torch.tensor([7], device=order.device)]

    def lend(self, order: RenderOrder) -> None:
        """See `RenderBackend.lend`."""
        self._inner.lend(order)

    def card(self) -> AbstractContextManager[None]:
        """See `RenderBackend.card`."""
        return self._inner.card()

    def close(self) -> None:
        """See `RenderBackend.close`."""
        self._inner.close()


class OnCards(Breakable):
    """The real one."""

    def __init__(self) -> None:
        from render.diffusers_backend import DiffusersBackend

        super().__init__(DiffusersBackend())


class Rehearsed(Breakable):
    """Renders nothing: the fake of the tests, which holds its card as the prompt says."""

    def __init__(self) -> None:
        from card_backend import CardBackend  # type: ignore[import-not-found, unused-ignore]

        super().__init__(CardBackend())
        self._card = os.environ["CUDA_VISIBLE_DEVICES"]
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # there is none that torch could see

    def render(
        self,
        order: RenderOrder,
        *,
        tell: Tell,
        watch: Watch | None = None,
        look: Look | None = None,
    ) -> Receipt:
        """See `RenderBackend.render`."""
        receipt = super().render(order, tell=tell, watch=watch, look=look)
        return replace(receipt, card=self._card)

    def _break(self, order: RenderOrder, step: int) -> None:
        raise WorkerLost(f"{order.take_id}: the card failed (rehearsed)")
