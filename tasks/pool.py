"""Where a night's work is sent: the interface. `tasks.worker_pool` sends it to processes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from qc.scorecard import Scorecard
from render.backend import Progress
from render.order import Delivery, FinishOrder, Placement, Receipt, RenderOrder, ScoreOrder

Listener = Callable[[Progress], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CardHere:
    """A card that may be given takes at this moment."""

    name: str
    """Of its worker: unique."""
    title: str
    """Of the card, for people: `NVIDIA H200 #0`."""
    memory: int | None = None
    """Bytes; None: nobody could tell."""
    host: str = ""
    """Of which host; empty: of the machine of the night."""


class Pool(ABC):
    """Where renders are sent. Every call raises RenderError or QCError, named, or returns."""

    torch_device: str
    """What the workers of this machine call the device that renders: `cpu` or `cuda:0`."""
    placement: Placement = Placement()
    """Where the parts of a model lie in every rendering worker of this machine."""

    @property
    def cards(self) -> int:
        """Takes that can be sampled at once; a take can have so many cards at most."""
        return 1

    @property
    def here(self) -> tuple[CardHere, ...]:
        """The cards that may be given takes at this moment; they come and go."""
        return (CardHere(name="card-0", title="cpu"),)

    @property
    @abstractmethod
    def lanes(self) -> int:
        """How many shots can be in work at once; it changes as hosts come and go."""

    @abstractmethod
    async def render(self, order: RenderOrder, *, budget: float, place: int = 0) -> Receipt:
        """Render a take; it is stuck, and WorkerLost raised, `budget` seconds after it began.

        Raises Stuck, sooner, where it tells of no step for far longer than its steps take, and
        CardsBlocked where no card may have it tonight. Where more takes wait than there are
        seats, smaller places are served first.
        """

    @abstractmethod
    async def score(self, order: ScoreOrder, *, budget: float) -> Scorecard:
        """Measure a clip. The pool decides on which device."""

    @abstractmethod
    async def finish(self, order: FinishOrder, *, budget: float) -> Delivery:
        """Finish an approved take. The pool decides on which device."""

    @abstractmethod
    async def picture(self, clip: Path, *, budget: float) -> tuple[Path, Path]:
        """Contact strip and preview of a take."""

    def on_news(self, tell: Callable[[str], None]) -> None:
        """Have `tell` told, in words and as it happens, what becomes of the cards."""
        return

    def on_renewal(self, tell: Callable[[str], None]) -> None:
        """Have `tell` told, in words and as it happens, which workers were started anew because
        they grew."""
        return
