"""Numbers as people type them into cells: read strictly, refused with what to write instead."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from manifests.refusal import Refusal, quoted

_WHOLE = re.compile(r"[+-]?[0-9]{1,19}(\.0{1,6})?")
_DECIMAL = re.compile(r"[+-]?([0-9]{1,19}(\.[0-9]{0,18})?|\.[0-9]{1,18})")
_COMMA = re.compile(r"[+-]?[0-9]{1,19},[0-9]{1,18}")
"""As spreadsheets write decimals in half of Europe; thousands are divided in no cell of a sheet."""
_SCIENTIFIC = re.compile(r"[+-]?[0-9]+([.,][0-9]+)?[eE][+-]?[0-9]+")


def whole(*, least: int, most: int, example: str) -> Callable[[object], int | None]:
    """A reader of whole numbers in `least..most`; None stays None. It raises Refusal."""

    def read(value: object) -> int | None:
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool):
            number = value
        else:
            text = cell_text(value)
            if not _WHOLE.fullmatch(text):
                kind = "no whole number" if _DECIMAL.fullmatch(text) else "not a number"
                raise Refusal(f"{quoted(text)} is {kind}", _remedy(text, example))
            number = int(text.partition(".")[0])
        if not least <= number <= most:
            raise Refusal(f"{number} is not in {least}..{most}", f"write {example}")
        return number

    return read


def decimal(*, least: float, most: float, example: str) -> Callable[[object], float | None]:
    """A reader of decimal numbers in `least..most`; None stays None. It raises Refusal."""

    def read(value: object) -> float | None:
        if value is None:
            return None
        number = float_of(value, example=example)
        if not least <= number <= most:
            raise Refusal(f"{number:g} is not in {least:g}..{most:g}", f"write {example}")
        return number

    return read


def float_of(value: object, *, example: str) -> float:
    """One decimal number, finite. Raises Refusal."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
    else:
        text = cell_text(value)
        pointed = text.replace(",", ".") if _COMMA.fullmatch(text) else text
        if not _DECIMAL.fullmatch(pointed):
            raise Refusal(f"{quoted(text)} is not a number", _remedy(text, example))
        number = float(pointed)
    if not math.isfinite(number):
        raise Refusal(f"{number} is not a number", f"write {example}")
    return number


def cell_text(value: object) -> str:
    """The text of a cell that must hold one value. Raises Refusal for lists and mappings."""
    if isinstance(value, str):
        return value.strip()
    kind = "list" if isinstance(value, list | tuple) else "mapping"
    raise Refusal(
        f"is a {kind if isinstance(value, list | tuple | dict) else 'foreign value'}",
        "write one value",
    )


def number_text(number: float) -> str:
    """The shortest text that reads back as the same number, without an exponent."""
    text = f"{number:.18f}".rstrip("0").rstrip(".") if "e" in repr(number) else repr(number)
    return text.removesuffix(".0")


def _remedy(text: str, example: str) -> str:
    if "," in text:
        return f"write {example} (with a point, no comma)"
    if _SCIENTIFIC.fullmatch(text):
        return "format the spreadsheet's column as text and type the number again"
    return f"write {example}"
