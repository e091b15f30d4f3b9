"""Every error a person can cause, and the root of all errors of Rushes.

RushesError
├── BadInput             what was given cannot be used; carries every fault found
├── DoorShut, DoorStuck  the folder belongs to another attempt (`manifests.door`)
├── render.errors        what goes wrong while pixels are made
├── qc.errors            what goes wrong while pixels are measured
└── reports.errors       what goes wrong while the night is written down
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


class RushesError(Exception):
    """Root of every error that Rushes raises on purpose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong with what was given, and what to do about it."""

    file: Path
    """The file in which it was found, as the user named it."""
    problem: str
    """What is wrong, without a full stop: `'twentyfour' is not a number`."""
    remedy: str
    """What to do, as an order: `write 24 or 23.976`."""
    row: int | None = None
    """Row as a spreadsheet counts (the header is row 1); for YAML, the line of the entry."""
    shot: str | None = None
    """Id of the shot, where it could be read."""
    column: str | None = None
    """Column or key, where the fault belongs to one."""
    value: str | None = None
    """The cell as typed, cut to 80 characters."""

    def __str__(self) -> str:
        place = str(self.file)
        if self.row is not None:
            place += f" row {self.row}"
        if self.column is not None:
            place += f", column {self.column}"
        return f"{place}: {self.problem}; {self.remedy}"

    def to_dict(self) -> dict[str, str | int | None]:
        """The fault as plain data, for `--json`."""
        return {
            "file": str(self.file),
            "row": self.row,
            "shot": self.shot,
            "column": self.column,
            "value": self.value,
            "problem": self.problem,
            "remedy": self.remedy,
        }


class BadInput(RushesError):
    """What was given cannot be used. Holds every fault at once; nothing was started."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))
