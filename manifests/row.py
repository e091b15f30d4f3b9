"""ShotRow: one row as typed, each cell read by itself; files are not looked at yet."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, PlainValidator, ValidationError

from manifests.deadline import Deadline, read_deadline
from manifests.grade import GradeRef, read_grade
from manifests.loras import LoraRef, read_loras
from manifests.numbers import cell_text, decimal, whole
from manifests.refusal import Refusal, quoted
from manifests.sequence import read_ref, read_refs
from manifests.upscale import UpscaleRef, read_upscale

MAX_SEED = 2**63 - 1
MAX_TEXT = 8000
"""Characters of a prompt."""
_NONE_WORD = "none"
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_NAME = re.compile(r"\w[\w.+-]*(/\w[\w.+-]*)?")
_SPREADSHEET_NUMBER = re.compile(r"[0-9](\.[0-9]+)?[eE]\+[0-9]+")


def read_id(value: object) -> str:
    """A shot's id: text as typed. Raises Refusal."""
    text = cell_text(value)
    if _ID.fullmatch(text) and not text.endswith("."):
        return text
    if _SPREADSHEET_NUMBER.fullmatch(text):
        raise Refusal(
            f"{text!r} is what a spreadsheet makes of a number", "format the column as text"
        )
    raise Refusal(
        f"{quoted(text)} is no shot name",
        "write letters a to z, digits, _ - and . inside (at most 64): seq010_sh0020",
    )


def read_text(value: object) -> str | None:
    """Free text on any number of lines; nothing typed is None. Raises Refusal."""
    if value is None:
        return None
    text = cell_text(value).replace("\r\n", "\n").replace("\r", "\n")
    bad = next((c for c in text if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t"), "")
    if bad:
        raise Refusal(f"holds the control character U+{ord(bad):04X}", "remove it")
    if len(text) > MAX_TEXT:
        raise Refusal(f"has {len(text)} characters", f"write at most {MAX_TEXT}")
    return text or None


def read_clearable(value: object) -> str | None:
    """Text; the word `none` is empty text, which takes back what the defaults say."""
    text = "" if value == "" else read_text(value)
    return "" if text is not None and text.lower() == _NONE_WORD else text


def read_name(value: object) -> str | None:
    """The name of a preset or model; None stays None. Raises Refusal."""
    text = read_text(value)
    if text is not None and not _NAME.fullmatch(text):
        raise Refusal(f"{quoted(text)} is no name", "write a name such as two-stage")
    return text


Text = Annotated[str | None, PlainValidator(read_text)]
Clearable = Annotated[str | None, PlainValidator(read_clearable)]
Name = Annotated[str | None, PlainValidator(read_name)]
Pixels = Annotated[int | None, PlainValidator(whole(least=1, most=16384, example="512"))]
Seed = Annotated[int | None, PlainValidator(whole(least=0, most=MAX_SEED, example="1234"))]


class RowValues(BaseModel):
    """What a row, or `defaults:`, may say. None: not said. Empty: said to be none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Clearable = None
    start_from: Annotated[str | None, PlainValidator(read_ref)] = None
    prompt: Text = None
    negative: Clearable = None
    preset: Name = None
    model: Name = None
    frames: Annotated[int | None, PlainValidator(whole(least=1, most=9999, example="17"))] = None
    fps: Annotated[
        float | None, PlainValidator(decimal(least=1, most=240, example="24 or 23.976"))
    ] = None
    width: Pixels = None
    height: Pixels = None
    seed: Seed = None
    priority: Annotated[
        int | None, PlainValidator(whole(least=-1_000_000, most=1_000_000, example="0 or 10"))
    ] = None
    deadline: Annotated[Deadline | None, PlainValidator(read_deadline)] = None
    after: Annotated[tuple[str, ...] | None, PlainValidator(read_refs)] = None
    gpus: Annotated[int | None, PlainValidator(whole(least=1, most=8, example="2"))] = None
    style: Clearable = None
    loras: Annotated[tuple[LoraRef, ...] | None, PlainValidator(read_loras)] = None
    grade: Annotated[GradeRef | None, PlainValidator(read_grade)] = None
    upscale: Annotated[UpscaleRef | None, PlainValidator(read_upscale)] = None
    notes: Text = None

    def said(self) -> dict[str, Any]:
        """What is not None, by column."""
        return {key: value for key, value in self if value is not None}

    def over(self, defaults: RowValues) -> Self:
        """This row, with `defaults` where it says nothing."""
        return self.model_copy(update={**defaults.said(), **self.said()})


class ShotRow(RowValues):
    """One row as typed."""

    shot: Annotated[str, PlainValidator(read_id)]


Refusals = list[tuple[str, Refusal]]
"""(column, why) of each cell that is refused."""


def parse_row(cells: Mapping[str, Any]) -> tuple[ShotRow, Refusals]:
    """The row, without the cells that are refused, and those. A refused id becomes `unnamed`."""
    kept, refused = _parse(ShotRow, cells)
    return ShotRow.model_validate({"shot": "unnamed", **kept}), refused


def parse_defaults(cells: Mapping[str, Any]) -> tuple[RowValues, Refusals]:
    """As `parse_row`, for `defaults:`."""
    kept, refused = _parse(RowValues, cells)
    return RowValues.model_validate(kept), refused


def _parse(kind: type[RowValues], cells: Mapping[str, Any]) -> tuple[dict[str, Any], Refusals]:
    try:
        kind.model_validate(dict(cells))
    except ValidationError as error:
        refused = [(str(item["loc"][0]), _refusal(item)) for item in error.errors()]
        bad = {column for column, _ in refused}
        return {key: value for key, value in cells.items() if key not in bad}, refused
    return dict(cells), []


def _refusal(item: Any) -> Refusal:
    if item["type"] == "missing":
        return Refusal("has no name", "give each shot its own: seq010_sh0020")
    refusal: Refusal = item["ctx"]["error"]
    return refusal
