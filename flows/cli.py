"""The command line `rushes`. Thin: each command reads its arguments, calls, prints, exits.

NOTE: nothing heavy is imported at the top: `--help` answers at once.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from flows.cli_hosts import join, keys
from flows.cli_models import models
from flows.cli_night import approve, cancel, pause, priority, report, resume, run, status
from flows.cli_qc import calibrate, explain, remedies, score
from flows.cli_say import BAD_INPUT, err, print_faults, print_json
from flows.cli_serve import serve
from flows.cli_sheets import check, inbox, plan, presets, sigmas
from flows.cli_studio import doctor, metrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from manifests.errors import Fault

app = typer.Typer(
    name="rushes",
    help="Overnight batch production for AI video: a shot sheet in the evening, approved clips "
    "and a report in the morning.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

# In the order of `rushes --help`: the evening, the night, the morning, the studio.
for command in (
    *(check, plan, run, inbox, serve, join, keys),
    *(status, pause, resume, cancel, priority),
    *(report, approve, score, explain, calibrate, remedies),
    *(presets, models, sigmas, metrics, doctor),
):
    app.command()(command)


def _say_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"rushes {version('rushes')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_say_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """See `app`: what holds for no command of its own."""


def main() -> None:
    """Entry point: turns named errors into exit codes and words, never into a traceback."""
    from manifests.errors import BadInput, RushesError

    try:
        app()
    except BadInput as error:
        _end_with_faults(error.faults)
    except RushesError as error:
        err().print(f"[red]{type(error).__name__}:[/]", end=" ")
        err().print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(BAD_INPUT)
    except OSError as error:
        # A disk, a right, a folder: what a person can mend, so told as such.
        where = f"{error.filename}: " if error.filename is not None else ""
        words = f"{where}{error.strerror or error}; rushes doctor says what this studio lacks"
        err().print(words, style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(BAD_INPUT)


def _end_with_faults(faults: Sequence[Fault]) -> NoReturn:
    if "--json" in sys.argv:
        print_json({"faults": [fault.to_dict() for fault in faults]})
    else:
        print_faults(faults)
        err().print("Nothing was started.")
    sys.exit(BAD_INPUT)


if __name__ == "__main__":
    main()
