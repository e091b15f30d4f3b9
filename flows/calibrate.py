"""`rushes calibrate`: what the ledger's approved clips say about limits; written only when told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from manifests.errors import BadInput, Fault
from manifests.files import write_atomic
from manifests.settings import Studio, load_studio
from manifests.text import suggest
from qc.calibration import FEWEST, can_learn
from qc.cells import CellProposal, Effect, LimitProposal, Measured, Rate, propose
from qc.studio_limits import CellLimits, StudioLimits, read_limits
from qc.thresholds import Limit, load_thresholds, table_version
from reports.errors import NotInLedger
from reports.ledger_scores import LedgerScores
from reports.lock import sole_writer
from tasks.limits import limits_path


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What was found, and what became of it."""

    measured: Measured | None
    """How the clips that count were measured; None: no clip was approved yet."""
    cells: tuple[CellProposal, ...]
    written: Path | None = None
    kept: Path | None = None
    """The file that held before."""
    dropped: tuple[str, ...] = ()
    """What was calibrated before and is not any more: other measurements, other defaults."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for `--json`."""
        return {
            "measured": None
            if self.measured is None
            else {
                "backbone": self.measured.backbone,
                "versions": dict(self.measured.versions),
            },
            "cells": [_cell_dict(cell) for cell in self.cells],
            "written": None if self.written is None else str(self.written),
            "kept": None if self.kept is None else str(self.kept),
            "dropped": list(self.dropped),
        }


def calibrate(root: Path, *, preset: str | None, write: bool) -> Calibration:
    """Look at every cell, or at those of `preset`; with `write` put the proposals in force.

    Raises:
        BadInput: there is no such preset in the ledger, or nothing that could be written.
        LedgerBusy: `write` while a night runs: it keeps the limits that it began with.
        NotInLedger: no night has run in this root.
    """
    studio = load_studio(root)
    if not write:
        return _look(studio, preset)
    if not studio.ledger_path.is_file():
        raise NotInLedger(f"{studio.ledger_path}: there is no ledger here; run `rushes run` first")
    with sole_writer(studio.ledger_path):
        return _write(studio, _look(studio, preset))


def _look(studio: Studio, preset: str | None) -> Calibration:
    with LedgerScores(studio.ledger_path, must_exist=True) as ledger:
        clips = ledger.judged_clips()
    # What is learned from is measured as the latest approved clip was.
    measured = next((clip.measured for clip in reversed(clips) if clip.approved), None)
    if measured is None:
        return Calibration(measured=None, cells=())
    learned = read_limits(limits_path(studio))
    cells = propose(
        clips,
        measured=measured,
        defaults=lambda cell: load_thresholds(cell.family),
        present=lambda cell: load_thresholds(
            cell.family,
            studio.thresholds,
            where=studio.settings_file,
            learned=None if learned is None else learned.learned(cell, measured=measured),
        ),
        fixed=tuple(studio.thresholds),
    )
    if preset is not None:
        names = {name for cell in cells for name in _names(cell)}
        if preset not in names:
            problem = f"the ledger holds no judged clip of a preset {preset!r}"
            fault = Fault(file=studio.ledger_path, problem=problem, remedy=suggest(preset, names))
            raise BadInput([fault])
        cells = [cell for cell in cells if preset in _names(cell)]
    return Calibration(measured=measured, cells=tuple(cells))


def _names(proposal: CellProposal) -> tuple[str, str]:
    """`wan/two-stage`, and `two-stage` as sheets say."""
    return proposal.cell.preset, proposal.cell.preset.rpartition("/")[2]


def _write(studio: Studio, found: Calibration) -> Calibration:
    path = limits_path(studio)
    now = datetime.now().astimezone()
    new = [_learned(cell, studio, date=f"{now:%Y-%m-%d}") for cell in found.cells if cell.limits]
    if found.measured is None or not new:
        most = max((cell.approved for cell in found.cells), default=0)
        problem = f"no cell has {FEWEST} approved clips measured alike (the most are {most})"
        remedy = "nothing is written: the limits in force go on; approve more clips first"
        raise BadInput([Fault(file=studio.ledger_path, problem=problem, remedy=remedy)])
    before = read_limits(path)
    rest = [] if before is None else [cell for cell in before.cells if not _is_among(cell, new)]
    dropped: list[str] = []
    if before is not None and before.idle(found.measured) is not None:
        dropped, rest = [cell.words for cell in rest], []
    limits = StudioLimits(
        measured=found.measured,
        defaults=table_version(),
        cells=tuple(sorted([*rest, *new], key=lambda cell: cell.cell)),
    )
    kept = None
    if before is not None:
        kept = path.with_name(f"{path.stem}-{now:%Y-%m-%d-%H%M%S}{path.suffix}")
        write_atomic(kept, path.read_bytes())
    write_atomic(path, limits.to_text())
    return Calibration(
        measured=found.measured,
        cells=found.cells,
        written=path,
        kept=kept,
        dropped=tuple(dropped),
    )


