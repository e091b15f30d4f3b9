"""The interface of what renders: one backend object per worker process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from render.errors import ModelUnavailable
from render.look import Look
from render.order import Receipt, RenderOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a take is, told while it renders."""

    take_id: str
    phase: str
    """`load`, `encode`, `stage`, `decode`, `score`, `upscale`, `grade`, `encode-video`."""
    stage: int = 0
    """1-based; 0 outside the stages."""
    stages: int = 0
    step: int = 0
    """Steps of this stage that are done."""
    steps: int = 0
    preview: Path | None = None
    """A picture of the take so far that has just been written: a strip after a stage, the first
    frames while the rest is still being decoded. A message with one tells of the picture alone;
    where the take is by now, the others say."""


Tell = Callable[[Progress], None]


class Watch(ABC):
    """Sees the frames of a take as they are decoded, before its clip is whole.

    Called in the worker process, in order, on the thread that writes the clip: it does not hold
    the card. What it raises is noted in the receipt and never fails the take; it is then told no
    more of that clip.
    """

    @abstractmethod
    def begin(self) -> None:
        """A clip begins. After a decode that failed it begins once more: forget what was seen."""

    @abstractmethod
    def see(self, chunk: Any) -> None:
        """The next frames, exactly as the clip gives them back: float32 (T, H, W, 3), RGB, 0..1,
        in the file's 4096 steps."""


class RenderBackend(ABC):
    """Renders takes and keeps what can be kept warm between them."""

    @abstractmethod
    def render(
        self,
        order: RenderOrder,
        *,
        tell: Tell,
        watch: Watch | None = None,
        look: Look | None = None,
    ) -> Receipt:
        """Render one take and write its clip. Several threads may call it at once: the takes
        take turns on the card, and one is written while the next is sampled.

        Goes on from the checkpoints in `order.folder` when they belong to the same recipe;
        returns at once, with what was recorded, when the finished clip is there and whole.

        Raises:
            MachineFailure: the same take may succeed later or elsewhere.
            TakeDoomed: `look` saw after an early stage that the take is lost.
            RenderError: any other failure, named (see `render.errors`).
        """

    def lend(self, order: RenderOrder) -> None:
        """Lend this worker's card to a take that another worker of `order.gang` leads.

        Raises MachineFailure when the leader is lost, and what a render raises.
        """
        raise ModelUnavailable(
            f"{type(self).__name__} renders a take on one card; take `gpus` out of the sheet"
        )

    def card(self) -> AbstractContextManager[None]:
        """The card, for other work than a render: takes wait until it is given back."""
        return nullcontext()

    @abstractmethod
    def close(self) -> None:
        """Let go of models and memory. The backend may be used again afterwards."""
