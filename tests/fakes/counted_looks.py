"""The command line, with a `rushes serve` that marks each look at whether a night is to be started.

For tests of what does not happen: so many looks have passed, however busy the machine is.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from flows import serve
from flows.cli import main
from manifests.settings import Studio
from tasks.due import Due, due

MARKS = "looks"


def looks_of(root: Path) -> int:
    """How many looks began since that root was first served."""
    path = root / ".rushes" / MARKS
    return path.stat().st_size if path.exists() else 0


def marked_due(studio: Studio, *, now: datetime) -> Due | None:
    """`due`, and a mark."""
    with (studio.state_dir / MARKS).open("a") as marks:
        marks.write(".")
    return due(studio, now=now)


if __name__ == "__main__":
    serve.due = marked_due
    serve.DUE_EVERY = 1.0
    main()
