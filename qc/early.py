"""An early look: is a take certainly lost, seen in what its first stage left?

Two things are looked at: the *colours* of the whole picture, latents turned into colours without a
decode (a pixel for each 8 x 8 or so, a picture for each latent frame, no texture), and the *frames*
of a part of it, decoded as the clip will be (the part that changes most, so that where it stands
still all does). Each metric is that of clips where it can be, with limits of its own:

* `black`: share of pictures that are dark: of the colours those with 99 % of their luma at 40 or
  less and a mean of at most 16 (they are wrong by up to a dozen levels), of the frames those with
  99 % at 32 or less; the smaller share where both are there, 0..1. Absent for a night scene: a
  source that is dark and yet not black to `qc.black`.
* `frozen`: share of steps between frames of mean absolute difference <= .4 levels with no part
  that plainly moves, 0..1. More than the .255 of `qc.frozen`: these frames are of the part that
  moves most, and a later stage still takes noise out of them.
* `cut`: that of `qc.cut`, over the frames.
* `colour_drift`: that of `qc.colour_drift`, over at most 24 of the frames.
* `conditioning_ssim`: that of `qc.conditioning`, frame 0 and the source cut to the same part.
* `conditioning_match`: correlation of the first colours' luma with that of the source at this
  size, -1..1. Absent without a source, and for one of a single tone.
* `excess_chroma`: how much more colour the later colours have than the source, levels: mean of
  |R - m| + |G - m| + |B - m| over 2, m the mean of the three. Absent without a source.

and two more that fail nothing, to choose among candidates by:

* `step`: median difference of the steps of the colours, levels: how much it moves. The first step
  is left out where there are others: video VAEs have the first frame alone in its latent frame.
* `flicker`: sqrt(mean((second difference of the colours' mean luma)^2) / 6) / max(mean luma, 64).

Without frames (no room for the VAE) only the metrics of the colours are there, and the other way
round. Limits are in `early.yaml`. They are far beyond those for clips: a take is stopped by them
without anybody having seen it, so they name only what no later stage has mended. Torch-free.
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

from qc import black, cut, frozen
from qc.conditioning import load_source
from qc.frame import Frame, Image, prepare, single_frames
from qc.measure import measure_frames
from qc.scorecard import Decision, FailureClass, Finding, Level, Verdict

VERSION = "3"
Pictures = npt.NDArray[np.floating[Any]]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom, as shares of the frame's width and height."""
_TABLE = Path(__file__).with_name("early.yaml")
_AS_CLIPS = ("colour_drift", "conditioning_ssim")
_TRACKED = 24
"""Frames: colours are followed through at most so many, evenly; flow is what takes its time."""
_STILL = 0.4
_BLACK = 32.0
_DARK_PEAK, _DARK_MEAN = 40.0, 16.0
_CELL = 8
"""Pixels of a latent pixel, or so."""
_ONE_TONE = 2.0
"""Levels: a picture whose luma spreads less has no layout to compare."""
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
    *,
    colours: Pictures | None,
    frames: Pictures | None = None,
    box: Box = (0.0, 0.0, 1.0, 1.0),
    source: Path | None,
) -> dict[str, float]:
    """The metrics of the module; only what can be measured.

    Args:
        colours: (T, h, w, 3), RGB, 0..1, of the whole picture; None: not known.
        frames: (F, H, W, 3), RGB, 0..1, decoded, of the part `box`; None: not decoded.
        box: where that part lies.
        source: the still that the take begins with; None for text alone.

    Raises:
        SourceMissing: the source cannot be read.
        ValueError: pictures of another shape or type.
    """
    still = None if source is None else _still(source, colours=colours, frames=frames, box=box)
    metrics = {} if colours is None else _of_colours(colours, still)
    if frames is not None and len(frames):
        decoded = _of_frames(frames, box, still)
        decoded["black"] = min(decoded["black"], metrics.get("black", 1.0))
        metrics |= decoded
    if still is not None and _is_night(prepare(still, index=0)):
        metrics.pop("black", None)
    return metrics


