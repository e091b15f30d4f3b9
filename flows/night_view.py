"""The night in the terminal: what is in work, what comes next, when it ends; once or live."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

NEXT = 8
"""Shots that are named of those that come."""
LEAST = 2
"""Lines that each list has at least on a screen that is too small for all of them."""
_STYLES = {"approved": "green", "held": "yellow", "failed": "red"}
_OVER = ("approved", "held", "failed")


def watch_status(read: Callable[[], dict[str, Any]], console: Console, *, every: float) -> None:
    """Show what `read` says, again every few seconds, until the night ends or is interrupted."""
    found = read()
    # NOTE: what is higher than the screen is cut at its end, so the view is made to fit.
    with Live(night_view(found, console.height), console=console, auto_refresh=False) as live:
        while found["state"] == "running":
            time.sleep(every)
            found = read()
            live.update(night_view(found, console.height), refresh=True)


def night_view(found: dict[str, Any], height: int = 50) -> RenderableType:
    """The night on one screen of `height` lines, however many shots, cards and hosts it has."""
    top = [headline(found), *_next_line(found)]
    over = sorted(
        (shot for shot in found["shots"] if shot["status"] in _OVER),
        key=lambda shot: str(shot["since"]),
    )
    hosts, news = found.get("hosts", []), found["cards"]
    # Behind each table stands how many it leaves out, before it what its columns are.
    room = height - 1 - sum(str(line).count("\n") + 1 for line in top)
    room -= 2 * bool(found["in_work"]) + 2 * bool(hosts)
    at_work, host_rows, said, last = _shares(
        [len(found["in_work"]), len(hosts), min(len(news), 8), min(len(over), 8)], room
    )
    parts: list[RenderableType] = [top[0]]
    if found["in_work"]:
        parts += _in_work(found, at_work)
    if hosts:
        parts += _host_table(hosts, host_rows)
    parts += [_line(Text(words, style="yellow")) for words in news[len(news) - said :]]
    parts += top[1:]
    parts += [_line(_over_words(shot)) for shot in over[len(over) - last :]]
    return Group(*parts)


def _shares(wishes: Sequence[int], room: int) -> list[int]:
    """Lines for each list: what it wishes for, or its part of the room, `LEAST` at least."""
    shares = [min(wish, LEAST) for wish in wishes]
    left = max(0, room - sum(shares))
    while left and shares != list(wishes):
        for index, wish in enumerate(wishes):
            if shares[index] < wish and left:
                shares[index] += 1
                left -= 1
    return shares


def _line(text: Text) -> Text:
    """On one line, cut where the screen ends."""
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _next_line(found: dict[str, Any]) -> list[Text]:
    coming = found["next"]
    if not coming:
        return []
    by_id = {shot["shot_id"]: shot["shot"] for shot in found["shots"]}
    names = ", ".join(by_id[number] for number in coming[:NEXT])
    more = f" and {len(coming) - NEXT} more" if len(coming) > NEXT else ""
    return [_line(Text(f"next{f' of {len(coming)}' if more else ''}: {names}{more}"))]


def _over_words(shot: dict[str, Any]) -> Text:
    text = Text(f"{shot['shot']}: ")
    text.append(shot["status"], style=_STYLES[shot["status"]])
    return text.append(f", take {len(shot['takes'])}. {shot['last']}")


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
                text.append("\nwhat does not fit waits for the next night", style="yellow not bold")
    return text


def _host_table(hosts: Sequence[dict[str, Any]], most: int) -> list[RenderableType]:
    """A line for each host that is here: what its cards do; those that are not all here first."""
    table = _table("host", "cards")
    for host in sorted(hosts, key=lambda host: (_all_here(host), host["host"]))[:most]:
        state = "" if host["state"] == "here" else f" ({host['state']})"
        table.add_row(Text(f"{host['host']}{state}"), _card_counts(host["cards"]))
    return [table, *_more(hosts, most, "hosts")]


def _all_here(host: dict[str, Any]) -> bool:
    return host["state"] == "here" and not any(card["away"] for card in host["cards"])


def host_lines(found: dict[str, Any]) -> list[RenderableType]:
    """Every host that is here, for a terminal that can be scrolled."""
    hosts = found.get("hosts", [])
    return _host_table(hosts, len(hosts)) if hosts else []


def _card_counts(cards: Sequence[dict[str, Any]]) -> Text:
    """`2 render, 1 idle, 1 used by others`."""
    away = sum(card["away"] for card in cards)
    busy = sum(bool(card["takes"]) and not card["away"] for card in cards)
    counts = ((busy, "render"), (len(cards) - away - busy, "idle"), (away, "used by others"))
    return Text(", ".join(f"{count} {word}" for count, word in counts if count) or "no cards")


def _in_work(found: dict[str, Any], most: int) -> list[RenderableType]:
    """The takes that are rendered, those that are slowest against what was expected first."""
    hosts = found.get("hosts", [])
    places = {
        take: f"{host['host']} {card['name'].rpartition(' ')[2]}"
        for host in hosts
        for card in host["cards"]
        for take in card["takes"]
    }
    table = _table("in work", *(["on"] if hosts else []), "step", "for", "of about")
    late = sorted(found["in_work"], key=lambda take: -take["seconds"] / max(take["expected"], 1.0))
    for take in late[:most]:
        where = [Text(places.get(take["take_id"], ""))] if hosts else []
        slow = "yellow" if take["seconds"] > 2 * take["expected"] else ""
        table.add_row(
            Text(take["shot"]),
            *where,
            Text(_step(found["now"], take["take_id"])),
            Text(_span(take["seconds"]), style=slow),
            _span(take["expected"]),
        )
    return [table, *_more(late, most, "takes in work")]


def _step(now: dict[str, Any] | None, take_id: str) -> str:
    """Where a take is, as it was told last; only of one it is known."""
    if now is None or now.get("take_id") != take_id:
        return ""
    return f"{now['phase']} {now['stage']}/{now['stages']}, {now['step']}/{now['steps']}"


def _table(*heads: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for head in heads:
        right = head in ("for", "of about")
        table.add_column(
            head, justify="right" if right else "left", no_wrap=True, overflow="ellipsis"
        )
    return table


def _more(rows: Sequence[object], most: int, what: str) -> list[RenderableType]:
    return [Text(f"and {len(rows) - most} more {what}", style="dim")] if len(rows) > most else []


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{max(0, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
