"""`rushes score`: any video file, measured and judged."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from manifests.errors import BadInput, Fault
from manifests.families import FAMILIES
from manifests.settings import load_studio
from manifests.text import suggest
from qc.judge import judge
from qc.metrics import METRICS
from qc.scorecard import Level, Scorecard, Verdict
from qc.thresholds import load_thresholds
from tasks.ask_worker import ask_worker

DEFAULT = "default"
"""The limits of clips that no family rendered."""
_SHOWN = 20
"""Problems in the terminal: a size that changes midway is one of every frame behind it."""
_COLOURS = {Level.PASS: "green", Level.WARN: "yellow", Level.FAIL: "red"}


def score_clip(
    clip: Path, *, source: Path | None, family: str, static: bool, root: Path
) -> tuple[Scorecard, Verdict]:
    """Measure `clip` in a process of its own and judge it. Raises QCError, named, and BadInput for
    a family that there is not: it would be held against the default limits, silently."""
    if family not in (DEFAULT, *FAMILIES):
        problem = f"there is no model family {family!r}"
        remedy = suggest(family, (DEFAULT, *FAMILIES))
        place = Path("command line")
        raise BadInput([Fault(file=place, column="family", problem=problem, remedy=remedy)])
    studio = load_studio(root)
    thresholds = load_thresholds(family, studio.thresholds)
    # NOTE: Path.resolve raises RuntimeError on a link that leads to itself.
    order = {
        "clip": os.path.realpath(clip),
        "source": None if source is None else os.path.realpath(source),
        "weights_dir": None if studio.lpips_weights_dir is None else str(studio.lpips_weights_dir),
    }
    card = Scorecard.from_dict(ask_worker("score", order, threads=studio.threads or 0))
    return card, judge(card, thresholds=thresholds, expects_motion=not static)


def print_score(card: Scorecard, verdict: Verdict, console: Console) -> None:
    """The numbers against their limits, worst first, and the rest below."""
    console.print(
        f"{card.frames} frames, {card.width}x{card.height}, {card.fps:g} fps; "
        f"LPIPS backbone: {card.backbone}",
        highlight=False,
    )
    table = Table()
    for title in ("metric", "value", "limit", ""):
        table.add_column(title, justify="right" if title in ("value", "limit") else "left")
    judged = {finding.metric for finding in verdict.findings}
    for finding in verdict.findings:
        limit = "" if finding.limit is None else f"{finding.limit:.4g}"
        words = f"[{_COLOURS[finding.level]}]{escape(finding.words)}[/]"
        table.add_row(finding.metric, f"{finding.value:.4g}", limit, words)
    for name, value in sorted(card.metrics.items()):
        if name not in judged:
            title = METRICS[name].title if name in METRICS else ""
            table.add_row(name, f"{value:.4g}", "", f"[dim]{escape(title)}[/]")
    console.print(table)
    for problem in card.problems[:_SHOWN]:
        console.print(f"[red]✗[/] {escape(problem)}", highlight=False)
    if len(card.problems) > _SHOWN:
        console.print(f"[red]✗[/] and {len(card.problems) - _SHOWN} more (--json shows all)")
    console.print(f"{verdict.decision.value} ({verdict.thresholds})", style="bold")
