"""Takes that stand still: no step for far longer than its steps have taken so far.

A whole take's budget must be generous; a card that hangs in the third step of forty would keep it
half the night. So each message of a take is waited for: between the steps of a stage as long as
its own steps let expect, or those of takes like it on such a card; elsewhere (model load, prompt,
the first step with its compiling, what follows a stage's last step) by one long bound, which is
shorter for a first step whose pace is known from such takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from render.backend import Progress
from render.errors import MachineFailure, Stuck, WorkerLost


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a take may be silent. Seconds."""

    times: float = 10.0
    """Of the take's longest step so far, or of the longest that is expected; experts change and
    caches are skipped within a stage."""
    least: float = 300.0
    """A step is waited for at least so long."""
    long: float = 1800.0
    """For what has no pace yet: loading, encoding, the first step of a stage, after its last."""
    compiling: float = 600.0
    """For the first step of a stage whose pace is known from other takes: blocks are compiled in
    it, which takes about a minute."""


PATIENCE = Patience()


class Pulse:
    """One take in a worker, from its messages. Silent, and never late, before the first one.

    What follows the beginning of the decode is left to the take's budget: frames are written at a
    pace of their own, and nothing is told meanwhile.
    """

    def __init__(
        self,
        patience: Patience = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
        *,
        expected: float = 0.0,
    ) -> None:
        """`clock` gives seconds that never go back; `expected` are those of the longest step of
        takes like this on such a card, 0 where none is known."""
        self._patience, self._clock, self._expected = patience, clock, expected
        self._last: Progress | None = None
        self._heard = 0.0
        self._longest = 0.0
        self._paced = False
        """Whether a step has ended since the stage began, or was gone on with."""

    def told(self, progress: Progress) -> None:
        """The take told where it is. Messages with a picture tell nothing of that."""
        if progress.preview is not None:
            return
        now = self._clock()
        self._paced = self._is_next_step(progress)
        if self._paced:
            self._longest = max(self._longest, now - self._heard)
        self._last, self._heard = progress, now

    def _is_next_step(self, progress: Progress) -> bool:
        last = self._last
        return (
            last is not None
            and last.phase == progress.phase == "stage"
            and last.stage == progress.stage
            and last.step < progress.step
        )

    @property
    def allowed(self) -> float:
        """Seconds of silence that are allowed where the take is; infinity: any."""
        last = self._last
        if last is None or last.phase not in ("load", "encode", "stage"):
            return float("inf")
        patience = self._patience
        expected = patience.times * max(self._longest, self._expected)
        if self._paced and last.step < last.steps:
            return max(patience.least, expected)
        if self._expected and last.phase == "stage" and last.step < last.steps:
            return max(min(patience.compiling, patience.long), patience.least, expected)
        return max(patience.long, patience.least, expected)

    @property
    def seconds_left(self) -> float:
        """Until the take counts as stuck; negative when it is."""
        return self._heard + self.allowed - self._clock()

    @property
    def words(self) -> str:
        """Where it stands still, and for how long."""
        last, silent = self._last, self._clock() - self._heard
        if last is None:
            return "it has told nothing yet"
        place = last.phase
        if last.phase == "stage":
            place = f"stage {last.stage} of {last.stages}, step {last.step} of {last.steps}"
        pace = f"; its longest step so far took {self._longest:.1f} s" if self._longest else ""
        if self._expected:
            pace += f"; {self._expected:.1f} s were expected of one"
        return f"nothing for {silent:.0f} s after {place} ({self.allowed:.0f} s are allowed{pace})"


def late(function: str, pulse: Pulse, *, budget: float) -> MachineFailure:
    """What a call is called that did not end in time: Stuck where it stood still, else WorkerLost
    for its whole budget."""
    if pulse.seconds_left <= 0:
        return Stuck(f"{function} told {pulse.words}; its worker was restarted")
    return WorkerLost(
        f"{function} took longer than {budget:.0f} s, its budget; its worker was restarted"
    )
