"""The night in a terminal: a table for a person, plain lines for a pipe."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from reports.lines import NightReport, ShotLine
from reports.take import ShotStatus
from reports.words import STATUS_WORDS, duration, night_name, percent, refused_line, verdict_line

_COLOURS = {
    ShotStatus.APPROVED: "green",
    ShotStatus.HELD: "yellow",
    ShotStatus.FAILED: "red",
    ShotStatus.WORKING: "cyan",
    ShotStatus.WAITING: "dim",
}


def print_summary(report: NightReport, console: Console | None = None) -> None:
    """Print the night's sentence, its shots and what waits for a person.

    On a terminal with colours and a table; otherwise one plain line a shot, without control
    characters whatever the prompts hold.
    """
    console = console or Console(highlight=False)
    if console.is_terminal:
        _print_rich(report, console)
    else:
        for line in summary_lines(report):
            console.print(Text(line), soft_wrap=True)


def summary_lines(report: NightReport) -> list[str]:
    """The summary as plain lines."""
    lines = [f"{night_name(report.night.id)}: {verdict_line(report)}", _numbers(report)]
    for shot in report.shots:
        lines.append(f"  {shot.shot.id}: {_status(shot)}")
    if report.needs:
        lines.append("needs a person:")
        lines += [f"  {need.told}" for need in report.needs]
    return [_printable(line) for line in lines]


def _print_rich(report: NightReport, console: Console) -> None:
    console.print(Text(_printable(verdict_line(report)), style="bold"))
    console.print(Text(_printable(_numbers(report)), style="dim"))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("shot", "status", "takes", "time", "delivered"):
        table.add_column(column, justify="right" if column in ("takes", "time") else "left")
    for shot in report.shots:
        name = "" if shot.delivery is None else shot.delivery.delivery.path.name
        table.add_row(
            Text(_printable(shot.shot.id)),
            Text(STATUS_WORDS[shot.status], style=_COLOURS[shot.status]),
            str(len(shot.takes)),
            duration(shot.seconds) if shot.seconds else "",
            Text(_printable(name)),
        )
    if report.shots:
        console.print(table)
    if report.needs:
        console.print(Text("\nNeeds a person", style="bold"))
    for need in report.needs:
        console.print(Text(_printable(f"  {need.told}")))


def _numbers(report: NightReport) -> str:
    headline = report.headline
    return (
        f"{headline.first_take} on the first take, {headline.after_retake} after a retake; "
        f"{headline.takes} takes, retake rate {percent(headline.retake_rate)}; "
        f"{duration(headline.wall_seconds)} wall, {duration(headline.machine_seconds)} machine"
        + (f"; {refused_line(report)}" if report.refused else "")
    )


def _status(shot: ShotLine) -> str:
    words = STATUS_WORDS[shot.status]
    count = len(shot.takes)
    words += f", {count} {'take' if count == 1 else 'takes'}"
    if shot.delivery is not None:
        words += f", {shot.delivery.delivery.path}"
        words += "" if shot.film else ", which is not there any more"
    return words


def _printable(text: str) -> str:
    """Without control characters: a prompt must not move the cursor or set the window's title."""
    return "".join(char if char.isprintable() else " " for char in text)
