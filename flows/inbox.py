"""`rushes inbox`: look once, or keep watch, and say what became of every dropped sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.refusals import told_refusals
from manifests.settings import Studio, load_studio
from tasks.inbox import Fate, Found, Inbox

LOOK_EVERY = 2.0
"""Seconds between looks while keeping watch: a sheet must be quiet for longer anyway."""
_STYLES = {Fate.TAKEN: "green", Fate.REFUSED: "red", Fate.TWICE: "dim"}


def scan_once(studio: Studio) -> list[Found]:
    """Look at every dropped file once, and tell people of what was refused. Raises OSError."""
    with told_refusals(studio) as refused:
        return Inbox(studio, refused=refused).scan()


def look_once(root: Path, console: Console) -> list[Found]:
    """Scan the inbox once and print what was found; returns it."""
    studio = load_studio(root)
    found = scan_once(studio)
    console.print(f"inbox {studio.inbox_dir}", highlight=False)
    if not found:
        console.print("nothing was dropped", style="dim")
    else:
        console.print(_table(found))
    return found


def keep_watch(root: Path, console: Console) -> None:
    """Take sheets as they are dropped, until interrupted. Each change of fate is one line."""
    from watchfiles import watch

    studio = load_studio(root)
    told: dict[str, str] = {}
    with told_refusals(studio) as refused:
        inbox = Inbox(studio, refused=refused)
        console.print(f"watching {studio.inbox_dir}; Ctrl-C ends it", highlight=False)
        looks = watch(
            studio.inbox_dir,
            recursive=False,
            force_polling=studio.inbox.poll or None,
            rust_timeout=int(1000 * LOOK_EVERY),
            yield_on_timeout=True,
        )
        tell(inbox.scan(), told, console)
        for _ in looks:
            tell(inbox.scan(), told, console)


def tell(found: Sequence[Found], told: dict[str, str], console: Console) -> None:
    """Print what changed since `told`, which is brought up to date."""
    for each in found:
        if told.get(each.name) != each.fate:
            line = f"{each.name}: {each.fate}, {each.words}"
            style = _STYLES.get(each.fate)
            console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)
    told.clear()
    told.update({each.name: each.fate.value for each in found})


def _table(found: Sequence[Found]) -> Table:
    table = Table(box=None, pad_edge=False)
    for head in ("sheet", "", "what became of it"):
        table.add_column(head, overflow="fold")
    for each in found:
        # NOTE: as Text, because names and words come from whoever dropped the file.
        fate = Text(each.fate, style=_STYLES.get(each.fate, ""))
        table.add_row(Text(each.name), fate, Text(each.words))
    return table
