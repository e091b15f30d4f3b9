"""One pass over a clip: every metric, constant memory, one scorecard."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from qc import (
    banding,
    black,
    blur,
    boiling,
    collapse,
    colour_drift,
    colours,
    conditioning,
    cut,
    dropped,
    faults,
    flicker,
    flow,
    frozen,
    identity,
    likeness,
    motion,
    saturation,
    ssim,
    threads,
    tracking,
    video,
    wobble,
)
from qc.faults import Expected, Found
from qc.flight import Flight, Landed, Tracked
from qc.frame import Frame, Image, prepare, single_frames
from qc.scorecard import Scorecard

if TYPE_CHECKING:
    from qc.lpips import LpipsBackbone

Tell = Callable[[int, int | None], None]
"""Told after each frame: frames measured, frames announced (None: unknown)."""


def measure(
    clip: Path,
    *,
    source: Path | None,
    expected: Expected | None,
    lpips: LpipsBackbone | None,
    tell: Tell | None = None,
) -> Scorecard:
    """The scorecard of a video file, decoded once.

    Without `source` the conditioning metrics are left out, and colours are held against frame 0.
    Without `lpips` its metrics are left out. A file that decodes in part is measured in part;
    what is wrong with it stands in `problems`.

    Raises:
        NotAVideo: `clip` cannot be decoded as video at all.
        UnsupportedColour: it is HDR, log or linear light by its tags.
        SourceMissing: `source` cannot be read.
    """
    with video.Video(clip) as opened:
        info = opened.info
        still = None
        if source is not None:
            still = conditioning.load_source(source, width=info.width, height=info.height)
        run = _Pass(source=still, lpips=lpips)
        for frame in opened.frames():
            run.add(frame)
            if tell is not None:
                tell(opened.decoded, info.announced)
        found = Found(
            frames=opened.decoded,
            width=info.width,
            height=info.height,
            fps=opened.fps,
            problems=opened.problems,
            variable_rate=opened.variable_rate,
        )
    decoder = f"{video.VERSION} (PyAV {version('av')}, {info.codec}, {info.pixel_format}, "
    return run.scorecard(found, expected=expected, versions={"decoder": f"{decoder}{info.colour})"})


def measure_frames(
    frames: Iterable[npt.NDArray[np.generic]],
    *,
    fps: float,
    source: Image | None = None,
    expected: Expected | None = None,
    lpips: LpipsBackbone | None = None,
    tell: Tell | None = None,
) -> Scorecard:
    """The scorecard of frames in memory: equal to that of a lossless file with these frames.

    `frames`: (H, W, 3) frames or (N, H, W, 3) chunks, uint8 0..255 or float 0..1.
    `source`: (H, W, 3) uint8, prepared as `conditioning.prepared` does.

    Raises:
        ValueError: frames of another shape or type, without a pixel, or that change size; a source
            of another shape or type; a rate that is none.
    """
    measuring = Measuring(fps=fps, source=source, expected=expected, lpips=lpips, tell=tell)
    for chunk in frames:
        measuring.add(chunk)
    return measuring.scorecard()


class Measuring:
    """`measure_frames` for frames that arrive chunk by chunk, as a decoder makes them."""

    def __init__(
        self,
        *,
        fps: float,
        source: Image | None = None,
        expected: Expected | None = None,
        lpips: LpipsBackbone | None = None,
        tell: Tell | None = None,
    ) -> None:
        """See `measure_frames`."""
        if not 0 < fps < math.inf:
            raise ValueError(f"{fps} frames a second: must be above 0")
        self._run = _Pass(source=source, lpips=lpips)
        self._fps = fps
        self._expected = expected
        self._tell = tell
        self._worst = 0.0

    @property
    def count(self) -> int:
        """Frames measured so far."""
        return self._run.count

    def add(self, chunk: npt.NDArray[np.generic]) -> None:
        """Measure a frame (H, W, 3) or a chunk of them. Raises ValueError."""
        for frame, broken in single_frames([chunk]):
            self._worst = max(self._worst, broken)
            self._run.add(frame)
            if self._tell is not None:
                self._tell(self._run.count, None)

    def scorecard(self) -> Scorecard:
        """Of all frames so far."""
        height, width = self._run.size
        found = Found(
            frames=self._run.count,
            width=width,
            height=height,
            fps=self._fps,
            non_finite=self._worst,
            problems=() if self._run.count else ("no frame was given",),
        )
        return self._run.scorecard(found, expected=self._expected, versions={})


class _Pass:
    """State of one pass: the frames in flight and one float or so per frame and metric."""

    def __init__(self, *, source: Image | None, lpips: LpipsBackbone | None) -> None:
        self.count = 0
        """Frames taken; the last of them may still be in flight."""
        self.size = (0, 0)
        self._source = source
        self._lpips = lpips
        self._flight = Flight(lpips=lpips)
        self._sharpness = blur.Sharpness()
        self._tracker: tracking.Tracker | None = None
        self._reference: npt.NDArray[np.float32] | None = None
        self._start: Future[_Start] | None = None
        self._luma: list[tuple[float, float]] = []
        self._difference: list[float] = []
        self._ssim: list[float] = []
        self._lpips_steps: list[float] = []
        self._cut: list[float] = []
        self._motion: list[float] = []
        self._flicker: list[tuple[float, flicker.Tiles]] = []
        self._boiling: list[tuple[float, float]] = []
        self._wobble = wobble.Wobble()
        self._steps = dropped.Steps()
        self._likeness: likeness.Likeness | None = None
        self._identity: identity.Identity | None = None
        self._banding = banding.Banding()
        self._drift: list[float] = []
        self._saturation: list[float] = []

    def add(self, rgb: Image) -> None:
        """Measure the next frame (H, W, 3) uint8, which nobody may change any more."""
        if self.count == 0:
            self._begin(rgb)
        elif rgb.shape[:2] != self.size:
            raise ValueError(f"frame {self.count} is {rgb.shape[:2]}, the first was {self.size}")
        self.count += 1
        for landed in self._flight.add(rgb):
            self._take(landed)

    def scorecard(
        self, found: Found, *, expected: Expected | None, versions: dict[str, str]
    ) -> Scorecard:
        """Everything measured so far as a scorecard."""
        for landed in self._flight.land():
            self._take(landed)
        start = _Start(alike=None, stairs=None)
        if self._start is not None:
            start = self._start.result()
        # It takes as long as all the others here; identity leaves a thread idle meanwhile.
        softer = threads.submit(self._sharpness.reduce, False)
        off = faults.compute(found, expected)
        metrics = faults.reduce(found, off)
        brightness = float(np.mean([mean for mean, _ in self._luma])) if self._luma else 0.0
        for part in (
            black.reduce(self._luma),
            frozen.reduce(self._difference),
            cut.reduce(self._cut),
            conditioning.reduce(start.alike),
            flicker.reduce(self._flicker, brightness=brightness),
            boiling.reduce(self._boiling),
            self._wobble.reduce(),
            saturation.reduce(self._saturation),
            colour_drift.reduce(self._drift),
            {} if self._likeness is None else self._likeness.reduce(),
            {} if self._identity is None else self._identity.reduce(),
            self._banding.reduce(start.stairs),
            self._steps.reduce(),
            collapse.reduce([left for left, _ in self._boiling]),
            softer.result(),
            motion.reduce(self._motion),
            ssim.reduce(self._ssim),
            _reduce_lpips(self._lpips_steps),
        ):
            metrics.update(part)
        return Scorecard(
            frames=found.frames,
            width=found.width,
            height=found.height,
            fps=found.fps,
            metrics=metrics,
            versions={**versions_of(lpips=self._lpips is not None), **versions},
            backbone="none" if self._lpips is None else self._lpips.name,
            problems=faults.told(found, off, expected),
            curves=self._curves(),
        )

    def _begin(self, rgb: Image) -> None:
        self.size = (rgb.shape[0], rgb.shape[1])
        if not rgb.size:
            raise ValueError(f"frames of {rgb.shape[1]}x{rgb.shape[0]}: no pixels to measure")
        if self._source is not None:
            conditioning.check(self._source, rgb)
            self._start = threads.submit(
                _begun, self._lpips is not None, self._source, rgb, lpips=self._lpips
            )

    def _take(self, landed: Landed) -> None:
        """Take the next frame that landed, and its step from the one before."""
        seen, step, pair = landed.seen, landed.step, None
        frame = seen.frame
        if landed.lpips is not None:
            self._lpips_steps.append(landed.lpips)
        self._luma.append(black.compute(frame))
        if seen.stairs is not None:
            self._banding.add(seen.stairs)
        if step is not None:
            self._difference.append(step.difference)
            self._cut.append(step.cut)
            if step.ssim is not None:
                self._ssim.append(step.ssim)
            if step.tracked is not None:
                pair = step.tracked.pair
                self._compensated(step.tracked)
        self._tracked(frame, pair)

    def _compensated(self, tracked: Tracked) -> None:
        self._motion.append(tracked.motion)
        self._flicker.append(tracked.flicker)
        self._boiling.append(tracked.boiling)
        self._wobble.add(tracked.rest)
        self._steps.add(tracked.pair)

    def _tracked(self, frame: Frame, pair: flow.Pair | None) -> None:
        if not frame.trackable:
            return
        if self._tracker is None or self._reference is None:
            self._tracker = tracking.Tracker(frame)
            first = frame if self._source is None else prepare(self._source, index=0)
            self._reference = colours.at_points(first.rgb, self._tracker.start)
            if likeness.measures(first):
                self._likeness = likeness.Likeness(first)
            if self._lpips is not None:
                self._identity = identity.Identity(first.rgb, self._tracker, lpips=self._lpips)
        elif pair is not None:
            self._tracker.step(pair)
            if self._likeness is not None:
                self._likeness.add(pair)
        if self._tracker.enough:
            now = colours.at_points(frame.rgb, self._tracker.now)
            both = colours.matched(self._reference, now, self._tracker.alive)
            if both is not None:
                followed = float(self._tracker.alive.mean())
                self._drift.append(colour_drift.compute(*both, followed=followed))
                if followed >= saturation.FOLLOWED:
                    self._saturation.append(saturation.compute(*both))
        self._sharpness.add(frame, pair)
        if self._identity is not None:
            self._identity.add(frame, self._tracker)

    def _curves(self) -> dict[str, tuple[float, ...]]:
        curves = {
            "luma": tuple(mean for mean, _ in self._luma),
            "motion": tuple(self._motion),
            "flicker": tuple(whole for whole, _ in self._flicker),
            "ssim": tuple(self._ssim),
            "lpips": tuple(self._lpips_steps),
            "drift": tuple(self._drift),
        }
        return {name: values for name, values in curves.items() if values}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Start:
    """The source, and frame 0 beside it."""

    alike: conditioning.Alike | None
    """None without a source."""
    stairs: banding.Stairs | None


def _begun(source: Image, rgb: Image, *, lpips: LpipsBackbone | None) -> _Start:
    return _Start(
        alike=conditioning.compute(source, rgb, lpips=lpips),
        stairs=banding.compute(prepare(source, index=0).rgb),
    )


def _reduce_lpips(steps: list[float]) -> dict[str, float]:
    if not steps:
        return {}
    # Imported here, where a backbone was given: measuring without LPIPS needs no torch.
    from qc.lpips import reduce

    return reduce(steps)


def versions_of(*, lpips: bool) -> dict[str, str]:
    """Name -> version of every metric's implementation, as scorecards carry them."""
    modules = (
        banding, black, blur, boiling, collapse, colour_drift, colours, conditioning, cut,
        dropped, faults, flicker, flow, frozen, identity, likeness, motion, saturation, ssim,
        tracking, wobble,
    )  # fmt: skip
    versions = {module.__name__.rsplit(".", 1)[1]: module.VERSION for module in modules}
    if lpips:
        # Imported here, where a backbone was given: measuring without LPIPS needs no torch.
        from qc.lpips import VERSION

        versions["lpips"] = f"{VERSION} (lpips {version('lpips')})"
    return {**versions, "flow": f"{flow.VERSION} (DIS medium, OpenCV {cv2.__version__})"}
