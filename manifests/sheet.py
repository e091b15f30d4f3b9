"""What a sheet holds before it means anything: rows of cells as typed, and where they stood."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manifests.errors import Fault
from manifests.refusal import Refusal
from manifests.text import suggest

COLUMNS = (
    "shot",
    "source",
    "start_from",
    "prompt",
    "negative",
    "preset",
    "model",
    "frames",
    "fps",
    "width",
    "height",
    "seed",
    "priority",
    "deadline",
    "after",
    "gpus",
    "style",
    "loras",
    "grade",
    "upscale",
    "notes",
)
"""Every column of a sheet, in the order in which they are written."""

SYNONYMS = {
    "id": "shot",
    "name": "shot",
    "shot_id": "shot",
    "image": "source",
    "still": "source",
    "file": "source",
    "last_frame_of": "start_from",
    "continues": "start_from",
    "text": "prompt",
    "positive": "prompt",
    "negative_prompt": "negative",
    "recipe": "preset",
    "checkpoint": "model",
    "length": "frames",
    "num_frames": "frames",
    "frame_rate": "fps",
    "rate": "fps",
    "due": "deadline",
    "due_date": "deadline",
    "depends_on": "after",
    "gpu": "gpus",
    "cards": "gpus",
    "lora": "loras",
    "lut": "grade",
    "cdl": "grade",
    "scale": "upscale",
    "comment": "notes",
    "note": "notes",
}
"""What people write for a column, to be offered when they do."""

STARTS = frozenset({"prompt", "source", "start_from"})
"""Columns of which a shot needs one."""

MAX_ROWS = 20_000
MAX_BYTES = 10 * 2**20


def sheet_name(path: Path) -> str:
    """The name of the sheet in that file, one whatever machine wrote the file's accents."""
    return unicodedata.normalize("NFC", path.stem)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRow:
    """One row as typed."""

    row: int
    """As a spreadsheet counts; for YAML, the line of the entry."""
    cells: dict[str, Any]
    """Column -> cell: text, or for YAML lists and mappings of text. Empty cells are left out."""
    faulty: bool = False
    """The sheet's `row_faults` hold one of this row."""


@dataclass(slots=True)
class Sheet:
    """A file as read."""

    file: Path
    """As the user named it."""
    rows: list[RawRow] = field(default_factory=list)
    defaults: RawRow | None = None
    """Of a YAML sheet."""
    columns: frozenset[str] | None = None
    """Of a CSV sheet: what its header names. What all rows lack is told of the header, once."""
    faults: list[Fault] = field(default_factory=list)
    """Of the whole file or its header: with one of these, no row can be trusted."""
    row_faults: list[Fault] = field(default_factory=list)
    """Of single rows that could not be read as rows."""

    def refuse(
        self, refusal: Refusal, *, row: int | None = None, column: str | None = None
    ) -> None:
        """Add a fault of the whole file."""
        self.faults.append(refusal.at(self.file, row=row, column=column, value=column))


def unknown_column(name: str, *, free: Iterable[str]) -> Refusal:
    """What to say of a column that is none; `free` are the columns that it could be meant for."""
    return Refusal(f"there is no column {name!r}", suggest(name, free, synonyms=SYNONYMS))
