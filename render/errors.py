"""What goes wrong while pixels are made.

RenderError (RushesError)
├── MachineFailure        the same take may succeed later or elsewhere: Prefect retries it
│   ├── OutOfMemory       the card or the host ran out of memory
│   ├── WorkerLost        the worker process died or stopped answering
│   ├── Stuck             it told of no step for far longer than its steps take
│   ├── DiskFull          no space left where the take is written
│   └── Superseded        its folder was given to another attempt, or could not be given to this one
├── OutOfHours            the night's hours ended: it goes on in the next one
├── CardsBlocked          every card failed too often tonight for this kind of work
├── ModelUnavailable      the model cannot be loaded here: retrying does not help
├── SourceUnreadable      the still vanished or cannot be decoded any more
├── StaleCheckpoint       a checkpoint belongs to another recipe: it is ignored, by name
├── TensorFileDamaged     a file of tensors is not what was written: it is made again, by name
├── ClipUnreadable        a file that should be a clip cannot be decoded
├── NonFinite             NaN or infinity in latents or frames: a picture failure
│   ├── Diverged          latents exploded or collapsed: as good as NaN
│   └── NonFiniteFrames   the decode made them, of latents that are sound
├── TakeDoomed            a look after an early stage saw that it is lost: a picture failure
├── GradeUnusable         a grade's LUT vanished, changed or is no LUT, or its numbers make no CDL
├── DeliveryFlawed        the review file failed a check; it was not published
├── VersionExists         a delivered version is there already and is never overwritten
└── PublishUnsupported    the file system cannot publish without the risk of overwriting
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from manifests.errors import RushesError


class RenderError(RushesError):
    """Root of what goes wrong while pixels are made."""


class MachineFailure(RenderError):
    """The machine failed, not the picture: the same take may succeed later or elsewhere."""


class OutOfMemory(MachineFailure):
    """The card or the host ran out of memory, and no rung of the ladder was left to take."""

    def __init__(self, words: str, *, phase: str = "", rungs: tuple[str, ...] = ()) -> None:
        super().__init__(words)
        self.phase = phase
        """`encode`, `sample` or `decode`; empty where the ladder does not reach."""
        self.rungs = rungs
        """Rungs that were in force when it happened, in the ladder's order."""


class WorkerLost(MachineFailure):
    """The worker process died or stopped answering."""


class Stuck(MachineFailure):
    """The take told of no step for far longer than its steps take; its worker was restarted."""


class DiskFull(MachineFailure):
    """No space is left where the take is written."""


class Superseded(MachineFailure):
    """The folder was given to another attempt, or an earlier one could not be kept out of it."""


class OutOfHours(RenderError):
    """The night's hours ended: nothing failed, the take goes on from what was kept of it."""


class CardsBlocked(RenderError):
    """Every card of the machine failed too often tonight for this kind of work."""

    def __init__(self, words: str, *, memory: bool = False) -> None:
        super().__init__(words)
        self.memory = memory
        """Whether memory was the only reason: a smaller take may fit."""


class ModelUnavailable(RenderError):
    """The model cannot be loaded here; retrying does not help."""


class SourceUnreadable(RenderError):
    """The still vanished or cannot be decoded any more."""


class StaleCheckpoint(RenderError):
    """A checkpoint belongs to another recipe or is damaged."""


class TensorFileDamaged(RenderError):
    """A file of tensors (checkpoint, entry of the store) is not what was written."""


class ClipUnreadable(RenderError):
    """A file that should be a clip cannot be decoded."""


class NonFinite(RenderError):
    """NaN or infinity in latents or frames: the take failed as a picture."""


class Diverged(NonFinite):
    """The spread of the latents is out of all proportion to their noise level."""


class NonFiniteFrames(NonFinite):
    """NaN or infinity in decoded frames; the latents are sound."""


class TakeDoomed(RenderError):
    """A look after an early stage saw that the take is lost as a picture: it stopped there."""

    def __init__(
        self,
        words: str,
        *,
        failure: str = "",
        stage: int = 0,
        told: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(words)
        self.stage = stage
        """0-based: the one it was seen after."""
        self.failure = failure
        """Its class, as the look named it."""
        self.told = dict(told or {})
        """`Opinion.told`: what the look has to say to whoever concludes the take."""
        self.spent: dict[str, Any] | None = None
        """What the take had used, as plain data of `render.order.Spent`; None: nobody counted."""


class GradeUnusable(RenderError):
    """A grade's LUT vanished, changed or is no LUT, or its numbers make no CDL."""


class DeliveryFlawed(RenderError):
    """The review file failed a check after the grade; it was not published."""


class VersionExists(RenderError):
    """A delivered version is there already; nothing published is ever overwritten."""


class PublishUnsupported(RenderError):
    """The file system offers no way to publish without the risk of overwriting."""
