"""The night in the ledger: begun or taken up again, its shots, its refusals, its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from manifests.errors import Fault
from manifests.preset import Preset, load_preset
from manifests.secret import error_words
from manifests.settings import Studio
from qc.studio_limits import read_limits
from reports.errors import LedgerBusy, LedgerUnwritable, ReportError
from reports.fingerprint import shot_fingerprint
from reports.ledger import Ledger
from reports.ledger_reads import LedgerReads
from reports.lock import sole_writer
from reports.morning import write_morning
from reports.night_report import build_night_report
from reports.records import EventKind, NightRecord
from reports.take import ShotStatus
from tasks.control import Said
from tasks.desk import Desk, Job
from tasks.estimate import Estimator
from tasks.hours import NightHours
from tasks.limits import limits_path
from tasks.next_action import STARTS, Action
from tasks.night_order import lanes_for
from tasks.plan import Plan
from tasks.pool import Pool
from tasks.room import Room

CANCELLED = "cancelled in Prefect"
"""Why a night ended, in its record, that was cancelled on its page."""


def begin(
    ledger: Ledger, *, key: str, arguments: Mapping[str, Any], flow_run_id: str, evening: date
) -> NightRecord:
    """A new night of the date `evening`, or the one that was cut short with the same `key`."""
    record = ledger.open_night(key)
    if record is not None:
        ledger.resume_night(record.id, flow_run_id=flow_run_id)
    else:
        record = ledger.begin_night(
            night_id=ledger.next_night_id(evening),
            arguments_key=key,
            arguments=arguments,
            flow_run_id=flow_run_id,
        )
    # A night over other sheets may have died too, with takes of these shots in its hands.
    ledger.recover(record.id)
    return record


def lay_desk(
    studio: Studio,
    ledger: Ledger,
    pool: Pool,
    record: NightRecord,
    plan: Plan,
    *,
    hours: NightHours,
    tell: Callable[[str], None],
) -> Desk:
    """The desk of the night, with every shot of the plan recorded in its order.

    `tell` hears what the ledger is told of cards, hosts and the disk, as soon as it is told.
    """

    def complain(words: str) -> None:
        tell(words)
        room.writes(partial(ledger.event, kind=EventKind.NOTE, words=words, night=record.id))

    def keep(words: str) -> None:
        ledger.event(kind=EventKind.CARD, words=words, night=record.id)

    def news(words: str) -> None:
        keep(words)
        tell(words)

    def renewed(words: str) -> None:
        ledger.event(kind=EventKind.NOTE, words=words, night=record.id)

    pool.on_news(news)
    pool.on_renewal(renewed)
    room = Room(studio, tell=tell, keep=keep)
    control = Said(studio.state_dir, complain=complain, pauses=complain)
    return Desk(
        studio=studio,
        ledger=ledger,
        pool=pool,
        night_id=record.id,
        torch_device=pool.torch_device,
        jobs=_jobs(ledger, record, plan),
        lanes=lanes_for(plan, night=record.id, pool=pool, control=control),
        hours=hours,
        control=control,
        room=room,
        presets=_presets(studio, plan),
        learned=read_limits(limits_path(studio)),
    )


def _jobs(ledger: Ledger, record: NightRecord, plan: Plan) -> dict[int, Job]:
    """The plan's shots by their ids, each recorded in its place."""
    estimator = Estimator(ledger)
    jobs = {}
    for position, line in enumerate(plan.lines):
        known = ledger.record_shot(record.id, line.manifest, line.shot, position)
        jobs[known.id] = Job(
            shot_id=known.id,
            manifest=line.manifest,
            shot=line.shot,
            fingerprint=shot_fingerprint(line.shot),
            budget=line.budget,
            seconds=line.estimate.seconds,
            memory=line.memory,
            pace=estimator.paces(line.shot.recipe),
            position=position,
            waits=line.waits,
        )
    return jobs


def _presets(studio: Studio, plan: Plan) -> dict[str, Preset]:
    """The presets of the plan's shots. Raises BadInput."""
    names = sorted({line.shot.recipe.preset for line in plan.lines})
    parts = {name: name.partition("/") for name in names}
    return {
        whole: load_preset(family, name, studio, with_loras=False)
        for whole, (family, _, name) in parts.items()
    }


def note_refused(ledger: Ledger, record: NightRecord, faults: Sequence[Fault]) -> None:
    """Record the lines that were left out, once each however often the night is resumed."""
    refused = ledger.events_of(night=record.id, kind=EventKind.REFUSED)
    known = {event.words for event in refused}
    for fault in faults:
        if str(fault) not in known:
            ledger.event(
                kind=EventKind.REFUSED, words=str(fault), night=record.id, data=fault.to_dict()
            )


