"""What a worker process does: render, score, finish. The only door to torch in `tasks`.

A worker is one child process for each device. It keeps the model warm over the night and
tells its progress as it goes; it never touches the ledger.

Run as a program (`python -m tasks.worker score < order.json`) it does one piece of work for
the command line and prints the result as one line of JSON on standard output.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from manifests.errors import RushesError
from qc.scorecard import Scorecard
from render.backend import Progress, RenderBackend
from render.order import Delivery, FinishOrder, Receipt, RenderOrder, ScoreOrder
from tasks.remote import TOPIC

BACKEND_VARIABLE = "RUSHES_BACKEND"
"""Environment variable that names the backend as `module:Class`, for studios and tests."""
DEFAULT_BACKEND = "render.diffusers_backend:DiffusersBackend"


@cache
def backend() -> RenderBackend:
    """The backend of this process, made once: it holds the warm model."""
    module, _, name = os.environ.get(BACKEND_VARIABLE, DEFAULT_BACKEND).partition(":")
    made = getattr(importlib.import_module(module), name)()
    if not isinstance(made, RenderBackend):
        raise TypeError(f"{BACKEND_VARIABLE}={module}:{name} is not a RenderBackend")
    return made


def render(order: RenderOrder) -> Receipt:
    """Render one take; see `RenderBackend.render`."""
    return backend().render(order, tell=tell)


def score(order: ScoreOrder) -> Scorecard:
    """Measure one clip. Raises QCError, named, when it cannot be measured."""
    from qc.faults import Expected
    from qc.measure import measure

    expected = Expected(frames=order.frames, width=order.width, height=order.height, fps=order.fps)
    return measure(
        order.clip,
        source=order.source,
        expected=expected,
        lpips=_lpips(order.weights_dir, order.device),
    )


def finish(order: FinishOrder) -> Delivery:
    """Upscale, grade, encode and check one approved take."""
    from render.post.finish import finish as finish_take

    return finish_take(order, tell=tell)


def picture(clip: Path) -> tuple[Path, Path]:
    """Contact strip and small preview of a take, for the report: (strip, preview)."""
    from render.post.finish import picture as picture_take

    pictures = picture_take(clip)
    return pictures.strip, pictures.preview


def doctor(_order: Any = None) -> dict[str, Any]:
    """What this process has to render with, as plain data."""
    import torch

    facts: dict[str, Any] = {
        "python": platform.python_version(),
        "torch": version("torch"),
        "diffusers": version("diffusers"),
        "transformers": version("transformers"),
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.is_available(),
        "devices": [],
    }
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            name = torch.cuda.get_device_name(index)
            facts["devices"].append({"name": name, "free_bytes": free, "total_bytes": total})
    return facts


def tell(progress: Progress) -> None:
    """Send progress to the orchestrator; outside a worker there is nobody to tell."""
    from distributed import get_worker

    try:
        worker = get_worker()
    except ValueError:
        return
    worker.log_event(
        TOPIC,
        {
            "take_id": progress.take_id,
            "phase": progress.phase,
            "stage": progress.stage,
            "stages": progress.stages,
            "step": progress.step,
            "steps": progress.steps,
            "preview": progress.preview,
        },
    )


@cache
def _lpips(weights_dir: Path | None, device: str) -> Any:
    from qc.lpips import load_backbone

    return load_backbone(weights_dir=weights_dir, device=device)


def _main(arguments: list[str]) -> int:
    match arguments:
        case ["doctor"]:
            work: Callable[[], Any] = doctor
        case ["score"]:
            data = json.load(sys.stdin)
            for key in ("clip", "source", "weights_dir"):
                data[key] = None if data.get(key) is None else Path(data[key])
            order = ScoreOrder(**data)
            work = lambda: score(order).to_dict()  # noqa: E731
        case _:
            print("usage: python -m tasks.worker doctor | score < order.json", file=sys.stderr)
            return 2
    try:
        answer: dict[str, Any] = {"result": work()}
    except RushesError as error:
        answer = {"error": type(error).__name__, "words": str(error)}
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
