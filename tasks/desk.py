"""The desk: what every task of one night works with. Made by the night flow, found by its tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from manifests.preset import Preset
from manifests.sequence import shot_key
from manifests.settings import Studio
from manifests.shot import Shot
from qc.studio_limits import StudioLimits
from render.order import ModelRef
from reports.ledger import Ledger
from tasks.control import Control
from tasks.hours import NightHours
from tasks.lanes import Lanes
from tasks.model_ref import model_ref
from tasks.plan_memory import ShotMemory
from tasks.pool import Pool
from tasks.room import Room


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A shot of this night, with its place in the ledger."""

    shot_id: int
    """Key in the ledger."""
    manifest: str
    shot: Shot
    fingerprint: str
    budget: float
    """Seconds after which a render is taken for stuck, from when it begins."""
    seconds: float = 0.0
    """Expected of one take."""
    memory: ShotMemory | None = None
    """What its first take needs on each card; None: not known."""
    position: int = 0
    """In the plan."""
    pace: Mapping[str, float] = field(default_factory=dict)
    """Seconds of the longest step of takes like its first, by kind of card."""
    number: int = 0
    """How many shots had a lane before it, once it has one."""
    card: str = ""
    """The card that asked for it."""
    waits: str | None = None
    """Why nothing is done on it tonight; None: it has its turn."""

    @property
    def key(self) -> str:
        """Its name among all sheets: `sheet/shot`."""
        return shot_key(self.manifest, self.shot.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Settings, ledger, workers and shots of one night."""

    studio: Studio
    ledger: Ledger
    pool: Pool
    night_id: str
    torch_device: str
    """Of the workers: `cpu` or `cuda:0` (each sees its own card as the first)."""
    jobs: dict[int, Job]
    """By key in the ledger. A job that starts from another's last frame is replaced when it is
    known: then it is another shot."""
    lanes: Lanes
    """Who comes next."""
    hours: NightHours
    """How much of the night is left."""
    control: Callable[[], Control]
    """What a person has said about the night by now."""
    room: Room
    """Whether the disk has any left."""
    presets: Mapping[str, Preset]
    """Those of its shots by `family/name`, as they stood when the night began: one that is edited
    meanwhile holds from the next night on."""
    learned: StudioLimits | None = None
    """Limits that were learned in this studio, as they stood when the night began."""

    def model_ref(self, name: str) -> ModelRef:
        """The model of that name as a worker finds it. The sheet was checked: it is there."""
        return model_ref(name, self.studio.models[name])


# NOTE: a context variable, not a parameter: Prefect would walk and hash whatever it is given.
_DESK: ContextVar[Desk] = ContextVar("desk")


def desk() -> Desk:
    """The desk of the night that is running. Raises LookupError outside one."""
    return _DESK.get()


@contextmanager
def at_desk(made: Desk) -> Iterator[Desk]:
    """Let `desk()` find `made` inside the block, in the tasks started there too."""
    token = _DESK.set(made)
    try:
        yield made
    finally:
        _DESK.reset(token)
