"""`rushes join` and `rushes keys`: other machines that render for the nights."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Annotated

import typer

from flows.cli_say import ROOT_VARIABLE, out


def _host_name(name: str) -> str:
    from manifests.hosts import HOST_NAME

    if not re.fullmatch(HOST_NAME, name):
        raise typer.BadParameter("letters, digits, dots and dashes, 63 at most")
    return name


def join(
    address: Annotated[str, typer.Argument(help="Where the nights are: tls://10.0.0.5:8786.")],
    root: Annotated[
        Path,
        typer.Option(
            "--root",
            envvar=ROOT_VARIABLE,
            help="The studio's folder, under the same path as there.",
        ),
    ] = Path(),
    name: Annotated[
        str,
        typer.Option(
            help="Of this host; each has another.",
            callback=_host_name,
            show_default="this machine's own",
        ),
    ] = socket.gethostname(),
    device: Annotated[
        str | None,
        typer.Option(help="auto, cpu, cuda or cuda:0; else as hosts.machines says."),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            help="A card to leave alone, by number or UUID; in place of what hosts.machines says."
        ),
    ] = None,
    drain: Annotated[
        float, typer.Option(min=0, help="Seconds that takes in work get to end when it leaves.")
    ] = 60.0,
    scratch: Annotated[
        Path | None, typer.Option(help="A folder on this machine's own disk; else a temporary one.")
    ] = None,
) -> None:
    """Render for the nights of another machine, until stopped; waits for them and joins again."""
    from flows.join import host_of
    from flows.join import join as keep
    from manifests.settings import load_studio

    host = host_of(
        load_studio(root),
        address=address,
        name=name,
        device=device,
        exclude=tuple(exclude or ()),
        scratch=scratch,
        drain=drain,
    )
    keep(host, console=out())


def keys(
    folder: Annotated[Path, typer.Argument(help="Where to put them; not in the shared folder.")],
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long they hold.")] = 730,
) -> None:
    """Make the keys with which hosts join a night; copy the folder to every machine of it."""
    from tasks.host_keys import make_keys

    made = make_keys(folder.absolute(), days=days)
    out().print(
        f"made {', '.join(path.name for path in made)} in {folder}; copy them to every host, "
        "readable by the user of Rushes alone, and name the folder in hosts: {tls: ...}",
        highlight=False,
        markup=False,
    )
