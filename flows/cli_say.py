"""What the commands of `rushes` share: options, and how they print, refuse and name faults."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from manifests.errors import Fault
    from manifests.shot import Manifest

BAD_INPUT = 2
"""Exit code where something that was given cannot be used."""
HERE = Path()

Sheets = Annotated[list[Path], typer.Argument(help="Shot sheets, CSV or YAML.", metavar="SHEET...")]
ROOT_VARIABLE = "RUSHES_ROOT"
Root = Annotated[
    Path,
    typer.Option(
        "--root",
        envvar=ROOT_VARIABLE,
        help="Folder of the studio: ledger, takes, deliveries, reports.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, for machines.")]
Device = Annotated[
    str | None, typer.Option("--device", help="auto, cpu, cuda or cuda:N; else as in studio.yaml.")
]


def _console(*, stderr: bool = False) -> Console:
    """A terminal, or what stands in its place.

    Lines are folded by terminals alone: a log, a mail or a pipe has no width, and 80 columns there
    would cut paths and sentences. Tables keep to them.
    """
    there = Console(stderr=stderr)
    return there if there.is_terminal else Console(stderr=stderr, soft_wrap=True)


def out() -> Console:
    """Standard output, as it is now: tests change it."""
    return _console()


def err() -> Console:
    """Standard error."""
    return _console(stderr=True)


def print_json(data: Any) -> None:
    """One object on one line. Raises ValueError for a number that JSON does not have."""
    sys.stdout.write(json.dumps(data, ensure_ascii=False, allow_nan=False) + "\n")


def print_faults(faults: Sequence[Fault]) -> None:
    """A table of them, to standard error."""
    from flows.show import print_faults as show

    show(faults, err())


def refuse(words: str) -> NoReturn:
    """Say why and end."""
    err().print(words, style="red", highlight=False, markup=False)
    sys.exit(BAD_INPUT)


def read_sheets(sheets: Sequence[Path], root: Path) -> list[Manifest]:
    """The sheets as the studio at `root` reads them, each with its faults.

    Raises BadInput for settings that cannot be used.
    """
    from manifests.settings import load_studio
    from tasks.limits import check_limits
    from tasks.sheets import load_sheets

    studio = load_studio(root)
    check_limits(studio)
    return load_sheets(sheets, studio=studio)
