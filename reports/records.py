"""What the ledger hands out: rows as frozen dataclasses, JSON parsed into the contracts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from manifests.sequence import shot_key
from manifests.shot import Shot
from manifests.stage import Recipe
from qc.scorecard import Scorecard, Verdict
from render.order import Delivery, Receipt
from reports.take import BY_HAND, ShotStatus, TakeStatus


class EventKind(StrEnum):
    """What an event tells. Events are words beside the takes' status, never a second status."""

    RESUMED = "resumed"
    """A night that a dead process left open was taken up again."""
    ENDED = "ended"
    """The night is over; `words` say how."""
    REFUSED = "refused"
    """A line of the sheet was refused; `data` is the fault."""
    MACHINE_FAILURE = "machine_failure"
    """A try at a take failed by machine; `data`: `error` (class name), `attempt` (1-based)."""
    FINISH_FAILURE = "finish_failure"
    """A try at finishing an approved take failed; `data` as for a machine failure."""
    ABANDONED = "abandoned"
    """Finishing the shot failed for good: the shot is held; `data`: how often it was approved."""
    POSTPONED = "postponed"
    """The shot would not have ended within the night's hours: it waits, first in line."""
    WAITS = "waits"
    """A shot that it comes after was not approved: nothing was done on it in this night."""
    CANCELLED = "cancelled"
    """A person said that nothing more is to be done on the shot in this night."""
    RETAKE = "retake"
    """What the policy said after a rejected take; `data`: the `recipe` that follows, `remedy`."""
    PRESET_CHANGED = "preset_changed"
    """A preset failed alike in many shots: its shots not yet begun get a remedy from the start."""
    ATTRIBUTED = "attributed"
    """The earlier stages of a failed take were scored; `data`: `scores`, `stage` that broke it."""
    CARD = "card"
    """What became of a card (taken out for a kind of work, used by others, back), of a host, or of
    the room on the disk."""
    NOTE = "note"
    """What a person should know; `data` may name `best_take`, the take id worth looking at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NightRecord:
    """A night as it was begun, and its end if it has one."""

    id: str
    """`2026-11-21`, or `2026-11-21-2` for the second one of that date."""
    started: datetime
    """UTC."""
    arguments_key: str
    """Equal for equal arguments: an open night with this key is resumed."""
    arguments: dict[str, Any]
    flow_run_id: str | None
    """Of the run that began it; a reference into Prefect, never the truth."""
    ended: datetime | None
    """UTC; None while it is open, or was killed and not yet resumed."""
    words: str
    """How it ended; empty while it is open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShotRecord:
    """A shot as it was recorded, last words included."""

    id: int
    manifest: str
    """Name of the sheet."""
    fingerprint: str
    """`reports.fingerprint.shot_fingerprint` of `shot`."""
    shot: Shot


@dataclass(frozen=True, slots=True, kw_only=True)
class ShotStanding:
    """Where a shot of a night is, without its recipe: thousands of them are read at once."""

    id: int
    manifest: str
    shot: str
    """Its id in the sheet."""
    priority: int
    """Its sheet's."""
    status: ShotStatus
    is_chosen: bool
    """A take of it is approved, also where its finish failed and the shot is held."""

    @property
    def key(self) -> str:
        """The name by which a person speaks of it: `sheet/shot`."""
        return shot_key(self.manifest, self.shot)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One step in a take's life."""

    at: datetime
    """UTC."""
    before: TakeStatus | None
    """None for the first one."""
    after: TakeStatus
    night: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeRecord:
    """A take with its whole history."""

    id: int
    shot_id: int
    number: int
    """1, 2, 3 ... within the shot."""
    take_id: str
    recipe: Recipe
    recipe_fingerprint: str
    remedy_words: str
    """What was changed against the take before; empty for the first."""
    remedy: dict[str, Any] | None
    transitions: tuple[Transition, ...]
    """In the order in which they happened; never empty."""
    receipt: Receipt | None
    """None until it is rendered, and for a take that failed before it had a clip."""
    scorecard: Scorecard | None
    """None until it is judged, and where nothing could be measured."""
    verdict: Verdict | None

    @property
    def status(self) -> TakeStatus:
        """Where the take is: the end of its last transition."""
        return self.transitions[-1].after

    @property
    def night(self) -> str:
        """The night that asked for it."""
        return self.transitions[0].night

    @property
    def was_rejected(self) -> bool:
        """It failed as a picture and another take followed, whatever a person said later."""
        return any(step.after is TakeStatus.REJECTED for step in self.transitions)

    @property
    def approvals(self) -> int:
        """How often it was approved: a person may take it back and say it again."""
        return sum(step.after is TakeStatus.APPROVED for step in self.transitions)

    @property
    def by_hand(self) -> str | None:
        """In which words a person approved it against its verdict; None: nobody did."""
        last = self.transitions[-1]
        chosen = last.after is TakeStatus.APPROVED and last.before in BY_HAND
        return last.words if chosen else None


def decisive(takes: Sequence[TakeRecord]) -> TakeRecord:
    """The take that a shot stands by: the approved one, wherever it stands, else the last."""
    return next((take for take in takes if take.status is TakeStatus.APPROVED), takes[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class RetakePair:
    """A failed take and the judged one that a remedy made of it."""

    family: str
    preset: str
    remedy: str
    """Its name."""
    before: Verdict
    before_card: Scorecard | None
    """Without its curves."""
    after: Verdict
    after_card: Scorecard | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRecord:
    """A delivered version."""

    id: int
    shot_id: int
    take_id: str
    version: int
    """1 for `v001`; counted over all fingerprints of the shot's name."""
    night: str
    at: datetime
    """UTC."""
    delivery: Delivery
    sidecar: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRecord:
    """Something that happened beside the takes' status."""

    id: int
    at: datetime
    """UTC."""
    night: str
    shot_id: int | None
    take_id: str | None
    kind: EventKind
    words: str
    data: dict[str, Any]
