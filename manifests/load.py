"""Manifests: CSV and YAML sheets read into shots, with every fault of every row at once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from manifests.csv_sheet import read_csv
from manifests.errors import Fault
from manifests.library import Library
from manifests.refusal import Refusal
from manifests.resolve import Resolver
from manifests.row import RowValues, ShotRow, parse_defaults, parse_row
from manifests.sequence import Link, key_of, refuse_links, shot_key
from manifests.settings import Studio
from manifests.sheet import COLUMNS, MAX_BYTES, STARTS, RawRow, Sheet, sheet_name
from manifests.shot import Manifest, Shot
from manifests.text import closest
from manifests.yaml_sheet import read_yaml_sheet

OF_DEFAULTS = "defaults."
"""Before the column of a fault in the defaults of a YAML sheet."""

_CSV = (".csv", ".tsv")
_YAML = (".yaml", ".yml")
_NAME = re.compile(r"\w[\w .()+-]{0,99}")
_SAVE = "save it as 'CSV UTF-8 (comma delimited)'"


def load_manifest(path: Path, *, studio: Studio) -> Manifest:
    """The sheet in `path`: the shots that are good, and every fault of the file and the others.

    Never raises for what the sheet holds. Where the file or its header is at fault, no row can
    be trusted and `shots` is empty. Relative names start at the sheet's folder, for a sheet that
    was taken from the inbox at the inbox. Symlinks are followed and must end inside that folder,
    the studio's root or its `source_roots`.
    """
    sheet, data = _read_sheet(path)
    name = sheet_name(path)
    if not _NAME.fullmatch(name):
        sheet.refuse(Refusal(f"{name!r} cannot name a folder", "use letters, digits, _ and -"))
    folder = path.absolute().parent
    if folder == studio.accepted_dir:
        folder = studio.inbox_dir
    library = Library(folder=folder, studio=studio)
    defaults = _defaults(sheet)
    rows = [_row(raw, defaults, sheet) for raw in sheet.rows]
    links = _bad_links([row for row, _ in rows], sheet=name)
    faults, shots, seen = list(sheet.row_faults), dict[int, Shot](), dict[str, list[int]]()
    sizes = dict[str, tuple[int, int]]()
    for index in _starts_first([row for row, _ in rows], sheet=name):
        raw, (row, found) = sheet.rows[index], rows[index]
        resolver = Resolver(library=library, manifest=name, row=raw.row, sizes=sizes)
        shot = resolver.shot(row)
        bad = {fault.column for fault in found}
        nothing_given = row.prompt is None and not row.source
        bad |= {"source"} if nothing_given or "start_from" in bad else set()
        met = [*resolver.refused, *links.get(index, ())]
        found += _place([each for each in met if each[0] not in bad], raw, sheet)
        if "shot" in raw.cells and not any(fault.column == "shot" for fault in found):
            seen.setdefault(row.shot.casefold(), []).append(index)
        if shot is not None and not found and not raw.faulty:
            shots[index] = shot
            sizes[shot_key(name, shot.id)] = (shot.recipe.width, shot.recipe.height)
        faults += found
    for index, fault in _twice(sheet, seen):
        shots.pop(index, None)
        faults += [] if fault is None else [fault]
    faults = sorted(_of_defaults(faults, sheet), key=_place_in_sheet)
    return Manifest(
        path=path.absolute(),
        name=name,
        sha256=hashlib.sha256(data).hexdigest(),
        shots=() if sheet.faults else tuple(shots[index] for index in sorted(shots)),
        faults=(*sheet.faults, *library.broken(), *faults),
    )


def read_rows(path: Path) -> tuple[tuple[ShotRow, ...], tuple[Fault, ...]]:
    """The rows of a sheet as typed, defaults applied, and the faults of their cells.

    Files that the rows name are not looked at. No rows where the file or its header is at fault.
    """
    sheet, _ = _read_sheet(path)
    defaults = _defaults(sheet)
    rows, faults = [], [*sheet.faults, *sheet.row_faults]
    for raw in sheet.rows:
        row, found = _row(raw, defaults, sheet)
        faults += found
        if not found and not sheet.faults:
            rows.append(row)
    return tuple(rows), tuple(faults)


def _read_sheet(path: Path) -> tuple[Sheet, bytes]:
    sheet = Sheet(path)
    try:
        data = _bytes(path)
    except Refusal as refusal:
        sheet.refuse(refusal)
        return sheet, b""
    try:
        text = _decode(data)
        suffix = path.suffix.lower()
        if suffix in _CSV:
            read_csv(text, sheet)
        elif suffix in _YAML:
            read_yaml_sheet(text, sheet)
        else:
            sheet.refuse(Refusal("is no .csv, .tsv or .yaml file", f"{_SAVE}, or as .yaml"))
        if not sheet.rows and not sheet.faults and not sheet.row_faults:
            sheet.refuse(Refusal("holds no shots", "add a row for each shot"))
    except Refusal as refusal:
        sheet.refuse(refusal)
    return sheet, data


def _bytes(path: Path) -> bytes:
    try:
        if not path.exists():
            near = path.parent.is_dir() and closest(
                path.name, (p.name for p in path.parent.iterdir())
            )
            raise Refusal("is not there", f"did you mean {near!r}?" if near else "check the name")
        if not path.is_file():
            raise Refusal("is not a file", "name a .csv or .yaml file")
        if path.stat().st_size > MAX_BYTES:
            raise Refusal(f"is larger than {MAX_BYTES // 2**20} MiB", "split it")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, Refusal):
            raise
        raise Refusal(f"cannot be read ({error})", "check the file") from None


def _decode(data: bytes) -> str:
    """The text of a UTF-8 file, with or without BOM. Raises Refusal."""
    if data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise Refusal("is a spreadsheet's own file, no CSV", _SAVE)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Refusal("is UTF-16", _SAVE)
    if b"\0" in data:
        raise Refusal("holds zero bytes: it is no text", _SAVE)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Refusal(
            f"is not UTF-8 (byte 0x{data[error.start]:02X} on line {line}); "
            "a spreadsheet saved it in an older encoding",
            _SAVE,
        ) from None


def _place_in_sheet(fault: Fault) -> tuple[int, int]:
    column = (fault.column or "").removeprefix(OF_DEFAULTS)
    return fault.row or 0, COLUMNS.index(column) if column in COLUMNS else -1


def _defaults(sheet: Sheet) -> RowValues:
    if sheet.defaults is None:
        return RowValues()
    defaults, refused = parse_defaults(sheet.defaults.cells)
    sheet.faults += _place(refused, sheet.defaults, sheet, prefix=OF_DEFAULTS)
    return defaults


def _of_defaults(faults: list[Fault], sheet: Sheet) -> list[Fault]:
    """The faults of cells, those that every row takes from the sheet's defaults told once, there.

    Where a row takes the default and is good, the default is not at fault, but what stands beside.
    """
    if sheet.defaults is None:
        return faults
    for column in sheet.defaults.cells:
        takers = {raw.row for raw in sheet.rows if column not in raw.cells}
        met: dict[str, list[Fault]] = {}
        for fault in faults:
            if fault.column == column and fault.row in takers:
                met.setdefault(fault.problem, []).append(fault)
        for problem, same in met.items():
            if {fault.row for fault in same} != takers:
                continue
            more = f" and {len(takers) - 1} more" if len(takers) > 1 else ""
            users = f" (wanted by row {min(takers)}{more})"
            refusal = Refusal(problem + users, same[0].remedy)
            told = _place([(column, refusal)], sheet.defaults, sheet, prefix=OF_DEFAULTS)
            faults = [*told, *(fault for fault in faults if fault not in same)]
    return faults


def _row(raw: RawRow, defaults: RowValues, sheet: Sheet) -> tuple[ShotRow, list[Fault]]:
    """The row over the defaults, and the faults of its cells."""
    row, refused = parse_row(raw.cells)
    row = row.over(defaults)
    given = set(raw.cells) | set(defaults.said())
    if sheet.columns is not None and "shot" not in sheet.columns:
        refused = [each for each in refused if each[0] != "shot"]
    if not given & STARTS and (sheet.columns is None or sheet.columns & STARTS):
        remedy = "write one of them, or a shot in start_from"
        refused.append(("prompt", Refusal("has neither prompt nor source", remedy)))
    if row.source and row.start_from:
        remedy = "keep one of them; `none` takes back what the sheet's defaults say"
        refused.append(("start_from", Refusal("is given together with source", remedy)))
    return row, _place(refused, raw, sheet)


def _place(
    refused: Iterable[tuple[str, Refusal]], raw: RawRow, sheet: Sheet, *, prefix: str = ""
) -> list[Fault]:
    name = raw.cells.get("shot")
    return [
        refusal.at(
            sheet.file,
            row=raw.row,
            shot=name if isinstance(name, str) else None,
            column=prefix + column,
            value=raw.cells.get(column),
        )
        for column, refusal in refused
    ]


def _bad_links(rows: Sequence[ShotRow], *, sheet: str) -> dict[int, list[tuple[str, Refusal]]]:
    """Cells that name shots which a row cannot come after, by the row's index."""
    index = {shot_key(sheet, row.shot): at for at, row in enumerate(rows)}
    links = [
        Link(shot=shot_key(sheet, row.shot), column=column, ref=ref, to=key_of(ref, sheet=sheet))
        for row in rows
        for column, refs in (
            ("start_from", (row.start_from,) if row.start_from else ()),
            ("after", row.after or ()),
        )
        for ref in refs
    ]
    found: dict[int, list[tuple[str, Refusal]]] = {}
    for link, refusal in refuse_links(links, known=index, sheet=sheet):
        found.setdefault(index[link.shot], []).append((link.column, refusal))
    return found


def _starts_first(rows: Sequence[ShotRow], *, sheet: str) -> Iterator[int]:
    """The rows' indices, each behind that of the shot it starts from: it may have its size."""
    index = {shot_key(sheet, row.shot): at for at, row in enumerate(rows)}
    done = set[int]()
    for at in range(len(rows)):
        line = list[int]()
        ahead: int | None = at
        while ahead is not None and ahead not in done:
            done.add(ahead)
            line.append(ahead)
            start = rows[ahead].start_from
            ahead = index.get(key_of(start, sheet=sheet)) if start else None
        yield from reversed(line)


def _twice(sheet: Sheet, seen: dict[str, list[int]]) -> Iterator[tuple[int, Fault | None]]:
    """Rows by index whose name stands in several, and a fault for each but the first."""
    for indices in seen.values():
        if len(indices) == 1:
            continue
        first = sheet.rows[indices[0]].row
        yield indices[0], None
        for index in indices[1:]:
            raw = sheet.rows[index]
            name = str(raw.cells["shot"])
            refusal = Refusal(f"{name!r} is in row {first} already", "give each shot its own name")
            yield index, refusal.at(sheet.file, row=raw.row, shot=name, column="shot", value=name)
