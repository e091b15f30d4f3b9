"""Small drawings as plain numbers; the templates put them into inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from qc.scorecard import Finding, Level
from reports.timing import PhaseSeconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A number against its limit: the limit stands at 50 of 100, worse is longer."""

    width: float
    """0..100; twice the limit and more is 100."""
    level: Level


@dataclass(frozen=True, slots=True, kw_only=True)
class Spark:
    """A curve in a box of 100 x 24, first value left, larger values up."""

    points: str
    """For `<polyline points>`."""
    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One phase in a bar of time."""

    phase: str
    kind: str
    """CSS class: `load`, `encode`, `stage1` .. `stage4`, `decode`, `finish`."""
    seconds: float
    resumed: bool
    x: float
    """Start, 0..100."""
    width: float
    """0..100."""


def bar(finding: Finding) -> Bar:
    """The bar of a finding, from its severity (1 is the limit)."""
    severity = finding.severity
    share = 1.0 if math.isnan(severity) else min(max(severity, 0.0), 2.0) / 2
    return Bar(width=round(max(share * 100, 1.0), 2), level=finding.level)


def spark(values: Sequence[float]) -> Spark | None:
    """The curve of at least two finite values, else None. Non-finite ones are left out."""
    finite = [(index, value) for index, value in enumerate(values) if math.isfinite(value)]
    if len(finite) < 2:
        return None
    low, high = min(v for _, v in finite), max(v for _, v in finite)
    span = high - low
    right = len(values) - 1
    points = " ".join(
        f"{100 * index / right:.2f},{12 if not span else 22 - 20 * (value - low) / span:.2f}"
        for index, value in finite
    )
    return Spark(points=points, low=low, high=high, count=len(finite))


def slices(phases: Sequence[PhaseSeconds], *, whole: float) -> tuple[Slice, ...]:
    """Phases laid end to end; `whole` seconds fill the bar. Phases without time are left out."""
    laid, x = [], 0.0
    for phase in phases:
        if phase.seconds <= 0 or whole <= 0:
            continue
        width = min(100 * phase.seconds / whole, 100.0)
        laid.append(
            Slice(
                phase=phase.phase,
                kind=_kind(phase.phase),
                seconds=phase.seconds,
                resumed=phase.resumed,
                x=round(x, 3),
                width=round(width, 3),
            )
        )
        x += width
    return tuple(laid)


def _kind(phase: str) -> str:
    name, _, number = phase.partition(" ")
    if name == "stage":
        return f"stage{(int(number) - 1) % 4 + 1}"
    return name
