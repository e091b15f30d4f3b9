"""A pool without processes: the fake backend renders here, and scorecards are scripted."""

from __future__ import annotations

import shutil
from pathlib import Path

from fake_backend import FakeBackend

from manifests.files import sha256_file
from qc.scorecard import Scorecard
from render.backend import Progress
from render.errors import WorkerLost
from render.order import Delivery, FinishOrder, Receipt, RenderOrder, ScoreOrder
from tasks.pool import Listener, Pool
from tasks.worker import Glance

CLEAN: dict[str, float] = {"frozen": 0.0, "black": 0.0, "length_error": 0.0, "cut": 0.03}
"""A clip with nothing against it."""


class FakePool(Pool):
    """Renders at once; `scripts` says, by shot, which metrics each take gets on top of CLEAN, and
    by `<shot> stage-1` what that stage gets when the stages of a failed take are compared."""

    torch_device = "cpu"
    lanes = 2

    def __init__(
        self, scripts: dict[str, list[dict[str, float]]] | None = None, listener: Listener = print
    ) -> None:
        self.scripts = scripts or {}
        self.rendered: list[str] = []
        self.places: dict[str, int] = {}
        """At which place each take waited for a card."""
        self.finished: list[str] = []
        self._backend = FakeBackend()
        self._listener = listener

    async def __aenter__(self) -> FakePool:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def render(self, order: RenderOrder, *, budget: float, place: int = 0) -> Receipt:
        """The fake backend, in this process; a death is what the pool would make of it."""
        self.rendered.append(order.take_id)
        self.places[order.take_id] = place
        if "[die once]" in order.recipe.prompt and not (order.folder / "tried").exists():
            order.folder.mkdir(parents=True, exist_ok=True)
            (order.folder / "tried").touch()
            raise WorkerLost("the worker process died during render")
        look = None if order.look is None else Glance(order.look)
        return self._backend.render(order, tell=self._tell, look=look)

    async def score(self, order: ScoreOrder, *, budget: float) -> Scorecard:
        """What the script says about this shot's next take, or its next look at a stage."""
        *above, folder, _ = order.clip.parts
        stage = folder.startswith("stage-")
        shot = f"{above[-3]} {folder}" if stage else above[-2]
        script = self.scripts.get(shot, [])
        extra = script.pop(0) if script else {}
        assert order.frames is not None
        assert order.width is not None
        assert order.height is not None
        assert order.fps is not None
        return Scorecard(
            frames=order.frames,
            width=order.width,
            height=order.height,
            fps=order.fps,
            metrics={**CLEAN, **extra},
            versions={},
            backbone="none",
        )

    async def finish(self, order: FinishOrder, *, budget: float) -> Delivery:
        """The lossless clip itself, under the name of the review file."""
        self.finished.append(order.take_id)
        shutil.copyfile(order.clip, order.destination)
        return Delivery(
            path=order.destination,
            sha256=sha256_file(order.destination),
            width=1,
            height=1,
            frames=1,
            fps=8,
            upscaler="none",
            grade="none",
            checks=(),
            strip=None,
            seconds=0.0,
        )

    async def picture(self, clip: Path, *, budget: float) -> tuple[Path, Path]:
        """The first frames as the strip; no preview."""
        strip = clip.with_name("strip.jpg")
        shutil.copyfile(clip.with_name("first-frames.jpg"), strip)
        return strip, clip.with_name("preview.mp4")

    def _tell(self, progress: Progress) -> None:
        self._listener(progress)