def postponed(night: Desk, job: Job, action: Action = Action.RENDER) -> str | None:
    """Why the shot must wait for the next night, written down once a night; None: it need not.

    What was rendered is scored and finished as long as the night lasts, however little is left.
    """
    gate = night.hours.gate(job.seconds if action in STARTS else 0.0)
    if gate.open:
        return None
    note_postponed(night, job, gate.words)
    return gate.words


def note_postponed(night: Desk, job: Job, words: str) -> None:
    """Write down, once a night, that the shot waits for the next one."""
    kind = EventKind.POSTPONED
    if not night.ledger.events_of(night=night.night_id, shot_id=job.shot_id, kind=kind):
        night.ledger.event(kind=kind, words=words, night=night.night_id, shot_id=job.shot_id)


def note_waits(night: Desk, job: Job, words: str) -> None:
    """Write down, once a night, that the shot waits for another that is not approved."""
    known = night.ledger.events_of(night=night.night_id, shot_id=job.shot_id, kind=EventKind.WAITS)
    if words not in {event.words for event in known}:
        night.ledger.event(
            kind=EventKind.WAITS, words=words, night=night.night_id, shot_id=job.shot_id
        )


def cancelled(night: Desk, job: Job) -> str | None:
    """Why nothing more is to be done on the shot tonight, written down once; None: it goes on."""
    words = night.control().stops(job.key, night=night.night_id)
    known = EventKind.CANCELLED
    if words and not night.ledger.events_of(night=night.night_id, shot_id=job.shot_id, kind=known):
        night.ledger.event(kind=known, words=words, night=night.night_id, shot_id=job.shot_id)
    return words


def note(night: Desk, job: Job, words: str) -> None:
    """Record what happened around a shot, for people."""
    night.ledger.event(kind=EventKind.NOTE, words=words, night=night.night_id, shot_id=job.shot_id)


def note_night(night: Desk, words: str) -> None:
    """Record what happened around the night, for people."""
    night.ledger.event(kind=EventKind.NOTE, words=words, night=night.night_id)


def note_broken(night: Desk, job: Job, error: Exception) -> None:
    """Record that a shot's flow ended by an error that nobody had a name for."""
    note(night, job, f"its flow broke: {error_words(error)}")


def counts(night: Desk) -> dict[str, int]:
    """Shots of the night by status."""
    found = {status.value: 0 for status in ShotStatus}
    for job in night.jobs.values():
        found[night.ledger.shot_status(job.shot_id).value] += 1
    return found


def end(night: Desk, *, why: str | None = None) -> dict[str, int]:
    """Record the end of the night; returns its counts.

    `why` it ended before its work: its takes in work go back into the queue of the next night.
    """
    if why is not None:
        night.ledger.recover(night.night_id)
    found = counts(night)
    night.ledger.end_night(night.night_id, _end_words(found, why))
    return found


def _end_words(found: Mapping[str, int], why: str | None) -> str:
    words = ", ".join(f"{found[each]} {each}" for each in ShotStatus if found.get(each))
    return (words or "no shots") if why is None else f"{why}: {words or 'no shots'}"


def close(studio: Studio, night: NightRecord, why: str) -> Path:
    """End a night that a person stopped while it ran, and write its report; returns its page.

    Its takes in work go back into the queue of the next night. Raises LedgerBusy while it runs.
    """
    with sole_writer(studio.ledger_path), open_ledger(studio.ledger_path) as ledger:
        ledger.recover(night.id)
        shots = ledger.shot_records(night.id)
        found = Counter(ledger.shot_status(record.id).value for record in shots)
        ledger.end_night(night.id, _end_words(found, why))
        return write_report(studio, ledger, night.id)


def write_report(studio: Studio, ledger: LedgerReads, night_id: str) -> Path:
    """Write the report of a night from the ledger alone, also of one that is still open; returns
    its page. Raises ReportError, OSError."""
    page: Path = write_morning(build_night_report(ledger, night_id), studio.reports_dir / night_id)
    return page


def unended(night: Desk, error: LedgerBusy | LedgerUnwritable) -> LedgerBusy | LedgerUnwritable:
    """The error of a ledger that did not take the end of the night, saying what becomes of it: its
    report is written from what the ledger has, which can still be read."""
    words = f"{error}; night {night.night_id} has no end in it, and goes on with the next run; "
    try:
        page = write_report(night.studio, night.ledger, night.night_id)
    except (ReportError, OSError) as other:
        words += f"its report cannot be written either ({error_words(other)})"
    else:
        words += f"its report, as far as it came: {page}"
    return type(error)(words)


def open_ledger(path: Path) -> Ledger:
    """The ledger for writing: for a night that holds `reports.lock.sole_writer`."""
    return Ledger(path)
