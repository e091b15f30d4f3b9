"""Frames in flight: what a frame, and a pair of frames, says by itself, several at once.

Each frame, and each pair, is measured by one thread of `qc.threads`; they land in order, a few
frames behind the one that was given last. The numbers are the same with any number of threads.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qc import banding, boiling, cut, flicker, flow, frozen, motion, ssim, threads, wobble
from qc.frame import Frame, Image, halved, prepare

if TYPE_CHECKING:
    from qc.lpips import Embedding, LpipsBackbone

_here = threading.local()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One frame by itself."""

    frame: Frame
    look: cut.Look
    stairs: banding.Stairs | None
    """As `banding.compute`; None where it was not looked at."""
    moments: ssim.Moments | None
    """None under 11 px."""
    embedding: Embedding | None
    """None without a backbone, and for what is too small for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked:
    """What is left of a pair once its motion is taken out."""

    pair: flow.Pair
    motion: float
    flicker: tuple[float, flicker.Tiles]
    boiling: tuple[float, float]
    rest: wobble.Rest | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One frame and the one before it."""

    difference: float
    """As `frozen.compute`."""
    cut: float
    tracked: Tracked | None
    """None for what is too small to track."""
    ssim: float | None
    lpips: float | None


Landed = tuple[Seen, Step | None]
"""A frame and its step from the one before; None for the first."""


class Flight:
    """Measures frames on the threads of the process; holds a few of them, however many come."""

    def __init__(self, *, lpips: LpipsBackbone | None) -> None:
        self._lpips = lpips
        # So many frames are begun before the first pair is: a pair then waits for no frame.
        self._lead = threads.count()
        self._given = 0
        self._frames: deque[Future[Seen]] = deque()
        self._pairs: deque[tuple[Future[Seen], Future[Step] | None]] = deque()
        self._before: Future[Seen] | None = None

    def add(self, rgb: Image) -> Iterator[Landed]:
        """Take the next frame (H, W, 3) uint8, which nobody may change any more; what landed.

        Raises whatever went wrong with a frame that was given before.
        """
        work = threads.submit(
            see, self._lpips is not None, rgb, index=self._given, lpips=self._lpips
        )
        self._frames.append(work)
        self._given += 1
        if len(self._frames) > self._lead:
            self._pair_up()
        while len(self._pairs) > self._lead:
            yield self._next()

    def land(self) -> Iterator[Landed]:
        """All that is still in flight."""
        while self._frames:
            self._pair_up()
        while self._pairs:
            yield self._next()

    def _pair_up(self) -> None:
        after, before = self._frames.popleft(), self._before
        pair = None
        if before is not None:
            # NOTE: it waits for both frames. They were given before it, and work is begun in
            # that order, so somebody is at them already and no two can wait for each other.
            pair = threads.submit(_step_of, self._lpips is not None, before, after, self._lpips)
        self._before = after
        self._pairs.append((after, pair))

    def _next(self) -> Landed:
        seen, step = self._pairs.popleft()
        return seen.result(), None if step is None else step.result()


def see(rgb: Image, *, index: int, lpips: LpipsBackbone | None) -> Seen:
    """Frame number `index` (H, W, 3) uint8 by itself."""
    frame = prepare(rgb, index=index)
    return Seen(
        frame=frame,
        look=cut.look(frame),
        stairs=banding.compute(frame.rgb) if index % banding.EVERY == 0 else None,
        moments=ssim.moments(frame.luma) if min(frame.luma.shape) >= ssim.WINDOW else None,
        embedding=_embedding(frame, lpips),
    )


def step(before: Seen, after: Seen, *, lpips: LpipsBackbone | None) -> Step:
    """The pair of a frame and the next one."""
    difference = frozen.compute(before.frame, after.frame)
    tracked = _tracked(before.frame, after.frame) if after.frame.trackable else None
    alike = far = None
    if before.moments is not None and after.moments is not None:
        alike = ssim.compute(before.moments, after.moments)
    if lpips is not None and before.embedding is not None and after.embedding is not None:
        far = lpips.distance(before.embedding, after.embedding)
    return Step(
        difference=difference,
        cut=cut.compute(before.look, after.look),
        tracked=tracked,
        ssim=alike,
        lpips=far,
    )


def _step_of(before: Future[Seen], after: Future[Seen], lpips: LpipsBackbone | None) -> Step:
    return step(before.result(), after.result(), lpips=lpips)


def _tracked(before: Frame, after: Frame) -> Tracked:
    pair = _estimator().compute(before, after)
    return Tracked(
        pair=pair,
        motion=motion.compute(pair),
        flicker=flicker.compute(pair),
        boiling=boiling.compute(pair),
        rest=wobble.rest_of(pair),
    )


def _estimator() -> flow.FlowEstimator:
    """This thread's own: OpenCV's holds buffers that no two may use at once."""
    if not hasattr(_here, "estimator"):
        _here.estimator = flow.FlowEstimator()
    estimator: flow.FlowEstimator = _here.estimator
    return estimator


def _embedding(frame: Frame, lpips: LpipsBackbone | None) -> Embedding | None:
    """At half size from 240 px on: neighbours are looked at for spikes only, at a quarter the
    cost."""
    if lpips is None:
        return None
    small = halved(frame.rgb)
    return lpips.embed(small) if lpips.measures(small) else None
