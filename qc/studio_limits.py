"""The studio's calibrated limits: the file that `rushes calibrate --write` makes.

Reading is strict and names every fault; which limits hold for a clip depends on how the clip was
measured: numbers of another version or another LPIPS backbone are never held against these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from manifests.errors import BadInput, Fault
from qc.calibration import can_learn, may_be_learned
from qc.cells import Cell, Measured
from qc.thresholds import Learned, load_thresholds, table_version

NAME = "thresholds.yaml"
"""In the studio's root."""
_HEAD = """\
# Limits learned from approved clips. Written by `rushes calibrate --write`, which keeps the file
# before; to move a limit by hand use `thresholds` in studio.yaml, which wins. Without this file the
# defaults hold.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellLimits:
    """What was learned for a cell."""

    cell: Cell
    date: str
    """Of the calibration, `2026-11-22`."""
    clips: int
    """Approved clips that it was learned from."""
    limits: Mapping[str, tuple[float | None, float | None]]
    """Metric -> warn, fail; None where the metric has no such limit."""

    @property
    def words(self) -> str:
        """`calibrated 2026-11-22 on 87 clips of wan/two-stage 832x480 at 16 fps`."""
        return f"calibrated {self.date} on {self.clips} clips of {self.cell}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudioLimits:
    """Everything that was learned in this studio, measured one way."""

    measured: Measured
    defaults: str
    """Version of the bundled limits that they were learned beside, and are bounded by."""
    cells: tuple[CellLimits, ...]

    def idle(self, measured: Measured) -> str | None:
        """Why none of them holds for clips that are measured so, or None: they hold."""
        difference = self.measured.differs(measured)
        if difference is not None:
            return f"measured with {difference}"
        if self.defaults != table_version():
            return f"learned beside the defaults of {self.defaults}, not of {table_version()}"
        return None

    def cell(self, cell: Cell) -> CellLimits | None:
        """What was learned for that cell."""
        return next((found for found in self.cells if found.cell == cell), None)

    def learned(self, cell: Cell, *, measured: Measured) -> Learned | None:
        """The limits for a clip of `cell` that was measured so; None where nothing was learned.

        Where they are idle none of them holds, and the words say why.
        """
        found = self.cell(cell)
        if found is None:
            return None
        why = self.idle(measured)
        if why is not None:
            return Learned(limits={}, words=f"not {found.words}: {why}")
        return Learned(limits=found.limits, words=found.words)

    def to_text(self) -> str:
        """The file; `read_limits` is its inverse."""
        data = {
            "defaults": self.defaults,
            "measured": {
                "backbone": self.measured.backbone,
                "versions": dict(sorted(self.measured.versions.items())),
            },
            "cells": [
                {
                    "preset": found.cell.preset,
                    "width": found.cell.width,
                    "height": found.cell.height,
                    "fps": found.cell.fps,
                    "date": found.date,
                    "clips": found.clips,
                    "limits": {
                        metric: {"warn": warn, "fail": fail}
                        for metric, (warn, fail) in found.limits.items()
                    },
                }
                for found in self.cells
            ],
        }
        text: str = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)
        return _HEAD + text


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Pair(_Strict):
    warn: float | None
    fail: float | None


class _Cell(_Strict):
    preset: str
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    fps: float = Field(gt=0)
    date: str
    clips: int = Field(gt=0)
    limits: dict[str, _Pair]


class _Measured(_Strict):
    backbone: str
    versions: dict[str, str]


class _File(_Strict):
    defaults: str
    measured: _Measured
    cells: list[_Cell]


def read_limits(path: Path) -> StudioLimits | None:
    """What was learned in the studio whose file is `path`; None where there is none.

    Raises BadInput with every fault when the file is there and cannot be used.
    """
    try:
        data = yaml.safe_load(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput([_fault(path, f"cannot be read ({error})")]) from None
    try:
        file = _File.model_validate(data)
    except ValidationError as error:
        raise BadInput([_item(path, item) for item in error.errors()]) from None
    faults = [fault for at, found in enumerate(file.cells) for fault in _moved(path, at, found)]
    # NOTE: beside other defaults the limits are idle, and what they were bounded by is not known.
    if faults and file.defaults == table_version():
        raise BadInput(faults)
    return StudioLimits(
        measured=Measured(versions=file.measured.versions, backbone=file.measured.backbone),
        defaults=file.defaults,
        cells=tuple(_cell(found) for found in file.cells),
    )


def _cell(found: _Cell) -> CellLimits:
    return CellLimits(
        cell=Cell(preset=found.preset, width=found.width, height=found.height, fps=found.fps),
        date=found.date,
        clips=found.clips,
        limits={metric: (pair.warn, pair.fail) for metric, pair in found.limits.items()},
    )


def _moved(path: Path, at: int, found: _Cell) -> Iterator[Fault]:
    """Limits of a cell that calibration cannot have written: verdicts would say that it had."""
    defaults = {limit.metric: limit for limit in load_thresholds(_cell(found).cell.family)}
    for metric, pair in found.limits.items():
        limit = defaults.get(metric)
        for key, value in (("warn", pair.warn), ("fail", pair.fail)):
            default = None if limit is None else getattr(limit, key)
            if value is None and default is None:
                continue
            column = f"cells.{at}.limits.{metric}.{key}"
            if limit is None or not can_learn(limit) or default is None or value is None:
                yield _fault(path, "is no limit that is learned", column)
            elif not may_be_learned(limit, value, default=default):
                words = f"{value:g} is farther from the default {default:g} than is ever learned"
                yield _fault(path, words, column)


def _item(path: Path, item: Any) -> Fault:
    return _fault(path, str(item["msg"]), column=".".join(map(str, item["loc"])) or None)


def _fault(path: Path, problem: str, column: str | None = None) -> Fault:
    remedy = (
        f"move {path.name} away for the defaults, and run `rushes calibrate --write` for new ones; "
        "what you set yourself belongs into `thresholds` of studio.yaml"
    )
    return Fault(file=path, column=column, problem=problem, remedy=remedy)
