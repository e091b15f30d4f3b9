"""The night as a CSV: one row a shot, ids as text, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pandas as pd

from manifests.files import write_atomic
from reports.lines import NightReport, ShotLine

_FORMULA = tuple("=+-@\t\r\n＝＋－＠")
"""What a spreadsheet may take for the start of a formula (OWASP, CSV injection)."""


def safe_cell(text: str) -> str:
    """`text`, with an apostrophe before it where a spreadsheet would see a formula."""
    if text.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA):
        return f"'{text}"
    return text


def night_table(report: NightReport) -> pd.DataFrame:
    """One row a shot, in the night's order; a column per score and per phase."""
    rows = [_row(report, line) for line in report.shots]
    columns = list(dict.fromkeys([*_COLUMNS, *(name for row in rows for name in row)]))
    if report.client_safe:
        columns = [name for name in columns if name not in _HOUSE_ONLY]
    return pd.DataFrame(rows, columns=columns, dtype=object)


def write_table(report: NightReport, path: Path) -> None:
    """Write `night_table` to `path` atomically.

    UTF-8 with a byte order mark (Excel reads Chinese prompts), text quoted and numbers not, so
    that `001` stays text for programs that look.
    """
    table = night_table(report).map(_cell)
    text = table.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    write_atomic(path, text.encode("utf-8-sig"))


_COLUMNS = (
    "night", "manifest", "shot", "row", "status", "take", "takes", "version", "delivered",
    "sha256", "sidecar", "decision", "failure", "reasons", "remedies", "needs", "preset", "model",
    "prompt", "seed", "width", "height", "frames", "fps", "machine_failures", "seconds", "device",
    "notes",
)  # fmt: skip

_HOUSE_ONLY = frozenset({"row", "sidecar", "preset", "model", "prompt", "device", "notes"})


def _row(report: NightReport, line: ShotLine) -> dict[str, Any]:
    recipe = line.shot.recipe if line.best is None else line.best.record.recipe
    receipts = [take.record.receipt for take in line.takes if take.record.receipt is not None]
    need = next((need for need in report.needs if need.shot_id == line.record.id), None)
    return {
        "night": report.night.id,
        "manifest": line.record.manifest,
        "shot": line.shot.id,
        "row": line.shot.row,
        "status": str(line.status),
        "takes": len(line.takes),
        "remedies": "; ".join(t.record.remedy_words for t in line.takes if t.record.remedy_words),
        "needs": "" if need is None else need.words,
        "preset": recipe.preset,
        "model": recipe.model,
        "prompt": line.shot.title or recipe.prompt,
        "machine_failures": sum(len(take.failures) for take in line.takes),
        "seconds": round(line.seconds, 3),
        "device": receipts[-1].device if receipts else "",
        "notes": "; ".join(line.notes),
        **_delivered(line),
        **_shown(line),
    }


def _delivered(line: ShotLine) -> dict[str, Any]:
    recipe = line.shot.recipe
    if line.delivery is None:
        return {
            "width": recipe.width,
            "height": recipe.height,
            "frames": recipe.frames,
            "fps": recipe.fps,
        }
    delivery = line.delivery.delivery
    return {
        "version": f"v{line.delivery.version:03d}",
        "delivered": str(delivery.path),
        "sha256": delivery.sha256,
        "sidecar": str(line.delivery.sidecar),
        "width": delivery.width,
        "height": delivery.height,
        "frames": delivery.frames,
        "fps": delivery.fps,
    }


def _shown(line: ShotLine) -> dict[str, Any]:
    """What belongs to the take that is shown: its verdict, seed, scores and phases."""
    if line.best is None:
        return {}
    take = line.best.record
    cells: dict[str, Any] = {"take": take.number, "seed": take.recipe.seed}
    if take.verdict is not None:
        cells["decision"] = str(take.verdict.decision)
        cells["failure"] = "" if take.verdict.failure is None else str(take.verdict.failure)
        cells["reasons"] = "; ".join(take.verdict.reasons)
    if take.scorecard is not None:
        cells |= {f"score_{name}": value for name, value in take.scorecard.metrics.items()}
    for phase in line.best.phases:
        cells[f"seconds_{phase.phase.replace(' ', '_')}"] = round(phase.seconds, 3)
    return cells


def _cell(value: object) -> object:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return ""
    return safe_cell(value) if isinstance(value, str) else value
