"""An engine that only writes down which worker was asked for what: no process is started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from manifests.shot import FinishSpec, Upscale
from qc.scorecard import Scorecard
from render.order import Delivery, FinishOrder, Receipt
from tasks.crew import Post
from tasks.gpus import Device

CARD = Device(name="Card #0", torch_device="cuda:0", visible="GPU-0")
OTHER = Device(name="Card #1", torch_device="cuda:0", visible="GPU-1")
CPU = Device(name="cpu", torch_device="cpu", visible=None)
NETWORK = Upscale(factor=2.0, model=Path("/models/compact.safetensors"))


class Answer:
    """A call that is done at once."""

    def __init__(self, value: Any) -> None:
        self._value = value

    async def is_done(self, *, within: float) -> bool:
        return True

    def result(self) -> Any:
        return self._value

    async def cancel(self) -> None:
        return None


class RecordingEngine:
    """Notes which worker was asked for what."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.closed = False

    async def start(self) -> None: ...

    async def close(self) -> None:
        self.closed = True

    def call(self, function: str, order: Any, *, post: Post, door: Path | None = None) -> Answer:
        self.asked.append((function, post.name, getattr(order, "device", "")))
        return Answer(_ANSWERS[function])

    def pids(self) -> dict[str, int]:
        return {}

    def own_pids(self) -> dict[str, int]:
        return {}

    async def restart(self, name: str) -> None:
        raise AssertionError("nobody dies here")


_ANSWERS: dict[str, Any] = {
    "render": Receipt(
        take_id="sheet/sh0010/f/t1",
        recipe_fingerprint="0",
        clip=Path("clip.mkv"),
        clip_sha256="0",
        frames=5,
        width=32,
        height=32,
        fps=8.0,
        stages=(),
        seconds=0.0,
        load_seconds=0.0,
        encode_seconds=0.0,
        decode_seconds=0.0,
        peak_memory=0,
        device="cuda:0",
    ),
    "score": Scorecard(
        frames=1, width=1, height=1, fps=8.0, metrics={}, versions={}, backbone="none"
    ),
    "picture": (Path("strip.jpg"), Path("preview.mp4")),
    "finish": Delivery(
        path=Path("/final.mp4"),
        sha256="0",
        width=1,
        height=1,
        frames=1,
        fps=8.0,
        upscaler="none",
        grade="none",
        checks=(),
        strip=None,
        seconds=0.0,
    ),
}


def finish_order(folder: Path, upscale: Upscale | None) -> FinishOrder:
    """The order to finish a take, upscaled or not."""
    return FinishOrder(
        take_id="sheet/001/f/t1",
        shot="001",
        clip=folder / "clip.mkv",
        finish=FinishSpec(upscale=upscale),
        destination=folder / "final.mp4",
        device="cuda:0",
    )
