"""Tables for the terminal: faults, plans, presets, status."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from manifests.errors import Fault
from manifests.noise import level_words
from manifests.schedules import stage_sigmas
from manifests.stage import Expert, Noise, Stage, StageKind
from manifests.text import listed
from reports.words import size_words
from tasks.plan import Plan
from tasks.plan_line import PlanLine


def print_faults(faults: Sequence[Fault], console: Console) -> None:
    """Every fault with its place and its remedy."""
    for fault in faults:
        console.print(f"[red]✗[/] {escape(str(fault))}", highlight=False, soft_wrap=True)
    noun = "fault" if len(faults) == 1 else "faults"
    console.print(f"{len(faults)} {noun}.", style="bold", highlight=False)


def print_plan(plan: Plan, console: Console, *, zone: ZoneInfo | None = None) -> None:
    """The order, the stages of each shot, the estimates, and what is refused.

    Times of day are those of `zone`; None: of this machine.
    """
    if plan.lines:
        _print_order(plan, console, zone)
        _print_chains(plan, console)
        _print_words(plan, console)
    if plan.refused:
        print_faults(plan.refused, console)


def _print_order(plan: Plan, console: Console, zone: ZoneInfo | None) -> None:
    # Without bars, and on two lines: 80 columns hold a shot's name, its preset's and its times.
    title = f"Plan: {len(plan.open_lines)} of {len(plan.lines)} shots to do"
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    right = ("#", "about", "ends", "disk")
    for title in ("#", "shot", "status", "preset", "size", "about", "ends", "disk"):
        # What is too long all the same is broken, not cut: names are to be read and typed.
        table.add_column(title, justify="right" if title in right else "left", overflow="fold")
    for number, line in enumerate(plan.lines, start=1):
        table.add_row(
            str(number),
            escape(line.shot.id),
            line.status.value,
            escape(line.shot.recipe.preset.replace("/", "/\n")),
            _size(line),
            f"{duration(line.estimate.seconds)}\n{_range(line)}",
            "" if line.ends is None else f"{line.ends.astimezone(zone):%a\n%H:%M}",
            f"{line.disk_bytes / 1e6:.0f} MB",
        )
    console.print(table)


def _print_chains(plan: Plan, console: Console) -> None:
    """The stages of every shot, said once for all that have the same."""
    chains: dict[tuple[str, ...], set[str]] = {}
    for line in plan.lines:
        chain = (line.shot.recipe.preset, *stage_words(line))
        chains.setdefault(chain, set()).add(line.shot.id)
    for (preset, *stages), shots in chains.items():
        console.print(f"[bold]{escape(preset)}[/] ({escape(listed(shots))})", highlight=False)
        for words in stages:
            console.print(f"  {words}", highlight=False, markup=False)


def _print_words(plan: Plan, console: Console) -> None:
    """What a person should know of the shots, and what they take together."""
    for line in plan.open_lines:
        for words in () if line.memory is None else line.memory.words():
            console.print(f"{escape(line.shot.id)}: {escape(words)}", highlight=False)
    for line in plan.lines:
        for words in (*_order_words(line), *_still_words(line), *line.shot.snaps, *line.warnings):
            console.print(f"[yellow]![/] {escape(line.shot.id)}: {escape(words)}", highlight=False)
    for basis in sorted({line.estimate.basis for line in plan.open_lines}):
        console.print(f"times from {basis}", style="dim", highlight=False)
    console.print(
        f"One take each: {duration(plan.seconds)}, {size_words(plan.disk_bytes)} of "
        f"{size_words(plan.disk_free)} free.",
        highlight=False,
    )


def _range(line: PlanLine) -> str:
    """`(4 min .. 12 min)`: between which the time is expected to lie."""
    return f"({duration(line.estimate.low)} .. {duration(line.estimate.high)})"


def _order_words(line: PlanLine) -> list[str]:
    """What it comes after, why it is not rendered tonight, and that it misses its deadline."""
    if not line.is_open:
        return []
    after = [key.removeprefix(f"{line.manifest}/") for key in line.shot.after]
    start = (line.shot.start_from or "").removeprefix(f"{line.manifest}/")
    words = [
        f"starts from the last frame of {start}" if start else "",
        f"comes after {', '.join(after)}" if after and after != [start] else "",
        f"not tonight: {line.waits}" if line.waits else "",
        line.late or "",
    ]
    return [each for each in words if each]


def _still_words(line: PlanLine) -> list[str]:
    """What was done to the still that is not what its file says: the morning would be late."""
    source = line.shot.source
    return [] if source is None else [f"still: {note}" for note in source.notes]


def stage_words(line: PlanLine) -> list[str]:
    """A line for each stage: `1 renoise 12 steps cfg 3 denoise 1 euler/simple shift 3 from σ 1`.

    Candidates are told of behind stage 1. A shift only where there is one: the levels of other
    models are fixed. A split says where it stops, and with how many steps its schedule is laid
    out.
    """
    words = [
        f"{number} {stage_line(planned.stage, loras=_lora_names(planned.stage))}"
        for number, planned in enumerate(line.stages, start=1)
    ]
    candidates = line.shot.recipe.candidates
    return words if candidates == 1 else [f"{words[0]}, best of {candidates} seeds", *words[1:]]


def stage_line(stage: Stage, *, loras: Iterable[str]) -> str:
    """A stage in a line; `loras` are the names of its LoRAs as they are to be shown."""
    levels = stage_sigmas(stage)
    split = stage.kind is StageKind.SPLIT
    low, high = stage.cfg_interval
    words = [
        f"{stage.kind.value} {len(levels) - 1} steps",
        f"of {stage.steps}" if split else "",
        f"cfg {stage.cfg:g}",
        f"inside {low:g}..{high:g}" if (low, high) != (0.0, 1.0) and stage.cfg != 1.0 else "",
        "" if split else f"denoise {stage.denoise:g}",
        f"{stage.sampler.value}/{stage.schedule.value}",
        f"shift {stage.shift:g}" if stage.noise is Noise.FLOW else "",
        f"{stage.expert.value} expert" if stage.expert is not Expert.AUTO else "",
        *loras,
        f"from σ {level_words(levels[0], stage.noise)}",
        f"to {level_words(levels[-1], stage.noise)}" if split else "",
    ]
    return " ".join(word for word in words if word)


def _lora_names(stage: Stage) -> list[str]:
    return [f"{Path(lora.path).name}:{lora.strength:g}" for lora in stage.loras]


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3.2 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def print_rows(title: str, rows: Iterable[Mapping[str, Any]], console: Console) -> None:
    """Rows as a table; their keys are the columns."""
    table = Table(title=title)
    made = False
    for row in rows:
        if not made:
            for column in row:
                table.add_column(column)
            made = True
        table.add_row(*(escape(str(value)) for value in row.values()))
    console.print(table)


def _size(line: PlanLine) -> str:
    recipe = line.shot.recipe
    return f"{recipe.width}x{recipe.height}\n{recipe.frames} f @ {recipe.fps:g}"
