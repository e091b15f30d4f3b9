"""A person's word against the verdict: a take of a held shot is delivered all the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from manifests.errors import BadInput, Fault
from manifests.refusal import Refusal
from manifests.settings import Studio
from manifests.text import suggest
from reports.ledger import Ledger
from reports.ledger_reads import LedgerReads
from reports.lock import sole_writer
from reports.records import ShotRecord, TakeRecord
from reports.take import ShotStatus, TakeStatus
from tasks.judge_take import best_take
from tasks.queue import key_of


def approve(studio: Studio, name: str, number: int | None, *, why: str) -> tuple[str, TakeRecord]:
    """Approve take `number` of a held shot, else its best one: (`sheet/shot`, the take).

    It is finished and delivered by the night that runs over its sheet, now or next. `name`: a shot,
    or `sheet/shot`; `why`: in a person's words, may be empty. Raises BadInput, LedgerBusy.

    NOTE: a night may run meanwhile. It is done with a shot that is held, and one transaction sees
    that the shot still is, so that neither can undo what the other writes.
    """
    path = _ledger_of(studio)
    with Ledger(path) as ledger:
        night, record = _find(ledger, name, path)
        _check_held(ledger, record, path)
        take = _choose(ledger.takes_of(record.id), number, path=path)
        words = f"approved by a person: {why}" if why else "approved by a person"
        ledger.approved_by_hand(take.take_id, night=night, words=words)
        return key_of(record), ledger.take(take.take_id)


def take_back(studio: Studio, name: str, *, why: str) -> tuple[str, TakeRecord]:
    """Take back that a person approved a take of a shot: (`sheet/shot`, the take).

    The shot is held again. Raises BadInput where nobody approved one or it is delivered, and
    LedgerBusy while a night runs, which may be delivering it at this moment.
    """
    path = _ledger_of(studio)
    with sole_writer(path), Ledger(path) as ledger:
        night, record = _find(ledger, name, path)
        if ledger.delivery_of(record.id) is not None:
            remedy = "for another version change its row and run its sheet again"
            raise _fault(path, f"{record.shot.id!r} is delivered", remedy)
        chosen = [take for take in ledger.takes_of(record.id) if take.by_hand is not None]
        if not chosen:
            remedy = "only what `rushes approve` said can be taken back"
            raise _fault(path, f"no person approved a take of {record.shot.id!r}", remedy)
        said = "a person took the approval back"
        words = f"{said}: {why}" if why else said
        ledger.taken_back(chosen[0].take_id, night=night, words=words)
        return key_of(record), ledger.take(chosen[0].take_id)


def _ledger_of(studio: Studio) -> Path:
    path = studio.ledger_path
    if not path.exists():
        refusal = Refusal("no night has run in this root", "give --root, or run one first")
        raise BadInput([refusal.at(path)])
    return path


def _find(ledger: LedgerReads, name: str, path: Path) -> tuple[str, ShotRecord]:
    """The shot of that name in the latest night that had one."""
    known: set[str] = set()
    for night in reversed(ledger.nights()):
        found = {key_of(record): record for record in ledger.shot_records(night.id)}
        meant = [key for key, record in found.items() if name in (key, record.shot.id)]
        if len(meant) > 1:
            raise _fault(path, f"{name!r} names {len(meant)} shots", f"write {' or '.join(meant)}")
        if meant:
            return night.id, found[meant[0]]
        known |= {*found, *(record.shot.id for record in found.values())}
    raise _fault(path, f"no night knows a shot {name!r}", suggest(name, known))


def _check_held(ledger: LedgerReads, record: ShotRecord, path: Path) -> None:
    status = ledger.shot_status(record.id)
    approved = any(take.status is TakeStatus.APPROVED for take in ledger.takes_of(record.id))
    if status is ShotStatus.HELD and not approved:
        return
    if status is ShotStatus.APPROVED:
        remedy = "for another version change its row and run its sheet again"
        raise _fault(path, f"{record.shot.id!r} is approved and delivered", remedy)
    if approved:
        remedy = "run its sheet again: it is finished and delivered"
        raise _fault(path, f"{record.shot.id!r} is approved already", remedy)
    remedy = "run its sheet first: only a shot that is held waits for a person"
    raise _fault(path, f"{record.shot.id!r} is {status}, not held", remedy)


def _choose(takes: Sequence[TakeRecord], number: int | None, *, path: Path) -> TakeRecord:
    whole = [take for take in takes if take.receipt is not None and take.receipt.clip.is_file()]
    if not whole:
        raise _fault(path, "none of its takes has a clip", "change its row and run it again")
    if number is None:
        return best_take(whole)
    for take in whole:
        if take.number == number:
            return take
    numbers = " or ".join(str(take.number) for take in whole)
    raise _fault(path, f"there is no take {number} with a clip", f"name take {numbers}")


def _fault(path: Path, problem: str, remedy: str) -> BadInput:
    return BadInput([Fault(file=path, problem=problem, remedy=remedy)])
