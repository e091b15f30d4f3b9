"""What `rushes doctor` asks of a machine that serves a studio: Prefect, ports, hours, folders."""

from __future__ import annotations

import http.client
import os
import tempfile
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from flows.finding import Finding
from flows.prefect_server import port_is_free
from flows.serving import serving
from manifests.errors import RushesError
from manifests.files import nearest_folder
from manifests.secret import without_user
from manifests.settings import Studio
from manifests.window import Window
from reports.errors import LedgerOnShare
from reports.ledger_reads import LedgerReads

PINS = {"prefect": ("3.8.8", "3.8.9"), "fastapi": ("0.139", "0.151"), "sqlalchemy": ("2.0", "2.1")}
"""First version that works, and first that does not; pyproject.toml says the same.

Outside them the server does not start, or starts and never schedules anything, silently.
"""
SKEW_SECONDS = 30.0
"""Clocks of this machine and of the disk's may differ by so much."""


def root_folder(studio: Studio) -> Finding:
    """Can it be written to, and has it settings?

    Of a root that was mistyped all would be well: it has no settings that could be wrong.
    """
    folder = nearest_folder(studio.root)
    well = os.access(folder, os.W_OK)
    words = str(studio.root) if studio.root.is_dir() else f"{studio.root}, which is not there yet"
    if not studio.settings_file.exists():
        words += ": without studio.yaml, so the defaults hold"
    remedy = "" if well else f"make {folder} writable, or give --root"
    return Finding(name="root", well=well, words=words, remedy=remedy)


def prefect_versions(_: Studio) -> Finding:
    """The versions that were measured to work together."""
    found, wrong = [], []
    for name, (first, beyond) in PINS.items():
        try:
            there = version(name)
        except PackageNotFoundError:
            wrong.append(f"{name} is missing")
            continue
        found.append(f"{name} {there}")
        if not _numbers(first) <= _numbers(there) < _numbers(beyond):
            wrong.append(f"{name} {there} is not {first} or later and below {beyond}")
    return Finding(
        name="Prefect",
        well=not wrong,
        words=", ".join(found),
        remedy=f"{'; '.join(wrong)}: run `make setup`" if wrong else "",
    )


def prefect_server(studio: Studio) -> Finding:
    """A server that answers, or a port for one."""
    name = "Prefect server"
    url = os.environ.get("PREFECT_API_URL")
    if url:
        problem = _silence(f"{without_user(url).rstrip('/')}/health")
        remedy = f"start it, or unset PREFECT_API_URL ({problem})" if problem else ""
        words = f"{without_user(url)}, not ours"
        return Finding(name=name, well=not problem, words=words, remedy=remedy)
    served = serving(studio.state_dir)
    if served is not None:
        words = f"{without_user(served.url)}, of `rushes serve` (process {served.pid})"
        return Finding(name=name, well=True, words=words)
    return _port(name, studio.prefect_port, "prefect_port")


def metrics_port(studio: Studio) -> Finding:
    """A port for the figures, where they are served."""
    name = "metrics"
    if studio.metrics_port is None:
        words = "not served: metrics_port is not set (see docs/monitoring.md)"
        return Finding(name=name, well=True, words=words)
    if serving(studio.state_dir) is not None:
        words = f"port {studio.metrics_port}, of `rushes serve`"
        return Finding(name=name, well=True, words=words)
    return _port(name, studio.metrics_port, "metrics_port")


def hours(studio: Studio) -> Finding:
    """The studio's hours as this machine understands them."""
    window = studio.window
    if window is None:
        words = "none: a night runs whenever it is started (see `window` in docs/guide.md)"
        return Finding(name="hours", well=True, words=words)
    now = datetime.now(UTC)
    on = window.now(now)
    when = "on until" if on is not None else "next"
    instant = window.next(now).opens if on is None else on.closes
    words = f"{window.start:%H:%M} to {window.end:%H:%M} {window.timezone.key}; {when} "
    return Finding(name="hours", well=True, words=words + _local(instant, window))


def clock(studio: Studio) -> Finding:
    """A clock that agrees with what is written already, and with the disk's."""
    here = datetime.now().astimezone()
    words = f"{here:%Y-%m-%d %H:%M} {here.tzname()}"
    problem = _later_night(studio, here) or _skew(studio.root)
    remedy = f"{problem}; set the clock (timedatectl set-ntp true)" if problem else ""
    return Finding(name="clock", well=not problem, words=words, remedy=remedy)


def inbox(studio: Studio) -> Finding:
    """A folder that sheets can be dropped into, and moved inside by one rename."""
    folders = [studio.inbox_dir, studio.accepted_dir, studio.rejected_dir]
    problem = next((words for folder in folders if (words := _unusable(folder))), "")
    disks = {folder.stat().st_dev for folder in folders if folder.is_dir()}
    if not problem and len(disks) > 1:
        problem = "accepted/ and rejected/ lie on another disk than the inbox: put them on one"
    return Finding(name="inbox", well=not problem, words=str(studio.inbox_dir), remedy=problem)


def folders(studio: Studio) -> Finding:
    """Every folder that a night writes to, also those that another user made."""
    wanted = [studio.takes_dir, studio.delivered_dir, studio.reports_dir, studio.state_dir]
    problems = [words for folder in wanted if (words := _unusable(folder))]
    words = ", ".join(folder.name for folder in wanted)
    return Finding(name="folders", well=not problems, words=words, remedy="; ".join(problems))


CHECKS = (prefect_versions, prefect_server, metrics_port, hours, clock, inbox, folders)


def _numbers(words: str) -> tuple[int, ...]:
    return tuple(int(part) for part in words.split(".")[:3] if part.isdigit())


def _silence(url: str) -> str:
    """Why nobody answers there; empty where somebody does."""
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - the user's own address
            return ""
    except urllib.error.HTTPError:
        return ""  # it asks for a password, say: it is there
    except (OSError, ValueError, http.client.HTTPException) as error:
        return str(getattr(error, "reason", error))


def _port(name: str, port: int, setting: str) -> Finding:
    well = port_is_free(port)
    remedy = "" if well else f"another program listens there: set {setting} to a free port"
    return Finding(name=name, well=well, words=f"port {port}", remedy=remedy)


def _local(instant: datetime, window: Window) -> str:
    there = instant.astimezone(window.timezone)
    return f"{there:%A %Y-%m-%d %H:%M} ({there.tzname()})"


def _later_night(studio: Studio, now: datetime) -> str:
    if not studio.ledger_path.exists():
        return ""
    try:
        with LedgerReads(studio.ledger_path) as ledger:
            nights = ledger.nights()
    except LedgerOnShare:
        return ""  # another check's
    except RushesError as error:
        return str(error)
    if nights and nights[-1].started > now:
        return f"night {nights[-1].id} began at {nights[-1].started:%Y-%m-%d %H:%M} UTC, after now"
    return ""


def _skew(root: Path) -> str:
    """How far the disk's clock is from ours: a share's file times come from its server."""
    try:
        with tempfile.NamedTemporaryFile(dir=root, prefix=".doctor-") as file:
            file.write(b"?")
            file.flush()
            behind = time.time() - os.fstat(file.fileno()).st_mtime
    except OSError:
        return ""  # the root itself is another check's
    if abs(behind) <= SKEW_SECONDS:
        return ""
    return f"the clock of the disk that holds the root differs by {behind:.0f} s"


def _unusable(folder: Path) -> str:
    """Why nothing can be written there; a folder that is not there yet will be made."""
    there = nearest_folder(folder)
    if not there.is_dir():
        return f"{there} is no folder: move it away"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"{there} cannot be written to: give this user the right"
    return ""