def _still(
    source: Path, *, colours: Pictures | None, frames: Pictures | None, box: Box
) -> Image | None:
    """The source at the size of the clip; None where nothing is there to hold against it.

    Raises SourceMissing.
    """
    if frames is not None:
        left, top, right, bottom = box
        height, width = frames.shape[1] / (bottom - top), frames.shape[2] / (right - left)
    elif colours is not None:
        height, width = _CELL * colours.shape[1], _CELL * colours.shape[2]
    else:
        return None
    return load_source(source, width=round(width), height=round(height))


def _of_frames(pictures: Pictures, box: Box, still: Image | None) -> dict[str, float]:
    """As clips are measured, on a part of the picture, with the still cut to the same part."""
    part = None if still is None else _part(still, box, *pictures.shape[1:3])
    # A rate is only for metrics that are not looked at here.
    thinned = pictures[:: -(-len(pictures) // _TRACKED)]
    card = measure_frames([thinned], fps=1.0, source=part)
    metrics = {name: card.metrics[name] for name in _AS_CLIPS if name in card.metrics}
    frames = _frames(pictures)
    shapes = [cut.look(frame) for frame in frames]
    metrics |= cut.reduce([cut.compute(*pair) for pair in pairwise(shapes)])
    still_steps = [_is_still(*pair) for pair in pairwise(frames)]
    if still_steps:
        metrics["frozen"] = float(np.mean(still_steps))
    metrics["black"] = float(np.mean([_brightest(frame) <= _BLACK for frame in frames]))
    return metrics


def _part(still: Image, box: Box, height: int, width: int) -> Image:
    """The `height` x `width` pixels of the still that lie at `box`."""
    left, top, _, _ = box
    y = min(round(top * still.shape[0]), still.shape[0] - height)
    x = min(round(left * still.shape[1]), still.shape[1] - width)
    return np.ascontiguousarray(still[y : y + height, x : x + width])


def _of_colours(pictures: Pictures, still: Image | None) -> dict[str, float]:
    frames = _frames(pictures)
    if not frames:
        return {}
    metrics = {"black": float(np.mean([_dark(frame) for frame in frames]))}
    steps = [frozen.compute(*pair) for pair in pairwise(frames)]
    if steps:
        metrics["step"] = float(np.median(steps[1:] or steps))
    if len(frames) > 2:
        metrics["flicker"] = _flicker(frames)
    if still is not None:
        size = (pictures.shape[2], pictures.shape[1])
        small = cv2.resize(still, size, interpolation=cv2.INTER_AREA)
        first = prepare(np.asarray(small, np.uint8), index=0)
        match = _correlation(first.plane, frames[0].plane)
        if match is not None and float(first.plane.std()) >= _ONE_TONE:
            metrics["conditioning_match"] = match
        colour = float(np.mean([_chroma(frame) for frame in frames[1:] or frames]))
        metrics["excess_chroma"] = colour - _chroma(first)
    return metrics


def _is_night(still: Frame) -> bool:
    """Whether a clip of this still is rightly dark, and would not be called black."""
    return _dark(still) and still.peak > black.PEAK


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


def _is_still(before: Frame, after: Frame) -> bool:
    small = frozen.compute(before, after) <= _STILL
    return small and not frozen.part_moves(before, after)


def _frames(pictures: Pictures) -> list[Frame]:
    single = enumerate(single_frames([pictures]))
    return [prepare(image, index=index) for index, (image, _) in single]


def _dark(frame: Frame) -> bool:
    return _brightest(frame) <= _DARK_PEAK and frame.mean <= _DARK_MEAN


def _brightest(frame: Frame) -> float:
    """Luma, 0..255, that 99 % of the pixels do not exceed."""
    return float(np.quantile(frame.luma, 0.99))


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
