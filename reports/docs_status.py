"""The status tables of docs/ledger.md, made from the code: `python -m reports.docs_status`."""

from __future__ import annotations

import inspect
import re
import sys
from enum import StrEnum
from pathlib import Path

from manifests.files import write_atomic
from reports.records import EventKind
from reports.take import BY_HAND, TRANSITIONS, ShotStatus, TakeStatus

BEGIN, END = "<!-- made by python -m reports.docs_status -->", "<!-- end -->"
PAGE = Path(__file__).parents[1] / "docs" / "ledger.md"


def status_tables() -> str:
    """Markdown of take statuses with their transitions, shot statuses and event kinds."""
    takes = sentences(TakeStatus)
    rows = [f"| `{status}` | {takes[status]} | {_after(status)} |" for status in TakeStatus]
    return "\n".join(
        [
            "| take | means | may become |",
            "|---|---|---|",
            *rows,
            "",
            "| shot | means |",
            "|---|---|",
            *(f"| `{name}` | {text} |" for name, text in sentences(ShotStatus).items()),
            "",
            "| event | means |",
            "|---|---|",
            *(f"| `{name}` | {text} |" for name, text in sentences(EventKind).items()),
        ]
    )


def sentences(kind: type[StrEnum]) -> dict[str, str]:
    """The sentence under each member in the source: value -> sentence.

    Raises ValueError when a member has none: every status says what it means.
    """
    source = inspect.getsource(kind)
    found = {
        value: " ".join(text.split())
        for value, text in re.findall(r'= "(\w+)"\n    """(.+?)"""', source, flags=re.DOTALL)
    }
    missing = [str(member) for member in kind if member not in found]
    if missing:
        raise ValueError(f"{kind.__name__}: no sentence under {', '.join(missing)}")
    return found


def with_tables(page: str) -> str:
    """The page with its tables made anew. Raises ValueError when the marks are missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks {BEGIN} ... {END}")
    return f"{before}{BEGIN}\n{status_tables()}\n{END}{after}"


def _after(status: TakeStatus) -> str:
    following = [f"`{name}`" for name in TakeStatus if name in TRANSITIONS[status]]
    if status in BY_HAND:
        following.append(f"`{TakeStatus.APPROVED}`, by a person alone")
    if status is TakeStatus.APPROVED:
        told = " or ".join(f"`{name}`" for name in TakeStatus if name in BY_HAND)
        following.append(f"{told} again, where a person approved it and takes that back")
    return ", ".join(following) or "nothing: final"


if __name__ == "__main__":
    write_atomic(PAGE, with_tables(PAGE.read_text(encoding="utf-8")))
    sys.stdout.write(f"{PAGE.name}: tables are current\n")
