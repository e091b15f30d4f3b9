"""The night in the terminal: what is in work, what comes next, when it ends; once or live."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

NEXT, LAST = 8, 8
"""Shots that the live view lists of what comes and of what is over: a night may have thousands."""
_STYLES = {"approved": "green", "held": "yellow", "failed": "red"}
_OVER = ("approved", "held", "failed")


def watch_status(read: Callable[[], dict[str, Any]], console: Console, *, every: float) -> None:
    """Show what `read` says, again every few seconds, until the night ends or is interrupted."""
    found = read()
    with Live(night_view(found), console=console, auto_refresh=False, screen=False) as live:
        while found["state"] == "running":
            time.sleep(every)
            found = read()
            live.update(night_view(found), refresh=True)


def night_view(found: dict[str, Any]) -> RenderableType:
    """The night on one screen, however many shots it has."""
    parts: list[RenderableType] = [headline(found)]
    if found["in_work"]:
        parts.append(_in_work(found))
    parts += host_lines(found)
    parts += [Text(words, style="yellow") for words in found["cards"][-LAST:]]
    coming = found["next"]
    if coming:
        by_id = {shot["shot_id"]: shot["shot"] for shot in found["shots"]}
        names = [by_id[number] for number in coming[:NEXT]]
        more = f" and {len(coming) - NEXT} more" if len(coming) > NEXT else ""
        parts.append(Text(f"next: {', '.join(names)}{more}"))
    over = [shot for shot in found["shots"] if shot["status"] in _OVER]
    for shot in sorted(over, key=lambda shot: str(shot["since"]))[-LAST:]:
        line = Text(f"{shot['shot']}: ")
        line.append(shot["status"], style=_STYLES[shot["status"]])
        line.append(f", take {len(shot['takes'])}. {shot['last']}")
        parts.append(line)
    return Group(*parts)


def headline(found: dict[str, Any]) -> Text:
    """Night, counts, and the end that is expected against the hours that are left."""
    text = Text(f"night {found['night']}: {found['state']}", style="bold")
    if found["paused"]:
        text.append(", paused", style="yellow")
    counts: dict[str, int] = {}
    for shot in found["shots"]:
        counts[shot["status"]] = counts.get(shot["status"], 0) + 1
    told = ", ".join(f"{count} {status}" for status, count in counts.items())
    text.append(f"\n{told or 'no shots'}", style="not bold")
    if found["state"] == "running" and found["seconds_left"] is not None:
        text.append(f"\nabout {_span(found['seconds_left'])} of work left", style="not bold")
        if found["window_left"] is not None:
            text.append(f", {_span(found['window_left'])} until the hours end", style="not bold")
            if found["seconds_left"] > found["window_left"]:
                text.append(" (what does not fit waits for the next night)", style="yellow")
    return text


def host_lines(found: dict[str, Any]) -> list[Text]:
    """A line for each host that is here: its cards, and what they have."""
    lines = []
    for host in found.get("hosts", []):
        cards = [_card(card) for card in host["cards"]]
        state = "" if host["state"] == "here" else f" ({host['state']})"
        lines.append(Text(f"host {host['host']}{state}: {'; '.join(cards) or 'no cards'}"))
    return lines


def _card(card: dict[str, Any]) -> str:
    if card["away"]:
        return f"{card['name']} is used by others"
    return f"{card['name']} has {', '.join(card['takes']) or 'nothing'}"


def _in_work(found: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    for head in ("in work", "step", "for", "of about"):
        table.add_column(head, justify="right" if head in ("for", "of about") else "left")
    now = found["now"] or {}
    for take in found["in_work"]:
        step = ""
        if now.get("take_id") == take["take_id"]:
            step = f"{now['phase']} {now['stage']}/{now['stages']}, {now['step']}/{now['steps']}"
        table.add_row(
            Text(take["shot"]), Text(step), _span(take["seconds"]), _span(take["expected"])
        )
    return table


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{max(0, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
