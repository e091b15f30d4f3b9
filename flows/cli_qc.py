"""What quality control says on the command line.

Commands that read the ledger and print it as a table, or with `--json` as one object.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli_say import HERE, Json, Root, out, print_json


def score(
    clip: Annotated[Path, typer.Argument(help="Any video file.")],
    source: Annotated[Path | None, typer.Option(help="Still that frame 0 should show.")] = None,
    family: Annotated[
        str,
        typer.Option(
            help="Whose thresholds to hold it against: default, or a model family, as in wan."
        ),
    ] = "default",
    static: Annotated[
        bool, typer.Option("--static", help="The shot is meant to stand still.")
    ] = False,
    root: Root = HERE,
    as_json: Json = False,
) -> None:
    """Measure a video file and judge it. Ends with 1 when it would not be approved."""
    from flows.score import print_score, score_clip

    card, verdict = score_clip(clip, source=source, family=family, static=static, root=root)
    if as_json:
        print_json({"scorecard": card.to_dict(), "verdict": verdict.to_dict()})
    else:
        print_score(card, verdict, out())
    raise typer.Exit(0 if verdict.decision.value == "approve" else 1)


def calibrate(
    root: Root = HERE,
    preset: Annotated[
        str | None, typer.Option(help="Only cells of this preset: two-stage, wan/two-stage.")
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Put the proposed limits in force; the old are kept.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what limits the approved clips speak for, and what they would have done."""
    from flows.calibrate import calibrate as look
    from flows.calibrate import print_calibration

    found = look(root, preset=preset, write=write)
    if as_json:
        print_json(found.to_dict())
    else:
        print_calibration(found, out())


def explain(
    shot: Annotated[str, typer.Argument(help="A shot, or sheet/shot.")],
    take: Annotated[int | None, typer.Argument(help="Number of the take; else the last.")] = None,
    root: Root = HERE,
    as_json: Json = False,
) -> None:
    """Show a take's verdict: every number, its limits, and where each limit came from."""
    from flows.explain import explain as tell
    from flows.explain import print_explanation

    found = tell(root, shot, take)
    if as_json:
        print_json(found)
    else:
        print_explanation(found, out())


def remedies(
    root: Root = HERE,
    preset: Annotated[
        str | None, typer.Option(help="Only this preset: two-stage, wan/two-stage.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what was tried after failures, by preset and class, and how often it helped."""
    from flows.remedies import print_remedies, remedy_rows

    rows = remedy_rows(root, preset=preset)
    if as_json:
        print_json({"remedies": rows})
    else:
        print_remedies(rows, out())
