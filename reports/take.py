"""The status of a take, the one table of its transitions, and what is derived from them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from reports.errors import IllegalTransition


class TakeStatus(StrEnum):
    """Where a take is. Only takes have a stored status."""

    QUEUED = "queued"
    """It is to be rendered."""
    RENDERING = "rendering"
    """A worker has it, or had it when the machine died."""
    RENDERED = "rendered"
    """Its clip is whole on disk and not yet judged."""
    APPROVED = "approved"
    """It passed and goes, or went, to the finish."""
    REJECTED = "rejected"
    """It failed as a picture and another take followed."""
    HELD = "held"
    """It failed as a picture and a person is to decide."""
    FAILED = "failed"
    """The machine could not render it in any of its tries."""


TRANSITIONS: dict[TakeStatus, frozenset[TakeStatus]] = {
    TakeStatus.QUEUED: frozenset({TakeStatus.RENDERING}),
    TakeStatus.RENDERING: frozenset(
        {
            TakeStatus.RENDERED,
            TakeStatus.FAILED,
            # The machine died or failed: the same take again.
            TakeStatus.QUEUED,
            # NaN: the picture failed before there was a clip to judge.
            TakeStatus.REJECTED,
            TakeStatus.HELD,
        }
    ),
    TakeStatus.RENDERED: frozenset({TakeStatus.APPROVED, TakeStatus.REJECTED, TakeStatus.HELD}),
    TakeStatus.APPROVED: frozenset(),
    TakeStatus.REJECTED: frozenset(),
    TakeStatus.HELD: frozenset(),
    TakeStatus.FAILED: frozenset(),
}


BY_HAND = frozenset({TakeStatus.REJECTED, TakeStatus.HELD})
"""What a person may approve all the same, once the shot is held. No night takes this way."""


class ShotStatus(StrEnum):
    """Where a shot is, derived from its takes and its delivery."""

    WAITING = "waiting"
    """No take has been started."""
    WORKING = "working"
    """A take is queued, rendering or waiting for its verdict or finish."""
    APPROVED = "approved"
    """A take was approved and delivered."""
    HELD = "held"
    """Takes are used up or finishing failed: a person is to decide."""
    FAILED = "failed"
    """The machine could not render it."""


def check_transition(before: TakeStatus | None, after: TakeStatus) -> None:
    """Raise IllegalTransition unless a take may go from `before` (None: new) to `after`."""
    if before is None:
        if after is not TakeStatus.QUEUED:
            raise IllegalTransition(f"a new take is queued, not {after}")
        return
    if after not in TRANSITIONS[before]:
        allowed = ", ".join(sorted(TRANSITIONS[before])) or "nothing: it is final"
        raise IllegalTransition(f"a {before} take cannot become {after} (only {allowed})")


def shot_status(takes: Sequence[TakeStatus], *, delivered: bool, abandoned: bool) -> ShotStatus:
    """Status of a shot from its takes in order.

    `delivered`: its review file is recorded. `abandoned`: an event says that finishing it
    failed for good.
    """
    if delivered:
        return ShotStatus.APPROVED
    if not takes:
        return ShotStatus.WAITING
    if abandoned:
        return ShotStatus.HELD
    if TakeStatus.APPROVED in takes:
        return ShotStatus.WORKING
    if TakeStatus.HELD in takes:
        return ShotStatus.HELD
    if takes[-1] is TakeStatus.FAILED:
        return ShotStatus.FAILED
    return ShotStatus.WORKING
