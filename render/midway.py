"""A stage that was cut between two steps: what is kept of it, and how often.

One file `midway.safetensors` in the take's folder, written whole or not at all, and removed when
its stage has ended. It holds the latents, all that the solver remembers (the state of its noise
included) and the step, and it belongs to one plan like the checkpoints of whole stages. A step
cache is not in it: a stage that runs with one is kept at its end only.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from manifests.door import remove_through
from render.errors import TensorFileDamaged
from render.sampling import Midway, StepEnd
from render.tensor_file import read_tensors, write_tensors

NAME = "midway.safetensors"
_HISTORY = "history."


@dataclass(frozen=True, slots=True, kw_only=True)
class Cadence:
    """How often a stage is kept between its steps."""

    every_seconds: float = 30.0
    """At least so long apart: what a crash costs."""
    least_steps: int = 1
    """At least so many steps apart."""
    most_share: float = 0.02
    """Of the time, at most so much may go into writing."""

    def due(self, *, seconds: float, steps: int, cost: float) -> bool:
        """Whether to write now.

        Args:
            seconds: wall time since the last write, or since the stage began.
            steps: steps since then.
            cost: seconds that the last write took; 0 before the first.
        """
        return (
            steps >= self.least_steps
            and seconds >= self.every_seconds
            and cost <= self.most_share * seconds
        )


CADENCE = Cadence()
"""How often, unless told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A stage to go on with, read back."""

    midway: Midway
    seconds: float
    """Wall time that its steps took, before it was cut."""


class Keeper:
    """Keeps one stage between its steps, as often as a cadence allows."""

    def __init__(
        self, folder: Path, *, plan: str, cadence: Cadence, cut: Cut | None = None
    ) -> None:
        self._path = folder / NAME
        self._plan = plan
        self._cadence = cadence
        self._earlier = 0.0 if cut is None else cut.seconds
        self._begun = self._written = time.monotonic()
        self._at = 0 if cut is None else cut.midway.done
        self._cost = 0.0

    @property
    def seconds(self) -> float:
        """Wall time of the stage so far, that before a cut included."""
        return self._earlier + time.monotonic() - self._begun

    def after_step(self, end: StepEnd) -> None:
        """Write when it is due; the end of a stage is written elsewhere. Raises OSError."""
        due = self._cadence.due(
            seconds=time.monotonic() - self._written, steps=end.done - self._at, cost=self._cost
        )
        if due and end.done < end.steps:
            self.keep(end)

    def keep(self, end: StepEnd) -> None:
        """Write now, unless it was written at this very step. Raises OSError."""
        if end.done == self._at:
            return
        # NOTE: the copy waits for steps that the card still computes: that is no cost of writing.
        x = end.x.cpu()
        history = {_HISTORY + name: kept.cpu() for name, kept in end.solver.state().items()}
        if not bool(torch.isfinite(x).all()):
            return  # the guard of the stage loop will end it
        began = time.monotonic()
        told = {"plan": self._plan, "done": end.done, "seconds": self.seconds}
        write_tensors(self._path, {"x": x, **history}, told)
        self._written, self._at = time.monotonic(), end.done
        self._cost = self._written - began

    def forget(self) -> None:
        """The stage is kept whole now, or lost: forget what was kept of its middle."""
        remove_through(self._path)


def load_cut(folder: Path, *, plan: str, older: Sequence[str] = ()) -> tuple[Cut | None, str]:
    """The cut stage of `plan` that `folder` holds, and a note when there is one of no use.

    `older` are plans of stages that are whole: a leftover of one of them is worth no note.
    """
    path = folder / NAME
    try:
        found = read_tensors(path)
        belongs_to = found.told["plan"]
        if belongs_to != plan:
            leftover = belongs_to in older
            return None, "" if leftover else f"{NAME} belongs to another recipe or machine: ignored"
        x = found.tensors.pop("x")
        done, seconds = int(found.told["done"]), float(found.told["seconds"])
    except FileNotFoundError:
        return None, ""
    except TensorFileDamaged as error:
        return None, f"{error}: ignored"
    except (OSError, KeyError, TypeError, ValueError) as error:
        return None, f"{NAME} cannot be used ({error!r}): ignored"
    history = {name.removeprefix(_HISTORY): kept for name, kept in found.tensors.items()}
    return Cut(midway=Midway(done=done, x=x, history=history), seconds=seconds), ""
