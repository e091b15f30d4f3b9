"""CSV as spreadsheets write it: BOM, semicolons or tabs, quoted newlines, blank rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

from manifests.refusal import Refusal, quoted
from manifests.sheet import (
    COLUMNS,
    MAX_ROWS,
    STARTS,
    SYNONYMS,
    RawRow,
    Sheet,
    unknown_column,
)
from manifests.text import closest

_DELIMITERS = ",;\t"
_TITLES = 20
"""Lines of a title above the header among which that is looked for."""
_FORMULA_STARTS = "=+-@'"
"""A spreadsheet takes cells that start so for formulas; `dump_csv` puts `'` before them."""


def read_csv(text: str, sheet: Sheet) -> None:
    """Fill `sheet` from the text of a CSV file; what is wrong becomes its faults."""
    text, delimiter = _delimiter(text)
    columns: dict[int, str] | None = None
    records = _records(text, delimiter)
    try:
        for row, cells in records:
            if columns is None:
                columns = _header(cells, row, sheet)
                if not columns:
                    _refuse_headless(cells, row, records, sheet)
                    return
            elif len(sheet.rows) == MAX_ROWS:
                sheet.refuse(_too_many(), row=row)
                sheet.rows.clear()
                return
            else:
                _row(cells, row, columns, sheet)
    except csv.Error as error:
        sheet.refuse(
            Refusal(f"is not valid CSV ({error})", 'close every quote; write " inside text as ""'),
            row=_bad_row(text, delimiter),
        )
    if columns is None and not sheet.faults:
        sheet.refuse(_no_header())


def unescape(cell: str) -> str:
    """A cell without the `'` that keeps a spreadsheet from calculating it."""
    guarded = len(cell) > 1 and cell[0] == "'" and cell[1] in _FORMULA_STARTS
    return cell[1:] if guarded else cell


def escape(cell: str) -> str:
    """The inverse of `unescape`: safe to open in a spreadsheet."""
    return f"'{cell}" if cell[:1] and cell[0] in _FORMULA_STARTS else cell


def _records(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Records that hold anything, with their row number, cells stripped."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    for row, record in enumerate(reader, start=1):
        cells = [cell.strip() for cell in record]
        if any(cells):
            yield row, cells


def _bad_row(text: str, delimiter: str) -> int:
    """Row number of the record that cannot be read."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    good = 0
    with suppress(csv.Error):
        for _ in reader:
            good += 1
    return good + 1


def _delimiter(text: str) -> tuple[str, str]:
    """The text without a `sep=` line, and the delimiter whose header knows most columns."""
    first, _, rest = text.partition("\n")
    if first.strip().lower() in {f"sep={delimiter}" for delimiter in _DELIMITERS}:
        return rest, first.strip()[-1]
    filled = (line for line in text.splitlines() if line.strip(' \t,;"'))
    lines = [*islice(filled, 1 + _TITLES)] or [""]

    def known(delimiter: str, line: str) -> tuple[int, int]:
        names = [name.strip(' "').lower() for name in line.split(delimiter)]
        return sum(name in COLUMNS for name in names), len(names)

    if any(known(delimiter, lines[0])[0] for delimiter in _DELIMITERS):
        del lines[1:]  # else a title stands first, and the header may be further down
    return text, max(_DELIMITERS, key=lambda each: max(known(each, line) for line in lines))


def _header(cells: list[str], row: int, sheet: Sheet) -> dict[int, str]:
    """Position -> column; empty where it is no header.

    A mistyped name is read as the one it is near to, and is a fault. Cells below a name that is
    not known, or that has stood before, are not read.
    """
    names = _names(cells)
    columns: dict[int, str] = {}
    if not _is_header(cells):
        return columns
    for place, name in enumerate(names):
        if name in COLUMNS and name in columns.values():
            sheet.refuse(
                Refusal(f"the column {name!r} stands twice", "keep one of them"),
                row=row,
                column=name,
            )
            columns[place] = ""
        elif name in COLUMNS:
            columns[place] = name
    free = [column for column in COLUMNS if column not in columns.values()]
    for place, name in enumerate(names):
        if name and name not in COLUMNS:
            sheet.refuse(unknown_column(cells[place], free=free), row=row, column=cells[place])
            meant = closest(name, free, synonyms=SYNONYMS)
            columns[place] = "" if meant is None else meant
    sheet.columns = frozenset(columns.values())
    if "shot" not in sheet.columns:
        sheet.refuse(Refusal("there is no column 'shot'", "add one with the shots' names"), row=row)
    if not STARTS & sheet.columns:
        remedy = "add one with what happens in each shot, or one with its still, named source"
        sheet.refuse(Refusal("there is no column 'prompt'", remedy), row=row)
    return columns


def _names(cells: list[str]) -> list[str]:
    return [cell.lower().replace(" ", "_") for cell in cells]


def _is_header(cells: list[str]) -> bool:
    return any(name in COLUMNS or name in SYNONYMS for name in _names(cells))


def _refuse_headless(
    cells: list[str], row: int, below: Iterator[tuple[int, list[str]]], sheet: Sheet
) -> None:
    """Say that the first row is no header, and where it stands if a title lies above it.

    Rows without one mean nothing, so nothing is said of them.
    """
    header = None
    try:
        first = islice(below, _TITLES)
        header = next((at for at, found in first if "shot" in _names(found)), None)
        for _ in below:  # what cannot be read further down is told, too
            pass
    finally:
        sheet.refuse(_no_header(cells, header), row=row)


def _row(cells: list[str], row: int, columns: dict[int, str], sheet: Sheet) -> None:
    found: dict[str, str] = {}
    faults = len(sheet.row_faults)
    for place, cell in enumerate(cells):
        if not cell:
            continue
        if place in columns:
            if columns[place]:
                found.setdefault(columns[place], unescape(cell))
        elif columns:
            refusal = Refusal(
                f"{quoted(cell)} stands in cell {place + 1}, which has no column name",
                "quote text that holds the delimiter, or remove the cell",
            )
            sheet.row_faults.append(
                refusal.at(sheet.file, row=row, shot=found.get("shot"), value=cell)
            )
    sheet.rows.append(RawRow(row=row, cells=found, faulty=len(sheet.row_faults) > faults))


def _no_header(cells: list[str] | None = None, below: int | None = None) -> Refusal:
    seen = (
        f" (it starts with {quoted(', '.join(filter(None, cells)))})" if cells else " (it is empty)"
    )
    remedy = "make the first row: shot, source, prompt, ..."
    if below is not None:
        remedy = f"remove the rows above row {below}, where the columns' names stand"
    return Refusal(f"has no header{seen}", remedy)


def _too_many() -> Refusal:
    return Refusal(f"holds more than {MAX_ROWS} rows", "split it into several sheets")
