"""Commands about the studio's machine: its figures and its health."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from flows.cli_say import HERE, Json, Root, out, print_json


def metrics(
    root: Root = HERE,
    port: Annotated[
        int | None,
        typer.Option(help="Serve them on this port until interrupted.", min=1, max=65535),
    ] = None,
    address: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
) -> None:
    """Print the studio's figures in Prometheus' format, or serve them."""
    from flows.metrics import metrics_text, serve
    from manifests.settings import load_studio

    if port is None:
        sys.stdout.write(metrics_text(load_studio(root)))
    else:
        serve(root, port=port, address=address, console=out())


def doctor(root: Root = HERE, as_json: Json = False) -> None:
    """Check this machine for a night, with a remedy for what is missing."""
    from flows.doctor import examine, print_findings

    findings = examine(root)
    if as_json:
        print_json({"checks": [finding.to_dict() for finding in findings]})
    else:
        print_findings(findings, out())
    raise typer.Exit(0 if all(finding.well for finding in findings) else 1)