def _learned(proposal: CellProposal, studio: Studio, *, date: str) -> CellLimits:
    defaults = load_thresholds(proposal.cell.family)
    return CellLimits(
        cell=proposal.cell,
        date=date,
        clips=proposal.approved,
        limits={
            limit.proposed.metric: (limit.proposed.warn, limit.proposed.fail)
            for limit in proposal.limits
            if limit.clips >= FEWEST
            and limit.proposed.metric not in studio.thresholds
            and can_learn(defaults[limit.proposed.metric])
        },
    )


def _is_among(cell: CellLimits, new: Sequence[CellLimits]) -> bool:
    return any(other.cell == cell.cell for other in new)


def print_calibration(found: Calibration, console: Console) -> None:
    """Every cell with its limits before and after, and what both do to the ledger's clips."""
    if found.measured is None:
        console.print("No clip is approved in a night that has ended: the defaults hold.")
        return
    console.print(f"LPIPS backbone: {found.measured.backbone}", highlight=False, markup=False)
    for cell in found.cells:
        _print_cell(cell, console)
    for words in found.dropped:
        console.print(f"was idle and is not kept in force: {words}", highlight=False)
    if found.written is None:
        proposed = any(cell.limits for cell in found.cells)
        words = " `rushes calibrate --write` puts these in force." if proposed else ""
        console.print(f"Nothing was changed.{words}", highlight=False)
        return
    console.print(f"Written: {found.written}", highlight=False, soft_wrap=True)
    if found.kept is not None:
        console.print(f"The one before: {found.kept}", highlight=False, soft_wrap=True)


def _print_cell(cell: CellProposal, console: Console) -> None:
    heading = f"{cell.cell}: {cell.approved} approved, {cell.refused} rejected or held"
    if cell.set_aside:
        heading += f", {cell.set_aside} measured otherwise and set aside"
    console.print(heading, style="bold", highlight=False)
    if not cell.limits:
        console.print(f"  fewer than {FEWEST} approved clips: the defaults hold", style="dim")
        return
    table = Table()
    table.add_column("metric", no_wrap=True)
    for title in ("clips", "warn", "fail", "false alarms", "warnings", "caught"):
        table.add_column(title, justify="right")
    for limit in (each for each in cell.limits if each.clips):
        table.add_row(
            limit.present.metric,
            str(limit.clips),
            _moved(limit.present.warn, limit.proposed.warn),
            _moved(limit.present.fail, limit.proposed.fail),
            _change(limit.before.alarms, limit.after.alarms),
            _change(limit.before.warned, limit.after.warned),
            _change(limit.before.caught, limit.after.caught),
        )
    table.add_row(
        "[bold]all of them[/]",
        str(cell.approved),
        "",
        "",
        _change(cell.before.alarms, cell.after.alarms),
        _change(cell.before.warned, cell.after.warned),
        _change(cell.before.caught, cell.after.caught),
    )
    console.print(table)
    if cell.held_out is not None:
        console.print(
            "  false alarms on clips left out while learning (five parts in turn): "
            f"{_rate(cell.held_out)}, {cell.held_out.share or 0:.1%}",
            highlight=False,
        )


def _moved(before: float | None, after: float | None) -> str:
    if before is None:
        return ""
    if before == after:
        return f"{before:.4g}"
    return f"{before:.4g} → {'none' if after is None else f'{after:.4g}'}"


def _change(before: Rate, after: Rate) -> str:
    if before == after:
        return _rate(before)
    return f"{before.count} → {_rate(after)}"


def _rate(rate: Rate) -> str:
    return f"{rate.count} of {rate.of}" if rate.of else "-"


def _cell_dict(cell: CellProposal) -> dict[str, Any]:
    return {
        "preset": cell.cell.preset,
        "width": cell.cell.width,
        "height": cell.cell.height,
        "fps": cell.cell.fps,
        "approved": cell.approved,
        "refused": cell.refused,
        "set_aside": cell.set_aside,
        "limits": [_limit_dict(limit) for limit in cell.limits],
        "before": _effect_dict(cell.before),
        "after": _effect_dict(cell.after),
        "held_out": None if cell.held_out is None else _rate_dict(cell.held_out),
    }


def _limit_dict(limit: LimitProposal) -> dict[str, Any]:
    def bounds(one: Limit) -> dict[str, Any]:
        return {
            "warn": one.warn,
            "fail": one.fail,
            "warn_from": one.warn_from,
            "fail_from": one.fail_from,
        }

    return {
        "metric": limit.present.metric,
        "clips": limit.clips,
        "present": bounds(limit.present),
        "proposed": {"warn": limit.proposed.warn, "fail": limit.proposed.fail},
        "before": _effect_dict(limit.before),
        "after": _effect_dict(limit.after),
    }


def _effect_dict(effect: Effect) -> dict[str, Any]:
    return {
        "alarms": _rate_dict(effect.alarms),
        "warned": _rate_dict(effect.warned),
        "caught": _rate_dict(effect.caught),
    }


def _rate_dict(rate: Rate) -> dict[str, Any]:
    return {"count": rate.count, "of": rate.of, "share": rate.share}
