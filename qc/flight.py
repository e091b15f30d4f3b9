"""Frames in flight: what a frame, and a pair of frames, says by itself, several at once.

Each frame, and each pair, is measured by one thread of `qc.threads`; they land in order, a few
frames behind the one that was given last. The numbers are the same with any number of threads.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qc import banding, boiling, cut, flicker, flow, frozen, motion, ssim, threads, wobble
from qc.frame import Frame, Image, halved, prepare

if TYPE_CHECKING:
    from qc.lpips import Embedding, LpipsBackbone

_here = threading.local()
GROUP = 4
"""Frames that LPIPS embeds at once: its weights are then read once for all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One frame by itself."""

    frame: Frame
    look: cut.Look
    stairs: banding.Stairs | None
    """As `banding.compute`; None where it was not looked at."""
    moments: ssim.Moments | None
    """None under 11 px."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Landed:
    """A frame, and how it got there from the one before."""

    seen: Seen
    step: Step | None
    """None for the first."""
    lpips: float | None
    """None for the first, without a backbone, and for what is too small for it."""


class Flight:
    """Measures frames on the threads of the process; holds a few of them, however many come."""

    def __init__(self, *, lpips: LpipsBackbone | None) -> None:
        self._lpips = lpips
        # So many frames are begun before the first pair is: a pair then waits for no frame.
        self._lead = threads.count()
        self._given = 0
        self._group: list[Image] = []
        self._single: deque[Future[Seen]] = deque()
        self._before: Future[Seen] | None = None
        self._apart: Future[_Apart] | None = None
        self._begun: deque[_Begun] = deque()
        self._steps: deque[Future[Step] | None] = deque()

    def add(self, rgb: Image) -> Iterator[Landed]:
        """Take the next frame (H, W, 3) uint8, which nobody may change any more; what landed.

        Raises whatever went wrong with a frame that was given before.
        """
        self._group.append(rgb)
        if len(self._group) == GROUP:
            self._begin()
            # Of those that stay in flight some are begun and none waits: the threads have work.
            yield from self._next(self._lead + GROUP)

    def land(self) -> Iterator[Landed]:
        """All that is still in flight."""
        if self._group:
            self._begin()
        self._pair_up(0)
        yield from self._next(0)

    def _begin(self) -> None:
        """Begin the frames of the group, and LPIPS behind the pairs: then it waits for no frame."""
        group, self._group = self._group, []
        seen = [
            threads.submit(see, False, rgb, index=index)
            for index, rgb in enumerate(group, start=self._given)
        ]
        self._given += len(group)
        self._single += seen
        self._pair_up(self._lead)
        if self._lpips is not None:
            self._apart = threads.submit(_apart, True, seen, self._apart, lpips=self._lpips)
        self._begun += [
            _Begun(seen=each, apart=self._apart, place=place) for place, each in enumerate(seen)
        ]

    def _pair_up(self, left: int) -> None:
        """Begin the pairs of all frames but the last few."""
        while len(self._single) > left:
            after, before = self._single.popleft(), self._before
            # NOTE: it waits for both frames. They were given before it, and work is begun in
            # that order, so somebody is at them already and no two can wait for each other.
            pair = None if before is None else threads.submit(_step_of, False, before, after)
            self._before = after
            self._steps.append(pair)

    def _next(self, left: int) -> Iterator[Landed]:
        """Those that landed, and wait for more until no more than so many are in flight."""
        while len(self._begun) > left:
            begun, step = self._begun.popleft(), self._steps.popleft()
            yield Landed(
                seen=begun.seen.result(),
                step=None if step is None else step.result(),
                lpips=None if begun.apart is None else begun.apart.result().lpips[begun.place],
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Begun:
    """A frame that is being measured."""

    seen: Future[Seen]
    apart: Future[_Apart] | None
    """Of its group; None without a backbone."""
    place: int
    """In its group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Apart:
    """How far by LPIPS each frame of a group is from the one before it."""

    lpips: list[float | None]
    last: Embedding | None
    """None for what is too small."""


def see(rgb: Image, *, index: int) -> Seen:
    """Frame number `index` (H, W, 3) uint8 by itself."""
    frame = prepare(rgb, index=index)
    return Seen(
        frame=frame,
        look=cut.look(frame),
        stairs=banding.compute(frame.rgb) if index % banding.EVERY == 0 else None,
        moments=ssim.moments(frame.luma) if min(frame.luma.shape) >= ssim.WINDOW else None,
    )


def step(before: Seen, after: Seen) -> Step:
    """The pair of a frame and the next one."""
    difference = frozen.compute(before.frame, after.frame)
    tracked = _tracked(before.frame, after.frame) if after.frame.trackable else None
    alike = None
    if before.moments is not None and after.moments is not None:
        alike = ssim.compute(before.moments, after.moments)
    return Step(
        difference=difference,
        cut=cut.compute(before.look, after.look),
        tracked=tracked,
        ssim=alike,
    )


def _step_of(before: Future[Seen], after: Future[Seen]) -> Step:
    return step(before.result(), after.result())


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


def _apart(
    group: Sequence[Future[Seen]], before: Future[_Apart] | None, *, lpips: LpipsBackbone
) -> _Apart:
    """Of a group of frames, and those `before` it.

    At half size from 240 px on: neighbours are looked at for spikes only, at a quarter the cost.
    """
    small = [halved(each.result().frame.rgb) for each in group]
    if not lpips.measures(small[0]):
        return _Apart(lpips=[None] * len(group), last=None)
    embeddings = lpips.embed_all(np.stack(small))
    last = None if before is None else before.result().last
    found: list[float | None] = []
    for embedding in embeddings:
        found.append(None if last is None else lpips.distance(last, embedding))
        last = embedding
    return _Apart(lpips=found, last=last)
