"""A take while it is rendered: its order, who is told, its notes and its times."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version

import torch

from manifests.stage import Recipe, Speed
from render.backend import Progress, Tell, Watch
from render.errors import OutOfHours
from render.keys import Surroundings
from render.look import Look
from render.memory import shortages
from render.midway import CADENCE, Cadence
from render.order import LookReceipt, Placement, RenderOrder, Span
from render.stage_previews import StagePreviews
from render.store import Store


@dataclass(slots=True)
class Take:
    """What the parts of a render share."""

    order: RenderOrder
    tell: Tell
    device: torch.device
    source_sha256: str | None
    """Of the still that is really rendered."""
    watch: Watch | None = None
    look: Look | None = None
    notes: list[str] = field(default_factory=list)
    """What a person should know, for the receipt."""
    reused: list[str] = field(default_factory=list)
    """What came from the store."""
    in_force: set[str] = field(default_factory=set)
    """Memory rungs and speed levels in force that change pixels (`fp8`, `turbo`): who switches
    one on adds it before the work, and nothing made otherwise is taken from a checkpoint or the
    store. What only moves bytes (`offload`) stays out."""
    speed: Speed = Speed.EXACT
    """The speed level really kept to, which may be less than the recipe allows."""
    timeline: list[Span] = field(default_factory=list)
    store: Store = field(default_factory=Store)
    """Where it looks for what was computed before, and leaves what may be of use again."""
    cadence: Cadence = CADENCE
    """How often it is kept between the steps of a stage."""
    chosen: Recipe | None = None
    """Where the order asks for candidates: the recipe of the one that it goes on with."""
    looks: tuple[LookReceipt, ...] = ()
    """What was thought of it after an early stage."""
    previews: StagePreviews = field(init=False)
    """Pictures of what the stages left."""
    _shortages: int = 0
    """Of this process, when it was last counted."""
    _stop: float | None = field(init=False)
    """When it is to stop, by a clock that nobody can put."""

    def __post_init__(self) -> None:
        self.previews = StagePreviews(self.order, self.tell, self.notes)
        stop_at = self.order.stop_at
        self._stop = None if stop_at is None else time.monotonic() + stop_at - time.time()

    @property
    def recipe(self) -> Recipe:
        """Of the order; of the candidate that was chosen, where it asks for several."""
        return self.order.recipe if self.chosen is None else self.chosen

    @property
    def is_over(self) -> bool:
        """Whether the night's hours have ended."""
        return self._stop is not None and time.monotonic() >= self._stop

    def check_hours(self, place: str) -> None:
        """Raise OutOfHours, naming where the take stands, once the night's hours have ended."""
        if self.is_over:
            raise OutOfHours(
                f"the night's hours ended {place}; it goes on from there in the next night"
            )

    def count_shortages(self) -> None:
        """The take has the card, or goes on one rung down: from now on what is short is noted."""
        self._shortages = shortages(self.device)

    @property
    def made_do(self) -> bool:
        """Whether a kernel was refused memory since, and another one ran in its place: what is
        computed may have other last bits, and is nobody else's."""
        return shortages(self.device) > self._shortages

    @contextmanager
    def phase(self, name: str, *, on_card: bool = True) -> Iterator[None]:
        """Tell that a phase begins, and put its time on the timeline."""
        self.tell(Progress(take_id=self.order.take_id, phase=name, stages=len(self.recipe.stages)))
        with self.span(name, on_card=on_card):
            yield

    @contextmanager
    def span(self, kind: str, *, on_card: bool = True) -> Iterator[None]:
        """Put the time of a stretch of work on the timeline."""
        begun, short = time.time(), shortages(self.device) if on_card else 0
        try:
            yield
            if on_card and shortages(self.device) > short:
                self.notes.append(
                    f"{kind}: memory was short for the kernels it wanted; others ran, slower and "
                    "perhaps with other last bits"
                )
            if on_card and self.device.type == "cuda":
                # What is queued is work too: without this the next stretch would be blamed for it.
                torch.cuda.synchronize(self.device)
        finally:
            self.timeline.append(Span(kind=kind, begun=begun, ended=time.time(), on_card=on_card))

    def reuses(self, what: str) -> None:
        """Note that something came from the store: `prompt`, `still`, `stage 1`."""
        if what not in self.reused:
            self.reused.append(what)

    def seconds(self, kind: str) -> float:
        """Wall time spent on one kind of work."""
        return sum(span.ended - span.begun for span in self.timeline if span.kind == kind)

    def surroundings(self) -> Surroundings:
        """What decides pixels beside the recipe."""
        in_force = set(self.in_force)
        if self.order.gang is not None:
            # Each card multiplies smaller matrices, with other kernels and other last bits.
            in_force.add(f"spread over {self.order.gang.size} cards")
        return Surroundings(
            source_sha256=self.source_sha256,
            device=_device_kinds(self.device, self.order.placement),
            versions=_versions(),
            in_force=tuple(sorted(in_force)),
        )


@cache
def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("torch", "diffusers", "transformers")}


def _device_kinds(device: torch.device, placement: Placement) -> str:
    """Of the take's own device, and of others that hold parts of the model."""
    placed = (placement.text_encoder, placement.low_expert, placement.vae)
    devices = [device, *(torch.device(name) for name in placed if name is not None)]
    return " + ".join(dict.fromkeys(_device_kind(each) for each in devices))


def _device_kind(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    # The kernels and how a sum is cut among threads decide the last bits.
    kernels = torch.backends.cpu.get_cpu_capability()
    return f"{device.type} {platform.machine()} {kernels}, {torch.get_num_threads()} threads"
