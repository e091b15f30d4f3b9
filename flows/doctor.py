"""`rushes doctor`: is this machine ready for a night, and what to do where it is not."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from manifests.errors import RushesError
from manifests.model_state import model_state
from manifests.settings import Studio, load_studio

PACKAGES = ("torch", "diffusers", "transformers", "prefect", "av", "lpips", "opencolorio")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    name: str
    well: bool
    """False keeps a night from running, or from running as it should."""
    words: str
    remedy: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for `--json`."""
        return asdict(self)


def examine(root: Path) -> list[Finding]:
    """Look at everything a night needs. Raises BadInput when studio.yaml cannot be read."""
    studio = load_studio(root)
    checks: tuple[Callable[[Studio], Finding], ...] = (
        _python,
        _packages,
        _writable,
        _disk,
        *(partial(_model, name) for name in studio.models),
        _worker,
        _backbone,
        _encoder,
        _clock,
    )
    return [check(studio) for check in checks]


def print_findings(findings: list[Finding], console: Console) -> None:
    """One line each, the remedy below what is not well."""
    for finding in findings:
        mark = "[green]✓[/]" if finding.well else "[red]✗[/]"
        console.print(f"{mark} {finding.name}: {escape(finding.words)}", highlight=False)
        if finding.remedy:
            console.print(f"    {finding.remedy}", style="yellow", highlight=False, markup=False)


def _python(_: Studio) -> Finding:
    well = sys.version_info >= (3, 11)
    return Finding(
        name="python",
        well=well,
        words=platform.python_version(),
        remedy="" if well else "install Python 3.11 or later",
    )


def _packages(_: Studio) -> Finding:
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    remedy = f"missing: {', '.join(missing)}; run `make setup`" if missing else ""
    return Finding(name="packages", well=not missing, words=", ".join(found), remedy=remedy)


def _writable(studio: Studio) -> Finding:
    folder = studio.root
    while not folder.exists():
        folder = folder.parent
    well = os.access(folder, os.W_OK)
    return Finding(
        name="root",
        well=well,
        words=str(studio.root),
        remedy="" if well else f"make {folder} writable, or give --root",
    )


def _disk(studio: Studio) -> Finding:
    folder = studio.root
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 1e9
    well = free > studio.stop_disk_gb
    return Finding(
        name="disk",
        well=well,
        words=f"{free:.0f} GB free",
        remedy="" if well else f"free some: at least {studio.stop_disk_gb:g} GB are to stay free",
    )


def _model(name: str, studio: Studio) -> Finding:
    """One line each; `rushes models` says more."""
    state = model_state(name, studio.models[name])
    return Finding(
        name=f"model {name}",
        well=state.well,
        words=state.problem or f"{state.family}, whole; licence {state.licence}",
        remedy=state.remedy or "",
    )


def _worker(_: Studio) -> Finding:
    from tasks.ask_worker import ask_worker

    try:
        facts = ask_worker("doctor")
    except RushesError as error:
        return Finding(
            name="worker",
            well=False,
            words=str(error),
            remedy="run `python -m tasks.worker doctor` and mend what it says",
        )
    cards = ", ".join(
        f"{card['name']} ({card['free_bytes'] / 2**30:.0f} of "
        f"{card['total_bytes'] / 2**30:.0f} GiB free)"
        for card in facts["devices"]
    )
    words = f"torch {facts['torch']}, {cards or 'CPU only'}, {facts['threads']} threads"
    return Finding(name="worker", well=True, words=words)


def _backbone(studio: Studio) -> Finding:
    """LPIPS without trained weights works, and says so in every scorecard: no fault, a word."""
    if studio.lpips_weights_dir is None:
        return Finding(
            name="LPIPS weights",
            well=True,
            words="none configured: the seeded random backbone is used, named `uncalibrated`",
            remedy="for trained weights set lpips_weights_dir in studio.yaml (see docs/qc.md)",
        )
    well = studio.lpips_weights_dir.is_dir()
    return Finding(
        name="LPIPS weights",
        well=well,
        words=str(studio.lpips_weights_dir),
        remedy="" if well else "that folder does not exist; correct lpips_weights_dir",
    )


def _encoder(_: Studio) -> Finding:
    import av

    missing = [name for name in ("libx264", "ffv1") if name not in av.codecs_available]
    return Finding(
        name="video",
        well=not missing,
        words=f"PyAV {version('av')} with libx264 and ffv1",
        remedy=f"PyAV lacks {', '.join(missing)}; install its wheel from the index"
        if missing
        else "",
    )


def _clock(_: Studio) -> Finding:
    from datetime import datetime

    now = datetime.now().astimezone()
    return Finding(name="clock", well=True, words=f"{now:%Y-%m-%d %H:%M} {now.tzname()}")
