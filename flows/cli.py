"""The command line `rushes`. Thin: each command reads its arguments, calls, prints, exits.

NOTE: nothing heavy is imported at the top: `--help` answers at once.
"""

from __future__ import annotations

import json
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console

from flows.cli_hosts import join, keys
from flows.cli_models import models
from flows.cli_qc import calibrate, explain, remedies, score
from flows.cli_serve import serve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from manifests.errors import Fault
    from manifests.shot import Manifest

BAD_INPUT, INTERRUPTED = 2, 130
E = TypeVar("E", bound=StrEnum)

app = typer.Typer(
    name="rushes",
    help="Overnight batch production for AI video: a shot sheet in the evening, approved clips "
    "and a report in the morning.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

Sheets = Annotated[list[Path], typer.Argument(help="Shot sheets, CSV or YAML.", metavar="SHEET...")]
Root = Annotated[
    Path, typer.Option("--root", help="Folder of the studio: ledger, takes, deliveries, reports.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, for machines.")]
Device = Annotated[
    str | None, typer.Option("--device", help="auto, cpu, cuda or cuda:N; else as in studio.yaml.")
]
HERE = Path()


@app.command()
def check(sheets: Sheets, root: Root = HERE, as_json: Json = False) -> None:
    """Read sheets and name every fault at once; start nothing."""
    found = _load(sheets, root)
    faults = [fault for sheet in found for fault in sheet.faults]
    shots = sum(len(sheet.shots) for sheet in found)
    if as_json:
        _print_json({"shots": shots, "faults": [fault.to_dict() for fault in faults]})
    elif faults:
        _print_faults(faults)
    else:
        _out().print(f"{shots} shots, no fault.", highlight=False)
    raise typer.Exit(BAD_INPUT if faults else 0)


@app.command()
def plan(
    sheets: Sheets,
    root: Root = HERE,
    card_gb: Annotated[
        float | None,
        typer.Option("--card-gb", help="Plan for a card of that many GiB instead of those here."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what a night would do: order, stages, start sigmas, times, memory, disk, refusals."""
    from flows.show import print_plan
    from manifests.settings import load_studio
    from reports.ledger_reads import LedgerReads
    from tasks.plan import make_plan, with_disk, with_memory

    studio = load_studio(root)
    found = _load(sheets, root)
    if studio.ledger_path.exists():
        with LedgerReads(studio.ledger_path) as ledger:
            made = make_plan(found, studio=studio, ledger=ledger)
    else:
        made = make_plan(found, studio=studio, ledger=None)
    made = with_disk(with_memory(made, studio, card_gb=card_gb), studio)
    if as_json:
        _print_json(made.to_dict())
    else:
        print_plan(made, _out(), zone=studio.zone)
    raise typer.Exit(BAD_INPUT if made.refused else 0)


@app.command()
def run(
    sheets: Annotated[
        list[Path] | None,
        typer.Argument(help="Shot sheets; none: those of the inbox.", metavar="[SHEET]..."),
    ] = None,
    root: Root = HERE,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Run the good lines of a sheet with bad ones.")
    ] = False,
    device: Device = None,
    now: Annotated[bool, typer.Option("--now", help="Run outside the studio's hours too.")] = False,
) -> None:
    """Run a night: render, score, retake, finish, report. Started again, it goes on."""
    from flows.run import run_night

    # A stop from the service manager is an interruption like Ctrl-C: finished work is kept.
    signal.signal(signal.SIGTERM, _interrupt)
    settings = {} if device is None else {"device": device}
    code = run_night(
        sheets or [], root=root, settings=settings, skip_bad=skip_bad, now=now, console=_out()
    )
    raise typer.Exit(code)


@app.command()
def inbox(
    root: Root = HERE,
    watch: Annotated[bool, typer.Option("--watch", help="Keep watch until interrupted.")] = False,
    as_json: Json = False,
) -> None:
    """Take whole, good sheets from the inbox; put bad ones aside with every fault in words."""
    from flows.inbox import keep_watch, look_once

    if watch:
        keep_watch(root, _out())
    elif as_json:
        _print_json({"sheets": [each.to_dict() for each in look_once(root, _err())]})
    else:
        look_once(root, _out())


for command in (serve, join, keys, score, calibrate, explain, remedies):
    app.command()(command)


@app.command()
def status(
    root: Root = HERE,
    watch: Annotated[
        bool, typer.Option("--watch", help="Stay, and show it again every two seconds.")
    ] = False,
    as_json: Json = False,
) -> None:
    """What the latest night has done, what it is doing now, and when it will end."""
    from flows.status import night_status, print_status, watch_night

    if watch:
        watch_night(root, _out(), every=2.0)
        return
    found = night_status(root)
    if as_json:
        _print_json(found)
    else:
        print_status(found, _out())


@app.command()
def pause(root: Root = HERE) -> None:
    """Hold the night: nothing new is started until `rushes resume`."""
    from flows.control import pause as hold

    _out().print(hold(root, paused=True), highlight=False)


@app.command()
def resume(root: Root = HERE) -> None:
    """Let a paused night go on."""
    from flows.control import pause as hold

    _out().print(hold(root, paused=False), highlight=False)


@app.command()
def cancel(
    shots: Annotated[
        list[str] | None, typer.Argument(help="Shots, or sheet/shot; none: the whole night.")
    ] = None,
    root: Root = HERE,
) -> None:
    """Do nothing more on shots in this night, or end it. What is finished is kept."""
    from flows.control import cancel as stop

    _out().print(stop(root, shots or []), highlight=False, markup=False)


@app.command()
def priority(
    shot: Annotated[str, typer.Argument(help="A shot, or sheet/shot.")],
    number: Annotated[
        int | None, typer.Argument(help="Higher renders first; none: as the sheet says.")
    ] = None,
    root: Root = HERE,
) -> None:
    """Put a shot before others, also while the night runs; it holds until it is taken back."""
    from flows.control import set_priority

    _out().print(set_priority(root, shot, number), highlight=False, markup=False)


@app.command()
def report(
    night: Annotated[str | None, typer.Argument(help="A night's name; else the latest.")] = None,
    root: Root = HERE,
    client_safe: Annotated[
        bool, typer.Option("--client-safe", help="Leave out prompts, machine names and paths.")
    ] = False,
) -> None:
    """Write the morning report again, from the ledger; print where it lies."""
    from flows.status import rewrite_report

    sys.stdout.write(f"{rewrite_report(root, night, client_safe=client_safe)}\n")


@app.command()
def presets(root: Root = HERE, as_json: Json = False) -> None:
    """List the presets with their stages."""
    from flows.show import print_rows
    from flows.status import preset_rows

    rows = preset_rows(root)
    if as_json:
        _print_json({"presets": rows})
    else:
        print_rows("Presets", rows, _out())


app.command()(models)


def _member(kind: type[E], name: str, what: str) -> E:
    """The member of that name; otherwise the command is refused."""
    try:
        return kind(name)
    except ValueError:
        _refuse(f"no {what} {name!r}; there are {', '.join(kind)}")


@app.command()
def sigmas(
    schedule: Annotated[str, typer.Option(help="simple, normal, sgm_uniform, beta ...")] = "simple",
    steps: Annotated[int, typer.Option(help="Model steps that are run.")] = 20,
    denoise: Annotated[float, typer.Option(help="0..1; 1 starts from pure noise.")] = 1.0,
    shift: Annotated[
        float | None, typer.Option(help="Shift of a flow model's schedule; 8 where none is given.")
    ] = None,
    sampler: Annotated[
        str, typer.Option(help="euler, dpmpp_2m ...; uni_pc has levels of its own.")
    ] = "euler",
    noise: Annotated[
        str, typer.Option(help="flow (Wan, LTX), eps_linear (AnimateDiff) or eps.")
    ] = "flow",
    as_json: Json = False,
) -> None:
    """Print the noise levels of a re-noise stage, so that its start sigma is seen."""
    from manifests.schedules import sigmas as levels
    from manifests.stage import Noise, Sampler, Schedule

    kind = _member(Noise, noise, "kind of noise")
    try:
        found = levels(
            schedule=_member(Schedule, schedule, "schedule"),
            steps=steps,
            denoise=denoise,
            shift=(8.0 if kind is Noise.FLOW else 1.0) if shift is None else shift,
            noise=kind,
            sampler=_member(Sampler, sampler, "sampler"),
        )
    except ValueError as error:
        _refuse(str(error))
    if as_json:
        _print_json({"sigmas": [float(level) for level in found]})
    else:
        _out().print(" ".join(f"{level:.4f}" for level in found), highlight=False)


@app.command()
def metrics(
    root: Root = HERE,
    port: Annotated[
        int | None, typer.Option(help="Serve them on this port until interrupted.")
    ] = None,
    address: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
) -> None:
    """Print the studio's figures in Prometheus' format, or serve them."""
    from flows.metrics import metrics_text, serve
    from manifests.settings import load_studio

    if port is None:
        sys.stdout.write(metrics_text(load_studio(root)))
    else:
        serve(root, port=port, address=address, console=_out())


@app.command()
def doctor(root: Root = HERE, as_json: Json = False) -> None:
    """Check this machine for a night, with a remedy for what is missing."""
    from flows.doctor import examine, print_findings

    findings = examine(root)
    if as_json:
        _print_json({"checks": [finding.to_dict() for finding in findings]})
    else:
        print_findings(findings, _out())
    raise typer.Exit(0 if all(finding.well for finding in findings) else 1)


def main() -> None:
    """Entry point: turns named errors into exit codes and words, never into a traceback."""
    from manifests.errors import BadInput, RushesError

    try:
        app()
    except BadInput as error:
        _end_with_faults(error.faults)
    except RushesError as error:
        _err().print(f"[red]{type(error).__name__}:[/]", end=" ")
        _err().print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(BAD_INPUT)
    except KeyboardInterrupt:
        _err().print("Interrupted. What is finished is kept; the same command goes on from here.")
        sys.exit(INTERRUPTED)


def _interrupt(_signal: int, _frame: Any) -> NoReturn:
    raise KeyboardInterrupt


def _end_with_faults(faults: Sequence[Fault]) -> NoReturn:
    if "--json" in sys.argv:
        _print_json({"faults": [fault.to_dict() for fault in faults]})
    else:
        _print_faults(faults)
        _err().print("Nothing was started.")
    sys.exit(BAD_INPUT)


def _load(sheets: Sequence[Path], root: Path) -> list[Manifest]:
    from manifests.settings import load_studio
    from tasks.sheets import load_sheets

    return load_sheets(sheets, studio=load_studio(root))


def _print_faults(faults: Sequence[Fault]) -> None:
    from flows.show import print_faults

    print_faults(faults, _err())


def _refuse(words: str) -> NoReturn:
    _err().print(words, style="red", highlight=False, markup=False)
    sys.exit(BAD_INPUT)


def _print_json(data: Any) -> None:
    sys.stdout.write(json.dumps(data, ensure_ascii=False, allow_nan=False) + "\n")


def _out() -> Console:
    return Console()


def _err() -> Console:
    return Console(stderr=True)


if __name__ == "__main__":
    main()
