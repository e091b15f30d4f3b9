"""Commands that run a night, look at it, steer it and report it."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from flows.cli_say import HERE, Device, Json, Root, err, out, print_json

INTERRUPTED = 130


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
    try:
        code = run_night(
            sheets or [], root=root, settings=settings, skip_bad=skip_bad, now=now, console=out()
        )
    except KeyboardInterrupt:  # typer would end without a word
        err().print("Interrupted. What is finished is kept; the same command goes on from here.")
        raise typer.Exit(INTERRUPTED) from None
    raise typer.Exit(code)


def _interrupt(_signal: int, _frame: Any) -> NoReturn:
    raise KeyboardInterrupt


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
        watch_night(root, out(), every=2.0)
        return
    found = night_status(root)
    if as_json:
        print_json(found)
    else:
        print_status(found, out())


def pause(root: Root = HERE) -> None:
    """Hold the night: nothing new is started until `rushes resume`."""
    from flows.control import pause as hold

    out().print(hold(root, paused=True), highlight=False)


def resume(root: Root = HERE) -> None:
    """Let a paused night go on."""
    from flows.control import pause as hold

    out().print(hold(root, paused=False), highlight=False)


def cancel(
    shots: Annotated[
        list[str] | None, typer.Argument(help="Shots, or sheet/shot; none: the whole night.")
    ] = None,
    root: Root = HERE,
) -> None:
    """Do nothing more on shots in this night, or end it. What is finished is kept."""
    from flows.control import cancel as stop

    out().print(stop(root, shots or []), highlight=False, markup=False)


def priority(
    shot: Annotated[str, typer.Argument(help="A shot, or sheet/shot.")],
    number: Annotated[
        int | None, typer.Argument(help="Higher renders first; none: as the sheet says.")
    ] = None,
    root: Root = HERE,
) -> None:
    """Put a shot before others, also while the night runs; it holds until it is taken back."""
    from flows.control import set_priority

    out().print(set_priority(root, shot, number), highlight=False, markup=False)


def approve(
    shot: Annotated[str, typer.Argument(help="A shot that is held, or sheet/shot.")],
    take: Annotated[int | None, typer.Argument(help="Number of the take; else the best.")] = None,
    why: Annotated[
        str, typer.Option("--why", help="Your reason; it is kept, and shown in the house.")
    ] = "",
    undo: Annotated[
        bool, typer.Option("--undo", help="Take it back, as long as nothing is delivered.")
    ] = False,
    root: Root = HERE,
) -> None:
    """Approve a take of a held shot as it is; the night that runs over its sheet delivers it."""
    from flows.control import approved

    out().print(approved(root, shot, take, why=why, undo=undo), highlight=False, markup=False)


def report(
    night: Annotated[str | None, typer.Argument(help="A night's name; else the latest.")] = None,
    root: Root = HERE,
    client_safe: Annotated[
        bool,
        typer.Option("--client-safe", help="Leave out prompts, models, machine names and paths."),
    ] = False,
) -> None:
    """Write the morning report again, from the ledger; print where it lies."""
    from flows.status import rewrite_report

    sys.stdout.write(f"{rewrite_report(root, night, client_safe=client_safe)}\n")
