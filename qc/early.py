"""An early look: is a take certainly lost, seen in small rough pictures of its first stage?

The pictures are latents turned into colours: a pixel for each 8 x 8 or so, a picture for each
latent frame (every fourth frame or so), no texture. Flow and texture say nothing there, so only
a few things are measured, each as its metric for clips does where it can:

* `black`: share of pictures with no luma over 40 and a mean of at most 16, 0..1. The colours are
  wrong by up to a dozen levels, so that the 20 of `qc.black` would find no black take. Absent
  where the source is as dark: a night scene is no failure.
* `frozen`: share of steps between pictures of mean absolute difference <= .255 levels, 0..1
  (`qc.frozen`). A step here is that of about four frames, and less than clips may have in one is
  no movement. The first step is left out where there are others: video VAEs have the first frame
  alone in its latent frame, and so in slightly other colours.
* `cut`: max over steps of (1 - histogram overlap, 4 x 4 x 4 bins) x min(1, (1 - rho) / .3), 0..1;
  rho is the correlation of the two lumas. As `qc.cut`, without flow and with bins for few pixels.
* `conditioning_match`: correlation of picture 0's luma with that of the source at this size,
  -1..1. Absent without a source, and for one of a single tone.
* `excess_chroma`: how much more colour the later pictures have than the source, levels: mean of
  |R - m| + |G - m| + |B - m| over 2, m the mean of the three. Absent without a source.

and two more that fail nothing, to choose among candidates by:

* `step`: median difference of the steps, levels: how much it moves.
* `flicker`: sqrt(mean((second difference of the mean luma)^2) / 6) / max(mean luma, 64).

Limits are in `early.yaml`. They are far beyond those for clips: a take is stopped by them without
anybody having seen it, so they name only what no later stage has mended. Torch-free.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import yaml
from pydantic import BaseModel, ConfigDict

from qc import frozen
from qc.conditioning import load_source
from qc.frame import Frame, prepare, single_frames
from qc.scorecard import Decision, FailureClass, Finding, Level, Verdict

VERSION = "1"
_TABLE = Path(__file__).with_name("early.yaml")
_BINS = 4
_OTHER = 0.3
_ONE_TONE = 2.0
"""Levels: a picture whose luma spreads less has no layout to compare."""
_DARK_PEAK, _DARK_MEAN = 40.0, 16.0
_FLOOR = 64.0
_MOVES = 0.5
"""Levels: less a step is next to no motion, whatever else is good."""


class _Limit(BaseModel):
    """One entry of `early.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    failure: FailureClass
    says: str
    above: float | None = None
    below: float | None = None

    @property
    def bound(self) -> float:
        """The limit itself, on whichever side it is."""
        bound = self.below if self.above is None else self.above
        assert bound is not None, "an entry has one of the two"
        return bound

    def crossed(self, value: float) -> bool:
        """Whether `value` is beyond it."""
        return value > self.bound if self.above is not None else value < self.bound


def measure_early(
    pictures: npt.NDArray[np.floating[Any]], *, source: Path | None
) -> dict[str, float]:
    """The metrics of the module over pictures (T, h, w, 3), RGB, 0..1; only what can be measured.

    Raises:
        SourceMissing: the source cannot be read.
        ValueError: pictures of another shape or type.
    """
    frames = [
        prepare(image, index=index) for index, (image, _) in enumerate(single_frames([pictures]))
    ]
    if not frames:
        return {}
    metrics: dict[str, float] = {}
    steps = [frozen.compute(*pair) for pair in pairwise(frames)]
    steps = steps[1:] or steps
    if steps:
        metrics["frozen"] = frozen.reduce(steps)["frozen"]
        metrics["step"] = float(np.median(steps))
        cuts = (_cut(*pair) for pair in pairwise(frames))
        metrics["cut"] = max(cuts)
    if len(frames) > 2:
        metrics["flicker"] = _flicker(frames)
    still = None
    if source is not None:
        height, width = frames[0].rgb.shape[:2]
        still = prepare(load_source(source, width=width, height=height), index=0)
        match = _correlation(still.plane, frames[0].plane)
        if match is not None and float(still.plane.std()) >= _ONE_TONE:
            metrics["conditioning_match"] = match
        later = frames[1:] or frames
        colour = float(np.mean([_chroma(frame) for frame in later]))
        metrics["excess_chroma"] = colour - _chroma(still)
    if still is None or not _dark(still):
        metrics["black"] = float(np.mean([_dark(frame) for frame in frames]))
    return metrics


def judge_early(metrics: Mapping[str, float], *, expects_motion: bool = True) -> Verdict:
    """RETAKE, with the class, for a take that is certainly lost; else APPROVE: render on.

    With `expects_motion` False (a static shot was asked for) stillness is right.
    """
    version, limits = _limits()
    findings = [
        _finding(name, metrics[name], limit)
        for name, limit in limits.items()
        if name in metrics and (expects_motion or limit.failure is not FailureClass.FROZEN)
    ]
    findings.sort(key=lambda finding: finding.level is not Level.FAIL)
    failure = findings[0].failure if findings else None
    return Verdict(
        decision=Decision.APPROVE if failure is None else Decision.RETAKE,
        failure=failure,
        findings=tuple(findings),
        thresholds=f"early {version}",
        versions={"early": VERSION},
    )


def rank_early(metrics: Mapping[str, float], verdict: Verdict) -> tuple[float, ...]:
    """Sort key over candidates of one take, smallest is best.

    Certainly lost, then next to no motion, then flicker and misfit to the source together:
    flicker in units of .01, misfit (1 - match) in units of .1.
    """
    flicker = metrics.get("flicker", 0.0) / 0.01
    misfit = (1 - metrics.get("conditioning_match", 1.0)) / 0.1
    return (
        float(verdict.failure is not None),
        float(metrics.get("step", 0.0) < _MOVES and "step" in metrics),
        flicker + misfit,
    )


def _finding(name: str, value: float, limit: _Limit) -> Finding:
    lost = limit.crossed(value)
    side = "at most" if limit.above is not None else "at least"
    told = f"{value:.3g}, {side} {limit.bound:g}"
    return Finding(
        metric=name,
        value=value,
        level=Level.FAIL if lost else Level.PASS,
        limit=limit.bound,
        failure=limit.failure if lost else None,
        words=f"{limit.says} after its first stage: {told}" if lost else f"early {name} {told}",
        severity=1e3 if lost else 0.0,
    )


def _chroma(frame: Frame) -> float:
    rgb = frame.rgb.astype(np.float32)
    return float(np.abs(rgb - rgb.mean(axis=-1, keepdims=True)).sum(axis=-1).mean() / 2)


def _dark(frame: Frame) -> bool:
    return frame.peak <= _DARK_PEAK and frame.mean <= _DARK_MEAN


def _cut(before: Frame, after: Frame) -> float:
    overlap = float(np.minimum(_histogram(before), _histogram(after)).sum())
    alike = _correlation(before.plane, after.plane)
    other = 0.0 if alike is None else min(1.0, max(0.0, 1 - alike) / _OTHER)
    return max(0.0, 1 - overlap) * other


def _histogram(frame: Frame) -> npt.NDArray[np.float32]:
    counts = cv2.calcHist([frame.rgb], [0, 1, 2], None, [_BINS] * 3, [0, 256] * 3)
    return np.asarray(counts / frame.luma.size, np.float32)


def _correlation(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> float | None:
    """Of two planes, -1..1; None when both are of one tone, 0 when one of them is."""
    spreads = float(first.std()), float(second.std())
    if max(spreads) < _ONE_TONE:
        return None
    if min(spreads) < _ONE_TONE / 10:
        return 0.0
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def _flicker(frames: list[Frame]) -> float:
    means = np.array([frame.mean for frame in frames])
    bends = np.diff(means, n=2)
    return float(np.sqrt(np.mean(bends**2) / 6) / max(float(means.mean()), _FLOOR))


@cache
def _limits() -> tuple[str, dict[str, _Limit]]:
    data = yaml.safe_load(_TABLE.read_text(encoding="utf-8"))
    version = str(data.pop("version"))
    return version, {name: _Limit.model_validate(entry) for name, entry in data.items()}
