"""The Morning report: one self-contained HTML page and one table, written atomically."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from manifests.files import write_atomic
from manifests.noise import level_words
from reports import charts, words
from reports.client_safe import client_safe as made_safe
from reports.lines import NightReport
from reports.media import PAGE_BUDGET, Shelf, shelve
from reports.page import reel, shot_views, wanted_media
from reports.table import write_table

TEMPLATES = Path(__file__).parent / "templates"

PAGE_NAME, TABLE_NAME = "index.html", "rushes.csv"


def write_morning(
    report: NightReport,
    folder: Path,
    *,
    client_safe: bool = False,
    budget: int = PAGE_BUDGET,
) -> Path:
    """Write `index.html` and `rushes.csv` into `folder`; returns the page's path.

    The page works from disk without a network. Strips and films are embedded until `budget`
    bytes are spent, then linked relative to `folder`. With `client_safe` prompts, machine names
    and paths are left out and nothing is linked. Raises OSError when `folder` cannot be written.
    """
    page = folder / PAGE_NAME
    write_table(made_safe(report) if client_safe else report, folder / TABLE_NAME)
    write_atomic(page, render_page(report, folder, client_safe=client_safe, budget=budget))
    return page


def render_page(
    report: NightReport, folder: Path, *, client_safe: bool = False, budget: int = PAGE_BUDGET
) -> str:
    """The page as text; `folder` is where it will lie, for its links."""
    shelf = shelve(wanted_media(report), folder=folder, budget=budget, link=not client_safe)
    if client_safe:
        report = made_safe(report)
    return _page(report, shelf, folder)


def _page(report: NightReport, shelf: Shelf, folder: Path) -> str:
    views = shot_views(report, shelf, folder=folder)
    style = (TEMPLATES / "morning.css").read_text(encoding="utf-8")
    script = (TEMPLATES / "morning.js").read_text(encoding="utf-8")
    template = _environment().get_template("morning.html.j2")
    return template.render(
        report=report,
        headline=report.headline,
        views=views,
        reel=reel(views),
        anchors={view.line.record.id: view for view in views},
        night_slices=charts.slices(report.headline.phases, whole=report.headline.machine_seconds),
        shelf=shelf,
        table_name=TABLE_NAME,
        # Our own files, not anyone's text: the page allows exactly these two by their hashes.
        style=Markup(style),  # noqa: S704
        script=Markup(script),  # noqa: S704
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


@cache
def _environment() -> Environment:
    # NOTE: it keeps what it compiled of a template, which costs more than to fill the page in.
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(words=words, charts=charts)
    environment.filters.update(duration=words.duration, percent=words.percent, level=level_words)
    return environment


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
