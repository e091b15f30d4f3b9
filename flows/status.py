"""`rushes status`, `rushes report` and `rushes presets`: what the ledger and the studio hold."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from flows.night_view import headline, host_lines, watch_status
from flows.show import print_rows, stage_line
from flows.watch import read_progress
from manifests.errors import BadInput, Fault
from manifests.preset import list_presets
from manifests.settings import Studio, load_studio
from reports.ledger_counts import LedgerCounts
from reports.ledger_reads import LedgerReads
from reports.lock import ledger_is_held
from reports.records import EventKind, NightRecord, ShotRecord, ShotStanding, decisive
from tasks.control import read_control
from tasks.estimate import Estimator
from tasks.host_book import BOOK, read_book
from tasks.queue import left_out, shots_to_come


def night_status(root: Path) -> dict[str, Any]:
    """The latest night as plain data: its shots, and what is rendered at this moment."""
    studio = load_studio(root)
    with LedgerReads(_ledger_path(studio)) as ledger:
        night = _night(ledger, None, studio)
        with ledger.snapshot():
            told = left_out(ledger, night.id)
            records = {record.id: record for record in ledger.shot_records(night.id)}
            shots = [
                _shot(ledger, records[shot.id], shot, told) for shot in ledger.standings(night.id)
            ]
        ahead = _ahead(studio, ledger, night, records)
        cards = [event.words for event in ledger.events_of(night=night.id, kind=EventKind.CARD)]
    running = ledger_is_held(studio.ledger_path)
    return {
        "night": night.id,
        "started": night.started.isoformat(),
        "ended": None if night.ended is None else night.ended.isoformat(),
        "state": "running" if running else "ended" if night.ended else "cut short",
        "now": read_progress(studio.state_dir) if running else None,
        "shots": shots,
        "cards": cards,
        "hosts": (read_book(studio.state_dir / BOOK) or {}).get("hosts", []) if running else [],
        **ahead,
    }


def _shot(
    ledger: LedgerReads, record: ShotRecord, standing: ShotStanding, told: Mapping[int, str]
) -> dict[str, Any]:
    takes, delivery = ledger.takes_of(record.id), ledger.delivery_of(record.id)
    last = decisive(takes).transitions[-1].words if takes else told.get(record.id, "")
    return {
        "shot_id": record.id,
        "shot": record.shot.id,
        "sheet": record.manifest,
        "status": standing.status.value,
        "takes": [take.status.value for take in takes],
        "last": last,
        "deadline": _text(record.shot.deadline),
        "since": takes[-1].transitions[-1].at.isoformat() if takes else None,
        "delivered": None if delivery is None else str(delivery.delivery.path),
    }


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _ahead(
    studio: Studio, ledger: LedgerReads, night: NightRecord, records: Mapping[int, ShotRecord]
) -> dict[str, Any]:
    """What is in work, what comes next, and how long both will take."""
    now, control = datetime.now(UTC), read_control(studio.state_dir)
    estimator = Estimator(ledger)
    with LedgerCounts(studio.ledger_path) as counts:
        in_work: list[dict[str, Any]] = [
            {
                "shot": take.shot,
                "take_id": take.take_id,
                "seconds": (now - take.since).total_seconds(),
                "expected": estimator.of(ledger.take(take.take_id).recipe).seconds,
            }
            for take in counts.in_hand()
        ]
    waiting = [
        shot.id
        for shot in shots_to_come(ledger, night.id, control).waiting
        if shot.id in records  # else it was bound, and took its place, since they were read
    ]
    to_come = sum(estimator.of(records[shot_id].shot.recipe).seconds for shot_id in waiting)
    left = sum(max(0.0, take["expected"] - take["seconds"]) for take in in_work)
    hours = None if studio.window is None else studio.window.now(now)
    return {
        "paused": control.paused,
        "in_work": in_work,
        "next": waiting,
        # Takes in work at once share what is to come; their number is what the machine has shown.
        "seconds_left": (to_come + left) / max(1, len(in_work)),
        "window_left": None if hours is None else hours.seconds_left(now),
    }


def print_status(found: dict[str, Any], console: Console) -> None:
    """The night in the terminal: its shots, then what a person looks for, where the prompt is."""
    rows = [
        {
            "shot": shot["shot"],
            "status": shot["status"],
            "takes": ", ".join(shot["takes"]),
            "last": shot["last"],
        }
        for shot in found["shots"]
    ]
    print_rows("Shots", rows, console)
    for words in found["cards"]:
        console.print(words, style="yellow", highlight=False)
    for part in host_lines(found):
        console.print(part, highlight=False)
    if found["now"]:
        now = found["now"]
        console.print(
            f"now: {now['take_id']} {now['phase']} "
            f"{now['stage']}/{now['stages']}, step {now['step']}/{now['steps']}",
            highlight=False,
        )
        if now.get("preview"):
            console.print(f"to look at: {now['preview']}", highlight=False, soft_wrap=True)
    console.print(headline(found), highlight=False)
    if found["state"] == "cut short":
        console.print("The night was cut short; the same `rushes run` goes on with it.")


def watch_night(root: Path, console: Console, *, every: float) -> None:
    """The latest night, live, until it ends or is interrupted."""
    watch_status(lambda: night_status(root), console, every=every)


def rewrite_report(root: Path, night: str | None, *, client_safe: bool) -> Path:
    """Write the report of a night (None: the latest) again; returns the path of its page."""
    from reports.morning import write_morning
    from reports.night_report import build_night_report

    studio = load_studio(root)
    with LedgerReads(_ledger_path(studio)) as ledger:
        record = _night(ledger, night, studio)
        built = build_night_report(ledger, record.id)
    folder = studio.reports_dir / (f"{record.id}-client" if client_safe else record.id)
    return write_morning(built, folder, client_safe=client_safe)


def preset_rows(root: Path) -> list[dict[str, Any]]:
    """A row for each preset: its name, what it is for, its stages."""
    rows = []
    for preset in list_presets(load_studio(root)):
        stages = "\n".join(
            stage_line(stage, loras=map(str, loras))
            for stage, loras in zip(preset.stages, preset.loras, strict=True)
        )
        rows.append({"preset": preset.qualified_name, "title": preset.title, "stages": stages})
    return rows


def _ledger_path(studio: Studio) -> Path:
    if not studio.ledger_path.exists():
        raise BadInput(
            [
                Fault(
                    file=studio.ledger_path,
                    problem="no night has run in this root",
                    remedy="give --root, or run one: rushes run SHEET",
                )
            ]
        )
    return studio.ledger_path


def _night(ledger: LedgerReads, name: str | None, studio: Studio) -> NightRecord:
    nights = ledger.nights()
    if name is not None:
        return ledger.night(name)
    if not nights:
        raise BadInput(
            [
                Fault(
                    file=studio.ledger_path,
                    problem="the ledger holds no night",
                    remedy="run one: rushes run SHEET",
                )
            ]
        )
    return nights[-1]
