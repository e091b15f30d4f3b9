"""`rushes explain`: why a take was approved or not, from what its verdict keeps, years later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from manifests.errors import BadInput, Fault
from manifests.settings import load_studio
from manifests.text import suggest
from qc.scorecard import Level, LimitInForce, Verdict
from reports.ledger_reads import LedgerReads
from reports.records import ShotRecord, TakeRecord
from tasks.queue import key_of

_COLOURS = {Level.PASS: "green", Level.WARN: "yellow", Level.FAIL: "red"}
_UNKNOWN = "not kept: the verdict is older than the record of limits"


def explain(root: Path, shot: str, number: int | None) -> dict[str, Any]:
    """The verdict over a take as plain data; the last judged one where no number is given.

    `shot`: its name, or `sheet/shot`; of several shots of that name the latest night's. Raises
    BadInput where there is no such shot or take, NotInLedger where no night has run.
    """
    studio = load_studio(root)
    with LedgerReads(studio.ledger_path, must_exist=True) as ledger:
        record = _find(ledger, shot, studio.ledger_path)
        takes = ledger.takes_of(record.id)
        take = _take(takes, number, shot=shot, ledger=studio.ledger_path)
    verdict = take.verdict
    return {
        "shot": record.shot.id,
        "sheet": record.manifest,
        "take": take.number,
        "takes": len(takes),
        "night": take.night,
        "preset": take.recipe.preset,
        "status": take.status.value,
        "judged": take.transitions[-1].at.isoformat(),
        "words": take.transitions[-1].words,
        "verdict": None if verdict is None else _verdict(verdict, take),
    }


def _find(ledger: LedgerReads, name: str, path: Path) -> ShotRecord:
    known: set[str] = set()
    for night in reversed(ledger.nights()):
        for record in ledger.shot_records(night.id):
            names = {record.shot.id, key_of(record)}
            if name in names:
                return record
            known |= names
    problem = f"no night knows a shot {name!r}"
    raise BadInput([Fault(file=path, problem=problem, remedy=suggest(name, known))])


def _take(takes: list[TakeRecord], number: int | None, *, shot: str, ledger: Path) -> TakeRecord:
    if number is None and takes:
        judged = [take for take in takes if take.verdict is not None]
        return (judged or takes)[-1]
    for take in takes:
        if take.number == number:
            return take
    asked = "no take yet" if number is None else f"no take {number}"
    problem = f"shot {shot!r} has {asked}; it has {len(takes)}"
    remedy = "name one of them" if takes else "run a night first"
    raise BadInput([Fault(file=ledger, problem=problem, remedy=remedy)])


def _verdict(verdict: Verdict, take: TakeRecord) -> dict[str, Any]:
    limits = {limit.metric: limit for limit in verdict.limits}
    card = take.scorecard
    found = []
    for finding in verdict.findings:
        limit = limits.get(finding.metric)
        found.append(
            {
                "metric": finding.metric,
                "value": finding.value,
                "level": finding.level.value,
                "words": finding.words,
                "warn": finding.limit if limit is None else limit.warn,
                "fail": None if limit is None else limit.fail,
                "from": _UNKNOWN if limit is None else _origin(limit),
            }
        )
    seen = {finding.metric for finding in verdict.findings}
    return {
        "decision": verdict.decision.value,
        "failure": None if verdict.failure is None else verdict.failure.value,
        "thresholds": verdict.thresholds,
        # A verdict that is older than these fields has them in its scorecard.
        "backbone": verdict.backbone or (card.backbone if card is not None else ""),
        "versions": verdict.versions or (card.versions if card is not None else {}),
        "findings": found,
        "not_measured": [metric for metric in limits if metric not in seen],
    }


def _origin(limit: LimitInForce) -> str:
    warn, fail = limit.warn_from, limit.fail_from
    if limit.warn is None or limit.fail is None or warn == fail:
        return warn if limit.fail is None else fail
    return f"{warn} (warn), {fail} (fail)"


def print_explanation(found: dict[str, Any], console: Console) -> None:
    """The verdict in the terminal: every number, its limits, and who set them."""
    console.print(
        f"{found['sheet']}/{found['shot']} take {found['take']} of {found['takes']}, "
        f"{found['preset']}: {found['status']} ({found['judged'][:16].replace('T', ' ')} UTC)",
        style="bold",
        highlight=False,
        markup=False,
    )
    console.print(found["words"], highlight=False, markup=False)
    verdict = found["verdict"]
    if verdict is None:
        console.print("There is no verdict over this take.")
        return
    table = Table()
    for title in ("metric", "value", "warn", "fail", "limit from", ""):
        table.add_column(title, justify="right" if title in ("value", "warn", "fail") else "left")
    for item in verdict["findings"]:
        colour = _COLOURS[Level(item["level"])]
        table.add_row(
            item["metric"],
            f"{item['value']:.4g}",
            _number(item["warn"]),
            _number(item["fail"]),
            escape(item["from"]),
            f"[{colour}]{escape(item['words'])}[/]",
        )
    console.print(table)
    if verdict["not_measured"]:
        console.print(f"not measured: {', '.join(verdict['not_measured'])}", highlight=False)
    versions = ", ".join(f"{name} {version}" for name, version in verdict["versions"].items())
    console.print(f"limits: {verdict['thresholds']}", highlight=False, markup=False)
    console.print(f"LPIPS backbone: {verdict['backbone'] or 'none'}", highlight=False, markup=False)
    console.print(f"metrics: {versions or 'not kept'}", highlight=False, markup=False)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
