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
import threading
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from manifests.errors import RushesError
from manifests.files import sha256_file
from qc.conditioning import load_source
from qc.early import judge_early, measure_early, rank_early
from qc.errors import BackboneUnavailable
from qc.faults import Expected
from qc.measure import Measuring, measure, versions_of
from qc.scorecard import Scorecard
from qc.stored import card_key, is_stored, store_card, stored_card
from render.backend import Progress, RenderBackend, Tell, Watch
from render.errors import WorkerLost
from render.look import Glimpse, Look, Opinion
from render.order import Delivery, FinishOrder, LookOrder, Receipt, RenderOrder, ScoreOrder
from render.video import frame_rate
from tasks.remote import TOPIC

BACKEND_VARIABLE = "RUSHES_BACKEND"
"""Environment variable that names the backend as `module:Class`, for studios and tests."""
DEFAULT_BACKEND = "render.diffusers_backend:DiffusersBackend"


_once = threading.Lock()
"""NOTE: `cache` alone lets two threads that come at once make a thing twice."""


def backend() -> RenderBackend:
    """The backend of this process, made once: it holds the warm model."""
    with _once:
        return _backend()


@cache
def _backend() -> RenderBackend:
    module, _, name = os.environ.get(BACKEND_VARIABLE, DEFAULT_BACKEND).partition(":")
    made = getattr(importlib.import_module(module), name)()
    if not isinstance(made, RenderBackend):
        raise TypeError(f"{BACKEND_VARIABLE}={module}:{name} is not a RenderBackend")
    _check_card(os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    return made


def _check_card(visible: str) -> None:
    """Raise WorkerLost when this process does not see the very cards it was given.

    NOTE: whoever looks at the cards before the variable is set sees them all, and every worker
    would render on the first one without a word.
    """
    uuids = [name for name in visible.split(",") if name.startswith("GPU-")]
    if not uuids:
        return
    import torch

    cards = range(torch.cuda.device_count())
    seen = [f"GPU-{torch.cuda.get_device_properties(card).uuid}" for card in cards]
    if seen != uuids:
        raise WorkerLost(
            f"this worker was given {', '.join(uuids)} and sees {', '.join(seen) or 'no card'}; "
            "check the driver, and that nothing looks at the cards as it is imported"
        )


def render(order: RenderOrder) -> Receipt:
    """Render one take; see `RenderBackend.render`.

    Where the order says how to score it, the frames are measured as they are decoded and the
    scorecard is left beside the clip, for `score` to find.
    """
    watch = None if order.score is None else Measured(order.score)
    look = None if order.look is None else Glance(order.look)
    receipt = backend().render(order, tell=teller(), watch=watch, look=look)
    if watch is not None:
        watch.store(receipt)
    return receipt


class Glance(Look):
    """Judges what an early stage left, by its own few metrics and limits (`qc.early`)."""

    def __init__(self, order: LookOrder) -> None:
        self._order = order

    def see(self, glimpse: Glimpse) -> Opinion:
        """See `Look`. Raises QCError."""
        box = glimpse.box
        metrics = measure_early(
            colours=glimpse.colours,
            frames=glimpse.frames,
            box=(box.left, box.top, box.right, box.bottom),
            source=self._order.source,
        )
        verdict = judge_early(metrics, expects_motion=self._order.expects_motion)
        return Opinion(
            words="; ".join(verdict.reasons) or "nothing to object to",
            rank=rank_early(metrics, verdict),
            metrics=metrics,
            failure=verdict.failure if self._order.stops else None,
            told=verdict.to_dict(),
        )


class Measured(Watch):
    """Measures the frames of a take while they are decoded."""

    def __init__(self, order: ScoreOrder) -> None:
        self._order = order
        self._measuring: Measuring | None = None
        """None before a clip begins, and where one could not be measured to its end."""

    def begin(self) -> None:
        """See `Watch`. Raises QCError."""
        order, source, self._measuring = self._order, None, None
        assert order.fps is not None, "a take's rate is known"
        if order.source is not None:
            assert order.width is not None, "a take's size is known"
            assert order.height is not None, "a take's size is known"
            source = load_source(order.source, width=order.width, height=order.height)
        self._measuring = Measuring(
            fps=float(frame_rate(order.fps)),
            source=source,
            expected=_expected(order),
            lpips=_lpips(order.weights_dir, order.device),
        )

    def see(self, chunk: Any) -> None:
        """See `Watch`."""
        measuring, self._measuring = self._measuring, None
        assert measuring is not None, "a clip begins before it is seen"
        measuring.add(chunk)
        self._measuring = measuring

    def store(self, receipt: Receipt) -> None:
        """Leave the scorecard beside the clip, if all of the clip was measured.

        Nothing that goes wrong here fails a take that is rendered: `score` measures the clip
        then, and raises what is wrong by its name.
        """
        measuring = self._measuring
        if measuring is None or measuring.count != receipt.frames:
            return
        with suppress(Exception):
            key = _card_key(self._order, clip_sha256=receipt.clip_sha256)
            store_card(measuring.scorecard(), receipt.clip, key=key)


def lend(order: RenderOrder) -> None:
    """Lend this worker's card to a take that another one leads; see `RenderBackend.lend`."""
    backend().lend(order)


def score(order: ScoreOrder) -> Scorecard:
    """Measure one clip, or read what was measured while it was decoded; the two are equal.

    Raises QCError, named, when it cannot be measured.
    """
    card = _stored(order)
    return card or measure(
        order.clip,
        source=order.source,
        expected=_expected(order),
        lpips=_lpips(order.weights_dir, order.device),
    )


def finish(order: FinishOrder) -> Delivery:
    """Upscale, grade, encode and check one approved take; a card is held between two renders, and
    only while a network upscales."""
    from render.post.finish import finish as finish_take

    card = backend().card if order.device != "cpu" else nullcontext
    return finish_take(order, tell=teller(), card=card)


def picture(clip: Path) -> tuple[Path, Path]:
    """Contact strip and small preview of a take, for the report: (strip, preview)."""
    from render.post.finish import picture as picture_take

    pictures = picture_take(clip)
    return pictures.strip, pictures.preview


def doctor(weights_dir: Path | None = None) -> dict[str, Any]:
    """What this process has to render and to measure with, as plain data.

    `lpips` holds the backbone's name and self-test, or `error` in words.
    """
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
    facts["lpips"] = _lpips_facts(weights_dir)
    return facts


def _lpips_facts(weights_dir: Path | None) -> dict[str, Any]:
    from qc.lpips import load_backbone, self_test_value

    try:
        backbone = load_backbone(weights_dir=weights_dir)
    except BackboneUnavailable as error:
        return {"error": str(error)}
    return {"name": backbone.name, "self_test": self_test_value(backbone)}


def teller() -> Tell:
    """Who sends progress to the orchestrator; outside a worker there is nobody to tell.

    Asked on the thread that has the order: the worker is known there, and not on the threads
    that a render starts, which have things to tell too.
    """
    from distributed import get_worker

    try:
        worker = get_worker()
    except ValueError:
        return lambda progress: None

    def tell(progress: Progress) -> None:
        preview = None if progress.preview is None else str(progress.preview)
        worker.log_event(TOPIC, {**asdict(progress), "preview": preview})

    return tell


@cache
def _lpips(weights_dir: Path | None, device: str) -> Any:
    from qc.lpips import load_backbone

    return load_backbone(weights_dir=weights_dir, device=device)


def _stored(order: ScoreOrder) -> Scorecard | None:
    if not is_stored(order.clip):
        return None
    with suppress(OSError):  # what cannot be read is named by `measure`
        key = _card_key(order, clip_sha256=sha256_file(order.clip))
        return stored_card(order.clip, key=key)
    return None


def _expected(order: ScoreOrder) -> Expected:
    return Expected(frames=order.frames, width=order.width, height=order.height, fps=order.fps)


def _card_key(order: ScoreOrder, *, clip_sha256: str) -> str:
    return card_key(
        clip_sha256=clip_sha256,
        source=order.source,
        expected=_expected(order),
        versions=versions_of(lpips=True),
        backbone=_lpips(order.weights_dir, order.device).name,
    )


def footprints(orders: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The memory of each take, from its model's settings; `error` in words where it cannot be
    told."""
    from render.families.registry import measure_footprint
    from render.footprint import FootprintOrder

    found: list[dict[str, Any]] = []
    for plain in orders:
        order = FootprintOrder.from_dict(plain)
        try:
            footprint = measure_footprint(order)
        except RushesError as error:
            found.append({"error": str(error)})
            continue
        unknown = {"error": f"not estimated for models of the family {order.model.family}"}
        found.append(unknown if footprint is None else footprint.to_dict())
    return found


def _main(arguments: list[str]) -> int:
    match arguments:
        case ["doctor"]:
            # Asked by hand it has nothing to read.
            asked = json.loads((not sys.stdin.isatty() and sys.stdin.read()) or "{}")
            folder = asked.get("weights_dir")
            work: Callable[[], Any] = lambda: doctor(folder and Path(folder))  # noqa: E731
        case ["score"]:
            data = json.load(sys.stdin)
            for key in ("clip", "source", "weights_dir"):
                data[key] = None if data.get(key) is None else Path(data[key])
            order = ScoreOrder(**data)
            work = lambda: score(order).to_dict()  # noqa: E731
        case ["footprint"]:
            orders = json.load(sys.stdin)["orders"]
            work = lambda: footprints(orders)  # noqa: E731
        case _:
            print(
                "usage: python -m tasks.worker doctor | score < order.json | "
                "footprint < orders.json",
                file=sys.stderr,
            )
            return 2
    try:
        answer: dict[str, Any] = {"result": work()}
    except RushesError as error:
        answer = {"error": type(error).__name__, "words": str(error)}
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
