"""YAML sheets: a list of shots, or `defaults:` and `shots:`."""

from __future__ import annotations

from manifests.refusal import Refusal
from manifests.sheet import COLUMNS, MAX_ROWS, SYNONYMS, RawRow, Sheet, unknown_column
from manifests.text import closest, suggest
from manifests.yaml_text import Node, YamlRefusal, read_yaml

_KEYS = ("defaults", "shots")
_ASIDE = "x-"
"""Keys that begin so are not read: a place for what shots share by anchors."""
_FORM = "write a list of shots, or `defaults:` and `shots:`"


def read_yaml_sheet(text: str, sheet: Sheet) -> None:
    """Fill `sheet` from the text of a YAML file; what is wrong becomes its faults."""
    found: list[YamlRefusal] = []
    try:
        root = read_yaml(text, found)
    except YamlRefusal as end:
        found.append(end)
        root = None
    for refusal in found:
        sheet.refuse(refusal, row=refusal.line)
    if found and root is None:
        return
    if root is None or root.value is None:
        sheet.refuse(Refusal("is empty", _FORM))
        return
    shots: Node | None = root
    if isinstance(root.value, dict):
        _check_keys(root.value, sheet)
        _defaults(root.value.get("defaults"), sheet)
        shots = root.value.get("shots")
    if shots is None or not isinstance(shots.value, list):
        line = (shots or root).line
        sheet.refuse(Refusal("holds no list of shots", _FORM), row=line, column="shots")
        return
    if len(shots.value) > MAX_ROWS:
        sheet.refuse(Refusal(f"holds more than {MAX_ROWS} shots", "split it into several sheets"))
        return
    for entry in shots.value:
        _row(entry, sheet)


def _check_keys(mapping: dict[str, Node], sheet: Sheet) -> None:
    for key, node in mapping.items():
        if key not in _KEYS and not key.startswith(_ASIDE):
            free = [known for known in _KEYS if known not in mapping]
            refusal = Refusal(f"there is no key {key!r}", suggest(key, free or _KEYS))
            sheet.refuse(refusal, row=node.line, column=key)


def _defaults(node: Node | None, sheet: Sheet) -> None:
    if node is None or node.value is None:
        return
    if not isinstance(node.value, dict):
        sheet.refuse(Refusal("`defaults:` is no mapping", "write `column: value` lines"))
        return
    if "shot" in node.value:
        line = node.value["shot"].line
        sheet.refuse(Refusal("`defaults:` names a shot", "remove it"), row=line, column="shot")
    cells, faults = _cells(node.value)
    for key, refusal, line in faults:
        sheet.refuse(refusal, row=line, column=key)
    cells.pop("shot", None)
    sheet.defaults = RawRow(row=node.line, cells=cells)


def _row(entry: Node, sheet: Sheet) -> None:
    if not isinstance(entry.value, dict):
        refusal = Refusal("a shot is no mapping", "write `- shot: name` and its columns below")
        sheet.row_faults.append(refusal.at(sheet.file, row=entry.line, value=entry.plain()))
        return
    cells, faults = _cells(entry.value)
    name = cells.get("shot")
    for key, refusal, _ in faults:
        shot = name if isinstance(name, str) else None
        sheet.row_faults.append(
            refusal.at(sheet.file, row=entry.line, shot=shot, column=key, value=key)
        )
    sheet.rows.append(RawRow(row=entry.line, cells=cells, faulty=bool(faults)))


def _cells(mapping: dict[str, Node]) -> tuple[dict[str, object], list[tuple[str, Refusal, int]]]:
    """Known cells that hold something, and the unknown keys. A near key is read as that column."""
    cells = {
        key: node.plain()
        for key, node in mapping.items()
        if key in COLUMNS and node.value is not None
    }
    faults = []
    for key, node in mapping.items():
        if key not in COLUMNS:
            free = [column for column in COLUMNS if column not in mapping]
            faults.append((key, unknown_column(key, free=free), node.line))
            meant = closest(key, free, synonyms=SYNONYMS)
            if meant is not None and meant not in cells and node.value is not None:
                cells[meant] = node.plain()
    return cells, faults
