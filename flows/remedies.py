"""`rushes remedies`: what was tried after failures in this studio, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from manifests.errors import BadInput, Fault
from manifests.remedy import load_remedies
from manifests.settings import load_studio
from manifests.text import suggest
from reports.ledger_reads import LedgerReads
from reports.outcomes import Outcome, outcomes
from tasks.remedy_choice import LEAST_EVIDENCE


def remedy_rows(root: Path, *, preset: str | None = None) -> list[dict[str, Any]]:
    """Every remedy that was tried, by preset (`wan/two-stage`) and class, with its outcomes; of
    one preset where it is named, `two-stage` in every family. Raises BadInput for one without.

    `place` is where the table of remedies has it, from 1 (None: not in it, or not any more);
    `counts` whether the class has outcomes enough on this preset for the policy to go by.
    """
    path = load_studio(root).ledger_path
    if not path.exists():
        return []
    with LedgerReads(path, must_exist=True) as ledger:
        found = outcomes(ledger.retake_pairs())
    if preset is not None and found:
        names = {name for each in found for name in _names(each)}
        if preset not in names:
            problem = f"no retake of a preset {preset!r} has been judged"
            raise BadInput([Fault(file=path, problem=problem, remedy=suggest(preset, names))])
        found = [each for each in found if preset in _names(each)]
    return [
        {**each.to_dict(), "place": _place(each), "counts": _counts(each, found)} for each in found
    ]


def _names(outcome: Outcome) -> tuple[str, str]:
    """`wan/two-stage`, and `two-stage` as sheets say."""
    return outcome.preset, outcome.preset.rpartition("/")[2]


def print_remedies(rows: Sequence[dict[str, Any]], console: Console) -> None:
    """The rows as a table."""
    if not rows:
        console.print(
            "No retake has been judged yet: remedies are tried in the table's order.",
            highlight=False,
        )
        return
    table = Table(title="What was tried after failures, and how it ended")
    for column in ("preset", "failed by", "remedy", "in the table"):
        table.add_column(column)
    for column in ("tried", "better", "approved"):
        table.add_column(column, justify="right")
    table.add_column("decides")
    for row in rows:
        table.add_row(
            escape(row["preset"]),
            row["failure"].replace("_", " "),
            escape(row["remedy"]),
            "-" if row["place"] is None else str(row["place"]),
            str(row["tried"]),
            str(row["better"]),
            str(row["approved"]),
            "yes" if row["counts"] else f"from {LEAST_EVIDENCE} tries on",
        )
    console.print(table)


def _place(outcome: Outcome) -> int | None:
    names = [remedy.name for remedy in load_remedies().get(outcome.failure, ())]
    return names.index(outcome.remedy) + 1 if outcome.remedy in names else None


def _counts(outcome: Outcome, found: Sequence[Outcome]) -> bool:
    tried = sum(
        each.tried
        for each in found
        if (each.family, each.preset, each.failure)
        == (outcome.family, outcome.preset, outcome.failure)
    )
    return tried >= LEAST_EVIDENCE
