"""`.cube` LUTs: read far enough to know that the grade will not fail at night."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TextIO

from manifests.refusal import Refusal

MAX_BYTES = 128 * 2**20
_MAX_LINE = 4096
_SIZES = {"LUT_3D_SIZE": (2, 129), "LUT_1D_SIZE": (2, 65536)}
_TRIPLES = ("DOMAIN_MIN", "DOMAIN_MAX")
_RANGES = ("LUT_1D_INPUT_RANGE", "LUT_3D_INPUT_RANGE")
_EXPORT = "export the LUT again as .cube"


def check_cube(path: Path) -> None:
    """Raise Refusal unless `path` is a whole `.cube` file: sizes, domain, every row a triple."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise Refusal(f"{path.name!r} is larger than 128 MiB", "export a smaller LUT")
        with path.open(encoding="utf-8", errors="replace") as file:
            rows, sizes = _read(file, path.name)
    except OSError as error:
        raise Refusal(
            f"{path.name!r} cannot be read ({error.strerror or error})", "check the file"
        ) from None
    if not sizes:
        raise Refusal(f"{path.name!r} names no LUT_3D_SIZE or LUT_1D_SIZE", _EXPORT)
    expected = sizes.get("LUT_1D_SIZE", 0) + sizes.get("LUT_3D_SIZE", 0) ** 3
    if rows != expected:
        raise Refusal(f"{path.name!r} holds {rows} rows, its header says {expected}", _EXPORT)


def _read(file: TextIO, name: str) -> tuple[int, dict[str, int]]:
    """Rows of numbers, and the sizes that the header names."""
    rows, sizes = 0, dict[str, int]()
    for number, line in enumerate(iter(lambda: file.readline(_MAX_LINE), ""), start=1):
        if len(line) == _MAX_LINE:
            raise Refusal(f"{name!r} line {number} is longer than {_MAX_LINE} characters", _EXPORT)
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        key = words[0].upper()
        if key in _SIZES:
            sizes[key] = _size(words, number, name)
        elif key in _TRIPLES:
            _numbers(words[1:], 3, number, name)
        elif key in _RANGES:
            _numbers(words[1:], 2, number, name)
        elif key != "TITLE":
            _numbers(words, 3, number, name)
            rows += 1
    return rows, sizes


def _size(words: list[str], line: int, name: str) -> int:
    low, high = _SIZES[words[0].upper()]
    if len(words) != 2 or not (words[1].isascii() and words[1].isdigit() and len(words[1]) < 7):
        raise Refusal(f"{name!r} line {line}: {words[0]} is no number", _EXPORT)
    if not low <= int(words[1]) <= high:
        raise Refusal(f"{name!r} line {line}: {words[0]} is not in {low}..{high}", _EXPORT)
    return int(words[1])


def _numbers(words: list[str], count: int, line: int, name: str) -> None:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise Refusal(f"{name!r} line {line} does not hold {count} numbers", _EXPORT)
