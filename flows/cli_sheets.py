"""Commands about what is asked of a night: sheets, the inbox, presets, noise levels."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, TypeVar

import typer

from flows.cli_say import (
    BAD_INPUT,
    HERE,
    Json,
    Root,
    Sheets,
    err,
    out,
    print_faults,
    print_json,
    read_sheets,
    refuse,
)

E = TypeVar("E", bound=StrEnum)


def check(sheets: Sheets, root: Root = HERE, as_json: Json = False) -> None:
    """Read sheets and name every fault at once; start nothing."""
    found = read_sheets(sheets, root)
    faults = [fault for sheet in found for fault in sheet.faults]
    shots = sum(len(sheet.shots) for sheet in found)
    warned = [(shot, words) for sheet in found for shot in sheet.shots for words in shot.warnings]
    if as_json:
        told = [{"shot": shot.id, "row": shot.row, "words": words} for shot, words in warned]
        print_json({"shots": shots, "faults": [f.to_dict() for f in faults], "warnings": told})
    elif faults:
        print_faults(faults)
    else:
        from reports.words import shot_count

        out().print(f"{shot_count(shots)}, no fault.", highlight=False)
    for shot, words in () if as_json else warned:
        line = f"! row {shot.row} ({shot.id}): {words}"
        err().print(line, style="yellow", highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(BAD_INPUT if faults else 0)


def plan(
    sheets: Sheets,
    root: Root = HERE,
    card_gb: Annotated[
        float | None,
        typer.Option(
            "--card-gb",
            help="Plan for a card of that many GiB instead of those here.",
            min=1,
            max=4096,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what a night would do: order, stages, start sigmas, times, memory, disk, refusals."""
    from flows.show import print_plan
    from manifests.settings import load_studio
    from reports.ledger_reads import LedgerReads
    from tasks.plan import make_plan, with_disk, with_memory

    studio = load_studio(root)
    found = read_sheets(sheets, root)
    if studio.ledger_path.exists():
        with LedgerReads(studio.ledger_path) as ledger:
            made = make_plan(found, studio=studio, ledger=ledger)
    else:
        made = make_plan(found, studio=studio, ledger=None)
    made = with_disk(with_memory(made, studio, card_gb=card_gb), studio)
    if as_json:
        print_json(made.to_dict())
    else:
        print_plan(made, out(), zone=studio.zone)
        if not studio.settings_file.exists():
            words = f"no studio.yaml in {studio.root}: the defaults hold"
            out().print(words, style="dim", highlight=False, markup=False)
    raise typer.Exit(BAD_INPUT if made.refused else 0)


def inbox(
    root: Root = HERE,
    watch: Annotated[bool, typer.Option("--watch", help="Keep watch until interrupted.")] = False,
    as_json: Json = False,
) -> None:
    """Take whole, good sheets from the inbox; put bad ones aside with every fault in words."""
    from flows.inbox import keep_watch, look_once

    if watch:
        keep_watch(root, out())
    elif as_json:
        print_json({"sheets": [each.to_dict() for each in look_once(root, err())]})
    else:
        look_once(root, out())


def presets(root: Root = HERE, as_json: Json = False) -> None:
    """List the presets with their stages."""
    from flows.show import print_rows
    from flows.status import preset_rows

    rows = preset_rows(root)
    if as_json:
        print_json({"presets": rows})
    else:
        print_rows("Presets", rows, out())


def _member(kind: type[E], name: str, what: str) -> E:
    """The member of that name; otherwise the command is refused."""
    try:
        return kind(name)
    except ValueError:
        refuse(f"no {what} {name!r}; there are {', '.join(kind)}")


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
        refuse(str(error))
    if as_json:
        print_json({"sigmas": [float(level) for level in found]})
    else:
        out().print(" ".join(f"{level:.4f}" for level in found), highlight=False)
