"""`rushes models`: what is usable here, and which models a LoRA fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from manifests.errors import BadInput
from manifests.licence import non_commercial_words
from manifests.lora_file import LoraFile, check_fit, read_lora
from manifests.model_layers import layers_of
from manifests.model_state import UNKNOWN_LICENCE, ModelState, model_states
from manifests.models import check_model
from manifests.refusal import Refusal
from manifests.settings import Studio, load_studio
from manifests.text import suggest
from reports.words import size_words


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraVerdict:
    """Whether a LoRA fits one model."""

    model: str
    fits: bool
    words: str
    """How much of it is used, or why it is not."""
    remedy: str | None = None


def look_at_models(root: Path) -> list[ModelState]:
    """Every model of the studio's list. Raises BadInput when studio.yaml cannot be read."""
    return model_states(load_studio(root).models)


def look_at_lora(
    root: Path, path: Path, *, model: str | None
) -> tuple[LoraFile, list[LoraVerdict]]:
    """A LoRA's file, and its verdict on one model or on each of the list.

    Raises BadInput where the file is no LoRA, or there is no model of that name.
    """
    studio = load_studio(root)
    if model is not None and model not in studio.models:
        refusal = Refusal(f"there is no model {model!r}", suggest(model, studio.models))
        raise BadInput([refusal.at(studio.settings_file, column="models", value=model)])
    try:
        lora = read_lora(path)
    except Refusal as refusal:
        raise BadInput([refusal.at(path)]) from None
    names = studio.models if model is None else (model,)
    return lora, [_verdict(studio, name, lora) for name in names]


def _verdict(studio: Studio, name: str, lora: LoraFile) -> LoraVerdict:
    try:
        fit = check_fit(lora, layers_of(check_model(name, studio.models[name])))
    except Refusal as refusal:
        return LoraVerdict(model=name, fits=False, words=refusal.problem, remedy=refusal.remedy)
    words = fit.words or f"changes {fit.matched} layers"
    return LoraVerdict(model=name, fits=True, words=words)


def lora_to_dict(lora: LoraFile, verdicts: Sequence[LoraVerdict]) -> dict[str, Any]:
    """Plain data, for `--json`."""
    return {
        "file": str(lora.path),
        "size": lora.size,
        "ranks": list(lora.ranks),
        "layers": len(lora.layers),
        "text_weights": lora.text,
        "made_for": lora.made_for,
        "base": lora.base,
        "triggers": lora.triggers,
        "licence": lora.licence,
        "models": [asdict(verdict) for verdict in verdicts],
    }


def print_models(states: Sequence[ModelState], console: Console) -> None:
    """A line each, then what is wrong and what to do about it."""
    table = Table(title="Models")
    for column in ("model", "family", "task", "from", "precision", "size", "licence"):
        table.add_column(column, justify="right" if column == "size" else "left")
    for state in states:
        mark = "[green]✓[/]" if state.well else "[red]✗[/]"
        table.add_row(
            f"{mark} {escape(state.name)}",
            state.family,
            state.task or "?",
            state.reference.value,
            state.precision,
            size_words(state.size),
            escape(state.licence),
        )
    console.print(table)
    for state in states:
        if state.problem is not None:
            told = f"[red]✗[/] {escape(state.name)}: {escape(state.problem)}"
            console.print(told, highlight=False, soft_wrap=True)
            console.print(f"    {state.remedy}", style="yellow", highlight=False, markup=False)
        if state.non_commercial:
            console.print(
                f"[yellow]![/] {escape(state.name)}: {escape(non_commercial_words(state.licence))}",
                highlight=False,
                soft_wrap=True,
            )


def print_lora(lora: LoraFile, verdicts: Sequence[LoraVerdict], console: Console) -> None:
    """The file in a few lines, then a line for each model."""
    ranks = ", ".join(map(str, lora.ranks))
    said = {
        "layers": f"{len(lora.layers)}, rank {ranks}",
        "size": size_words(lora.size),
        "made for": lora.base or lora.made_for or "not said",
        "trigger words": lora.triggers or "none in the file",
        "licence": lora.licence or UNKNOWN_LICENCE,
    }
    if lora.text:
        said["text encoder"] = f"{lora.text} weights, which are not used"
    for name, words in said.items():
        console.print(f"{name}: {words}", highlight=False, markup=False, soft_wrap=True)
    for verdict in verdicts:
        mark = "[green]✓[/]" if verdict.fits else "[red]✗[/]"
        told = f"{mark} {escape(verdict.model)}: {escape(verdict.words)}"
        console.print(told, highlight=False, soft_wrap=True)
        if verdict.remedy is not None:
            console.print(f"    {verdict.remedy}", style="yellow", highlight=False, markup=False)
