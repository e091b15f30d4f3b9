"""What shots wait for that come after others, in words."""

from __future__ import annotations

from typing import assert_never

from reports.ledger_reads import LedgerReads
from reports.take import ShotStatus

REFUSED = "was refused: see the faults of its sheet"
UNKNOWN = "no night has had yet"


def waits_words(before: str, why: str, *, sheet: str) -> str:
    """`waits for sh0020, which is held`. `before` is `sheet/shot`; its sheet is told where it is
    not that of the shot that waits."""
    manifest, _, shot = before.partition("/")
    return f"waits for {shot if manifest == sheet else before}, which {why}"


def why_not(status: ShotStatus, *, tonight: bool) -> str | None:
    """Why nothing may follow a shot of this status yet; None: it is approved.

    `tonight`: nothing more is done on it in this night; else its sheet is none of this night's.
    """
    elsewhere = "" if tonight else ", and its sheet is not part of this night"
    match status:
        case ShotStatus.APPROVED:
            return None
        case ShotStatus.HELD:
            return "is held"
        case ShotStatus.FAILED:
            return f"failed{elsewhere}"
        case ShotStatus.WORKING:
            return f"is not finished{elsewhere}"
        case ShotStatus.WAITING:
            return f"was not rendered{elsewhere}"
        case unreachable:
            assert_never(unreachable)


def standing(before: str, *, ledger: LedgerReads | None) -> str | None:
    """Why a shot whose sheet is none of this night's cannot be followed; None: it is approved."""
    manifest, _, shot = before.partition("/")
    known = None if ledger is None else ledger.latest_shot(manifest, shot)
    if ledger is None or known is None:
        return UNKNOWN
    return why_not(ledger.shot_status(known.id), tonight=False)
