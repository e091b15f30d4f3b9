"""What a shot needs next, read from its takes alone: the same after a crash as without one."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import assert_never

from reports.take import TakeStatus


class Action(StrEnum):
    """The next step of a shot."""

    NEW_TAKE = "new take"
    """Make take 1, or the one that follows a rejected one."""
    AGAIN = "again"
    """Make a take with the recipe of one that the machine failed in an earlier night."""
    RENDER = "render"
    """Render the last take, or go on with it from its checkpoints."""
    SCORE = "score"
    """Measure and judge the last take."""
    FINISH = "finish"
    """Upscale, grade, encode and deliver the approved take."""
    NOTHING = "nothing"
    """Delivered, held, or failed in this night."""


STARTS = frozenset({Action.NEW_TAKE, Action.AGAIN, Action.RENDER})
"""Actions after which a card renders; the others work on what was rendered."""


def next_action(
    takes: Sequence[TakeStatus], *, delivered: bool, abandoned: bool, failed_tonight: bool
) -> Action:
    """The next step of a shot from the statuses of its takes, in order.

    `delivered`: its review file is recorded. `abandoned`: finishing failed for good in this
    night. `failed_tonight`: its last take failed in this night (another night may try again).
    """
    if delivered:
        return Action.NOTHING
    if not takes:
        return Action.NEW_TAKE
    # The approved one decides; a person may have approved another than the last.
    match TakeStatus.APPROVED if TakeStatus.APPROVED in takes else takes[-1]:
        case TakeStatus.QUEUED | TakeStatus.RENDERING:
            return Action.RENDER
        case TakeStatus.RENDERED:
            return Action.SCORE
        case TakeStatus.APPROVED:
            return Action.NOTHING if abandoned else Action.FINISH
        case TakeStatus.REJECTED:
            return Action.NEW_TAKE
        case TakeStatus.HELD:
            return Action.NOTHING
        case TakeStatus.FAILED:
            return Action.NOTHING if failed_tonight else Action.AGAIN
        case unreachable:
            assert_never(unreachable)
