"""`rushes pause`, `resume`, `cancel`, `priority`: said to the night that runs, or to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from manifests.errors import BadInput, Fault
from manifests.refusal import Refusal
from manifests.settings import Studio, load_studio
from manifests.text import suggest
from reports.ledger_reads import LedgerReads
from reports.lock import ledger_is_held
from reports.records import NightRecord
from tasks.approve import approve, take_back
from tasks.control import Control, cancel_shots, change_control


def pause(root: Path, *, paused: bool) -> str:
    """Hold the night, or let it go on; returns what holds now, in words."""
    studio = load_studio(root)
    change_control(studio.state_dir, lambda control: replace(control, paused=paused))
    if not ledger_is_held(studio.ledger_path):
        # Said with the folder: in a wrong one the night that is meant runs on.
        then = "starts nothing until `rushes resume`" if paused else "is not paused"
        return f"No night runs in {studio.root}: the next one there {then}."
    if paused:
        return "Paused: nothing new is started; what is in work goes on to the end of its step."
    return "The night goes on."


def cancel(root: Path, shots: Sequence[str]) -> str:
    """Do nothing more on these shots in this night; without shots, end the night.

    Raises BadInput where no night is open or a shot is not in it.
    """
    studio = load_studio(root)
    night = _open_night(studio)
    if not shots:
        change_control(studio.state_dir, lambda control: replace(control, ended=night.id))
        return f"Night {night.id} ends when the steps in work are done; what is finished is kept."
    keys = frozenset(key for name in shots for key in _keys(studio, night, name))
    change_control(studio.state_dir, lambda control: cancel_shots(control, keys, night=night.id))
    return f"Nothing more is done on {', '.join(sorted(keys))} in night {night.id}."


def set_priority(root: Path, shot: str, priority: int | None) -> str:
    """Give a shot another priority than its sheet's, for good; None takes it back.

    Raises BadInput where no night knows the shot.
    """
    studio = load_studio(root)
    keys = _keys(studio, _latest_night(studio), shot)

    def change(control: Control) -> Control:
        kept = {key: number for key, number in control.priority.items() if key not in keys}
        given = {} if priority is None else dict.fromkeys(keys, priority)
        return replace(control, priority={**kept, **given})

    change_control(studio.state_dir, change)
    what = "as its sheet says" if priority is None else str(priority)
    return f"Priority of {', '.join(keys)}: {what}."


def approved(root: Path, shot: str, number: int | None, *, why: str, undo: bool) -> str:
    """Approve a take of a held shot, or take that back (`undo`); what follows, in words.

    Raises BadInput, and LedgerBusy where a night runs and something is to be taken back.
    """
    studio, why = load_studio(root), why.strip()
    if undo:
        if number is not None:
            problem, remedy = "--undo and a take's number", "give the shot alone: it has one"
            raise BadInput([Fault(file=Path("command line"), problem=problem, remedy=remedy)])
        key, take = take_back(studio, shot, why=why)
        return f"{key} take {take.number} is {take.status} again, and the shot held."
    key, take = approve(studio, shot, number, why=why)
    if ledger_is_held(studio.ledger_path):
        follows = "the night that runs delivers it if it has its sheet, else the next run does"
    else:
        follows = "run its sheet again: it is delivered"
    return f"{key} take {take.number} is approved; {follows}."


def _keys(studio: Studio, night: NightRecord, name: str) -> tuple[str, ...]:
    """The shots that `name` means: `sheet/shot`, or a shot's own name in any sheet."""
    with LedgerReads(studio.ledger_path) as ledger:
        keys = {shot.key: shot.shot for shot in ledger.standings(night.id)}
    found = tuple(key for key, shot in keys.items() if name in (key, shot))
    if not found:
        refusal = Refusal(
            f"night {night.id} has no shot {name!r}", suggest(name, [*keys.values(), *keys])
        )
        raise BadInput([refusal.at(studio.ledger_path, value=name)])
    return found


def _open_night(studio: Studio) -> NightRecord:
    night = _latest_night(studio)
    if night.ended is not None:
        problem, remedy = f"night {night.id} has ended", "there is nothing to cancel"
        raise BadInput([Fault(file=studio.ledger_path, problem=problem, remedy=remedy)])
    return night


def _latest_night(studio: Studio) -> NightRecord:
    if studio.ledger_path.exists():
        with LedgerReads(studio.ledger_path) as ledger:
            nights = ledger.nights()
        if nights:
            return nights[-1]
    problem, remedy = "no night has run in this root", "give --root, or run one: rushes run SHEET"
    raise BadInput([Fault(file=studio.ledger_path, problem=problem, remedy=remedy)])
