"""`rushes doctor`: is this machine ready for a night, and what to do where it is not."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from flows.doctor_hosts import hosts, ledger
from flows.doctor_own import OWN_CHECKS
from flows.doctor_studio import CHECKS, root_folder
from flows.finding import Finding, faulty
from manifests.errors import BadInput, RushesError
from manifests.files import nearest_folder
from manifests.model_state import model_state
from manifests.settings import Studio, load_studio
from qc.studio_limits import read_limits
from qc.trunk import HOW_TO_BRING
from tasks.limits import check_limits, limits_path

PACKAGES = ("rushes", "torch", "diffusers", "transformers", "prefect", "av", "lpips", "opencolorio")


def examine(root: Path) -> list[Finding]:
    """Look at everything a night needs. Raises BadInput when studio.yaml cannot be read."""
    studio = load_studio(root)
    checks: tuple[Callable[[Studio], Finding], ...] = (
        _python,
        _packages,
        root_folder,
        _disk,
        *(partial(_model, name) for name in studio.models),
        _worker,
        _backbone,
        _limits,
        _encoder,
        *OWN_CHECKS,
        *CHECKS,
        ledger,
        hosts,
    )
    return [check(studio) for check in checks]


def print_findings(findings: list[Finding], console: Console) -> None:
    """One line each, the remedy below what is not well."""
    for finding in findings:
        mark = "[green]✓[/]" if finding.well else "[red]✗[/]"
        console.print(f"{mark} {finding.name}: {escape(finding.words)}", highlight=False)
        for line in finding.remedy.splitlines():
            console.print(f"    {line}", style="yellow", highlight=False, markup=False)


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


def _disk(studio: Studio) -> Finding:
    free = shutil.disk_usage(nearest_folder(studio.root)).free / 1e9
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


@cache
def _facts(weights_dir: Path | None) -> dict[str, Any]:
    """What a worker says of itself; asked once, for it takes seconds."""
    from tasks.ask_worker import ask_worker

    order = {"weights_dir": None if weights_dir is None else str(weights_dir)}
    facts: dict[str, Any] = ask_worker("doctor", order)
    return facts


def _worker(studio: Studio) -> Finding:
    try:
        facts = _facts(studio.lpips_weights_dir)
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
    name = "LPIPS weights"
    try:
        found = _facts(studio.lpips_weights_dir)["lpips"]
    except RushesError:
        words = "not looked at: the worker does not start"
        return Finding(name=name, well=False, words=words, remedy="mend the worker first")
    if "error" in found:
        return Finding(name=name, well=False, words=found["error"], remedy=HOW_TO_BRING)
    words = f"{found['name']}; self-test {found['self_test']:.4f}"
    if studio.lpips_weights_dir is not None:
        return Finding(name=name, well=True, words=f"{words}, {studio.lpips_weights_dir}")
    words += ", as stored; no trained weights are configured, and every scorecard says so"
    remedy = f"for trained ones {HOW_TO_BRING}; limits learned before do not hold for them"
    return Finding(name=name, well=True, words=words, remedy=remedy)


def _limits(studio: Studio) -> Finding:
    """Limits must be readable; learned ones are idle where clips are measured otherwise by now."""
    name = "limits"
    try:
        check_limits(studio)
        learned = read_limits(limits_path(studio))
    except BadInput as error:
        return faulty(name, error.faults)
    if learned is None:
        return Finding(name=name, well=True, words="those that come with Rushes")
    words = "; ".join(cell.words for cell in learned.cells)
    try:
        now = _facts(studio.lpips_weights_dir)["lpips"].get("name")
    except RushesError:
        now = None
    # What no clip is measured with here is not asked: versions are told by the verdicts.
    why = None if now is None else learned.idle(replace(learned.measured, backbone=now))
    if why is not None:
        words = f"not in use, {why}"
        remedy = "the defaults hold until enough clips are approved: then rushes calibrate --write"
        return Finding(name=name, well=True, words=words, remedy=remedy)
    return Finding(name=name, well=True, words=words)


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
