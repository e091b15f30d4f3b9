"""What the strips after each stage cost: of a pocket take, and for latents of real size.

    OMP_NUM_THREADS=1 python -m benchmarks.preview --out benchmarks/results/preview.json

Two costs are told apart: `blocked` is what the thread that samples waits for (choosing and copying
the latent frames); `thread` is CPU time of the thread that makes the picture beside it. Takes are
rendered with and without previews in turn, and their latents' hashes must be equal.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

import torch

from benchmarks.pocket_order import STILLS, pocket_order, pocket_recipe
from render import take as take_module
from render.diffusers_backend import DiffusersBackend
from render.families.wan import WanModel
from render.order import Receipt, RenderOrder
from render.preview_factors import PreviewFactors, known_factors
from render.stage_previews import StagePreviews, preview_path

STILL = STILLS / "cat.jpg"
SIZES = {
    "wan-2.1, 81 frames of 832x480": ("wan-2.1", (1, 16, 21, 60, 104)),
    "wan-2.1, 81 frames of 1280x720": ("wan-2.1", (1, 16, 21, 90, 160)),
    "wan-2.2-5b, 121 frames of 1280x704": ("wan-2.2-5b", (1, 48, 31, 44, 80)),
}
REPEATS = 15
TAKES = 2


class Clock(StagePreviews):
    """Previews that time themselves."""

    blocked: ClassVar[list[float]] = []
    thread: ClassVar[list[float]] = []

    def add(self, k: int, clean: Any, factors: PreviewFactors | None) -> None:
        """Wall time of what the sampling thread waits for."""
        begun = time.perf_counter()
        super().add(k, clean, factors)
        if factors is not None:
            self.blocked.append(time.perf_counter() - begun)

    def _make(self, *arguments: Any) -> None:
        begun = time.thread_time()
        super()._make(*arguments)
        self.thread.append(time.thread_time() - begun)

    @classmethod
    def costs(cls) -> dict[str, float]:
        """Medians since the last call."""
        found = {
            "blocked_ms": round(1e3 * median(cls.blocked), 3),
            "thread_ms": round(1e3 * median(cls.thread), 3),
        }
        cls.blocked.clear()
        cls.thread.clear()
        return found


def order_of(folder: Path) -> RenderOrder:
    """A pocket take, two-stage, 17 frames at the preset's size."""
    return pocket_order(pocket_recipe("two-stage", STILL, "the camera pans left"), STILL, folder)


def pocket(folder: Path) -> dict[str, Any]:
    """Takes with and without previews, in turn, on one warm backend."""
    backend, known = DiffusersBackend(), WanModel.preview_factors
    unknown: Any = property(lambda _: None)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    hashes = set()
    render_one(backend, folder / "warm")
    for turn in range(TAKES):
        for shown in (True, False):
            WanModel.preview_factors = known if shown else unknown  # type: ignore[method-assign]
            receipt = render_one(backend, folder / f"{turn}-{shown}")
            assert all((stage.preview is not None) == shown for stage in receipt.stages)
            seconds[shown].append(sum(stage.seconds for stage in receipt.stages))
            hashes.add(tuple(stage.latents_sha256 for stage in receipt.stages))
    assert len(hashes) == 1, "a preview changed a take"
    WanModel.preview_factors = known  # type: ignore[method-assign]
    return {"sampling_seconds": median(seconds[True]), "without": median(seconds[False])}


def render_one(backend: DiffusersBackend, folder: Path) -> Receipt:
    return backend.render(order_of(folder), tell=lambda _: None)


def latents_of(shape: tuple[int, ...], name: str, folder: Path) -> dict[str, float]:
    """Strips of random latents of this shape; noise makes a larger JPEG than a picture does."""
    x, order = torch.randn(shape), order_of(folder)
    folder.mkdir()
    for _ in range(REPEATS):
        previews = Clock(order, lambda _: None, [])
        previews.add(0, x, known_factors(name))
        previews.finish(())
    return {**Clock.costs(), "jpeg_bytes": preview_path(folder, 0).stat().st_size}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        take_module.StagePreviews = Clock  # type: ignore[attr-defined]
        take = {**pocket(folder / "pocket"), **Clock.costs()}
        sizes = {
            label: latents_of(shape, vae, folder / str(index))
            for index, (label, (vae, shape)) in enumerate(SIZES.items())
        }
    spent = 2e-3 * (take["blocked_ms"] + take["thread_ms"])
    take["share_of_sampling"] = round(spent / take["sampling_seconds"], 5)
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores (shared), torch with 1 thread",
        "versions": {name: version(name) for name in ("torch", "diffusers", "pillow")},
        "pocket two-stage, 17 frames of 128x128": take,
        "latents on the CPU": sizes,
    }
    out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
