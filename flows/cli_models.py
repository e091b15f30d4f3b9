"""`rushes models` on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli_say import HERE, Json, Root, out, print_json


def models(
    root: Root = HERE,
    lora: Annotated[
        Path | None, typer.Option("--lora", help="A LoRA: which of the models does it fit?")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="With --lora: hold it against this one alone.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the models, with licences and faults. Ends with 1 when one cannot be loaded.

    With --lora: which of them a LoRA fits; ends with 1 when it fits none.
    """
    if lora is not None:
        raise typer.Exit(_lora(root, lora, model=model, as_json=as_json))
    if model is not None:
        raise typer.BadParameter("goes with --lora; without it all models are listed")
    raise typer.Exit(_models(root, as_json=as_json))


def _models(root: Path, *, as_json: bool) -> int:
    from flows.models import look_at_models, print_models

    states = look_at_models(root)
    if as_json:
        print_json({"models": [state.to_dict() for state in states]})
    else:
        print_models(states, out())
    return 0 if all(state.well for state in states) else 1


def _lora(root: Path, path: Path, *, model: str | None, as_json: bool) -> int:
    from flows.models import look_at_lora, lora_to_dict, print_lora

    file, verdicts = look_at_lora(root, path, model=model)
    if as_json:
        print_json(lora_to_dict(file, verdicts))
    else:
        print_lora(file, verdicts, out())
    return 0 if any(verdict.fits for verdict in verdicts) else 1
