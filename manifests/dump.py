"""Rows written as a sheet again: reading what was written gives the same rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

import yaml

from manifests.csv_sheet import escape
from manifests.deadline import Deadline
from manifests.grade import GradeRef
from manifests.loras import LoraRef
from manifests.numbers import number_text
from manifests.row import RowValues, ShotRow
from manifests.sheet import COLUMNS
from manifests.upscale import UpscaleRef


def dump_csv(rows: Iterable[ShotRow]) -> str:
    """A CSV sheet: every column, `\\r\\n`, text that looks like a formula guarded by `'`."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in rows:
        cells = _cells(row)
        writer.writerow([_guard(cells.get(column, "")) for column in COLUMNS])
    return file.getvalue()


def dump_yaml(rows: Iterable[ShotRow], *, defaults: RowValues | None = None) -> str:
    """A YAML sheet; every value is quoted where YAML would take it for something else."""
    sheet: dict[str, Any] = {} if defaults is None else {"defaults": _cells(defaults)}
    sheet["shots"] = [_cells(row) for row in rows]
    return yaml.safe_dump(sheet, allow_unicode=True, sort_keys=False, width=100)


def _guard(cell: str) -> str:
    number = cell[:1] == "-" and cell[1:].replace(".", "", 1).isdigit()
    return cell if number else escape(cell)


def _cells(row: RowValues) -> dict[str, str]:
    said = row.said()
    return {column: _text(said[column]) for column in COLUMNS if column in said}


def _text(
    value: str | float | Deadline | GradeRef | UpscaleRef | tuple[LoraRef, ...] | tuple[str, ...],
) -> str:
    match value:
        case tuple():
            return "; ".join(map(str, value)) or "none"
        case float():
            return number_text(value)
        case "":
            return "none"
        case _:
            return str(value)
