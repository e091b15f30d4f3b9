"""`rushes serve` on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli_say import ROOT_VARIABLE, out


def serve(
    root: Annotated[
        Path,
        typer.Option(
            "--root",
            envvar=ROOT_VARIABLE,
            help="Folder of the studio: ledger, takes, inbox, reports.",
        ),
    ] = Path(),
    host: Annotated[
        str, typer.Option(help="Where Prefect and the figures listen: this machine alone.")
    ] = "127.0.0.1",
) -> None:
    """Serve a studio machine: Prefect, the nights' schedule, the inbox. Runs until stopped."""
    from flows.serve import serve as keep

    keep(root, host=host, console=out())
