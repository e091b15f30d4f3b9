"""Memory of Wan takes, estimated and measured; the ladder under caps; what a rung costs.

Run it as `python -m benchmarks.memory`. Needs a card with room for a 14B model (about 80 GiB) and
about 90 GB of host memory; `--tiny` is a rehearsal on a CPU and proves nothing.

Clips are not written (the machine of the committed run has no PyAV): the decoded frames are taken
from the writer's queue and hashed.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from benchmarks.memory_ladder import LEAST, NARROW, Run, ladder, no_clip, runs_of
from benchmarks.memory_model import (
    TRANSFORMERS,
    UMT5_XXL,
    RandomWan,
    footprint_of,
    random_pipe,
    write_folder,
)
from manifests.stage import Expert
from render import developing
from render.families.base import ImageCondition, LoadRequest, Position
from render.families.wan import TEXT_TOKENS
from render.footprint import GIB
from render.ladder import Rung
from render.order import ModelRef

SIZES = ((832, 480, 81), (512, 512, 17), (1280, 720, 81))


# ---------------------------------------------------------------------- (a) phases


def measured(work: Callable[[], object], device: torch.device) -> dict[str, float]:
    """Peak bytes that `work` adds to what is allocated, and seconds."""
    gc.collect()
    before = 0
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    begun = time.perf_counter()
    work()
    found = {"seconds": 0.0, "peak": 0, "reserved": 0, "used": 0}
    if device.type == "cuda":
        torch.cuda.synchronize()
        free, total = torch.cuda.mem_get_info()
        found |= {
            "peak": torch.cuda.max_memory_allocated() - before,
            "allocated": torch.cuda.max_memory_allocated(),
            "reserved": torch.cuda.max_memory_reserved(),
            "used": total - free,
        }
    found["seconds"] = round(time.perf_counter() - begun, 3)
    return found


def phases(
    model: RandomWan, size: tuple[int, int, int], device: torch.device, *, all_of_them: bool
) -> dict[str, Any]:
    """What each phase really adds, with its own module on the card and no other."""
    width, height, frames = size
    i2v = model._pipe.transformer.config.in_channels == 36
    shape = model.latent_shape(width=width, height=height, frames=frames)
    found: dict[str, Any] = {}
    residence, pipe = model.residences[0], model._pipe
    residence.begin((Rung.ALONE,))

    def alone(part: Any) -> None:
        for other in pipe.components.values():
            if isinstance(other, torch.nn.Module) and other is not part:
                residence.send_away(other)
        residence.bring(part)

    with torch.inference_mode():
        if all_of_them:
            alone(pipe.text_encoder)
            found["text"] = measured(lambda: model.encode_text("x"), device)
        image = None
        if i2v:
            still = Image.new("RGB", (width, height), (90, 120, 150))
            if all_of_them:
                alone(pipe.vae)
                found["still"] = measured(lambda: model.encode_still(still, frames=frames), device)
            latents = torch.zeros(1, 20, *shape[2:], device=device)
            image = ImageCondition(latents=latents)
        alone(pipe.transformer)
        text = torch.zeros(1, TEXT_TOKENS, 4096, dtype=model._dtype, device=device)
        x = torch.zeros(shape, device=device)
        step = partial(_guided_step, model, x, text, image)
        found["sampling"] = measured(step, device)
        x.zero_()
        del step, text, image
        alone(pipe.vae)
        found["decode"] = measured(lambda: _drain(model.decode(x)), device)
        if all_of_them:
            model.tile_decode(on=True)
            found["decode tiled"] = measured(lambda: _drain(model.decode(x)), device)
            model.tile_decode(on=False)
        residence.send_away(pipe.vae)
    return found


def _guided_step(
    model: RandomWan, x: torch.Tensor, text: torch.Tensor, image: ImageCondition | None
) -> None:
    at = Position(sigma=torch.tensor(0.95), expert=Expert.HIGH, step=0, steps=1)
    v = model.velocity(x, at, text, image=image, branch="cond")
    u = model.velocity(x, at, text, image=image, branch="uncond")
    x.add_(u + 3.0 * (v - u), alpha=-0.05)


def _drain(frames: Iterator[Any]) -> None:
    for _ in frames:
        pass


# ---------------------------------------------------------------------- (c) what a rung costs


def step_costs(model: RandomWan, size: Any, device: torch.device, *, fp8: bool) -> dict[str, Any]:
    """Seconds of one model call: resident, swapped, and stored in 8 bits."""
    found: dict[str, Any] = {}
    net, residence = model._pipe.transformer, model.residences[0]
    shape = model.latent_shape(width=size[0], height=size[1], frames=size[2])
    x = torch.randn(shape, generator=torch.Generator("cpu").manual_seed(1)).to(device)
    text = torch.randn(1, TEXT_TOKENS, 4096, dtype=torch.float32).to(device, model._dtype) * 0.1
    i2v = net.config.in_channels == 36
    image = ImageCondition(latents=torch.zeros(1, 20, *shape[2:], device=device)) if i2v else None
    at = Position(sigma=torch.tensor(0.95), expert=Expert.HIGH, step=0, steps=1)

    def call() -> torch.Tensor:
        with torch.inference_mode():
            return model.velocity(x, at, text, image=image, branch="cond")

    def timed(name: str, calls: int = 4) -> torch.Tensor:
        begun = time.perf_counter()
        first = call()
        first.sum().item()
        warm = time.perf_counter() - begun
        seconds = []
        spent: dict[str, float] = {}
        for _ in range(calls):
            spent = measured(call, device)
            seconds.append(spent["seconds"])
        found[name] = {
            "first": round(warm, 2),
            "seconds": sorted(seconds)[len(seconds) // 2],
            "allocated_gib": round(spent.get("allocated", 0) / GIB, 2),
        }
        return first

    if fp8:
        found["velocity"] = timed("fp8 storage, resident").float().cpu()
        residence.send_away(net)
        residence.begin((Rung.SWAP,))
        timed("fp8 storage, swapped")
    else:
        residence.begin(())
        found["velocity"] = timed("resident").float().cpu()
        residence.send_away(net)
        residence.begin((Rung.SWAP,))
        swapped = timed("swapped").float().cpu()
        found["swapped equal"] = bool(torch.equal(swapped, found["velocity"]))
    residence.begin(())
    return found


# ---------------------------------------------------------------------- all of it


def _phases(
    kind: str, model: RandomWan, folder: Path, sizes: Any, device: torch.device, say: Any
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for size in sizes:
        if size[0] == 1280 and "a14b" not in kind:
            continue
        name = f"{size[0]}x{size[1]}, {size[2]} frames"
        begun = time.perf_counter()
        estimate = footprint_of(kind, folder, size)
        spent = time.perf_counter() - begun
        wanted = {work.name: work.room for work in estimate.works}
        wanted["decode tiled"] = estimate.works[-1].tiled_room or 0
        real = phases(model, size, device, all_of_them=size[0] < 1280)
        found[name] = {
            phase: {"estimated": wanted[phase], **measures} for phase, measures in real.items()
        }
        found[name]["estimate seconds"] = round(spent, 2)
        found[name]["weights"] = {
            n: {
                "estimated": part.whole,
                "measured": sum(t.numel() * t.element_size() for t in module.parameters()),
            }
            for (n, part), module in zip(
                sorted(estimate.parts.items()),
                (m for _, m in sorted(model.components.items())),
                strict=True,
            )
        }
        told = {
            phase: [round(wanted[phase] / GIB, 2), round(m["peak"] / GIB, 2), m["seconds"]]
            for phase, m in real.items()
        }
        say({kind: name, **told})
    return found


def _ladder(
    kind: str,
    model: RandomWan,
    size: Any,
    root: Path,
    device: torch.device,
    say: Any,
    runs: tuple[Run, ...],
) -> dict[str, Any]:
    name = f"{size[0]}x{size[1]}, {size[2]} frames"
    return {name: ladder(kind, model, size, root, device, say, runs=runs)}


def _steps(
    kind: str, model: RandomWan, sizes: Any, device: torch.device, say: Any
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    exact: dict[str, torch.Tensor] = {}
    for fp8 in (False, True):
        if fp8:
            model.store_in_8_bits()
        for size in sizes:
            name = f"{size[0]}x{size[1]}, {size[2]} frames"
            costs = step_costs(model, size, device, fp8=fp8)
            velocity = costs.pop("velocity")
            if fp8:
                away = (velocity - exact[name]).pow(2).mean().sqrt()
                costs["fp8 relative rms"] = float(away / exact[name].pow(2).mean().sqrt())
            exact.setdefault(name, velocity)
            found.setdefault(name, {}).update(costs)
            say({kind: name, **costs})
    return found


def _shrink() -> tuple[tuple[int, int, int], ...]:
    """Have everything so small that a CPU can rehearse it; the sizes of the clips."""
    sizes = ((64, 64, 5), (64, 64, 9))
    LEAST.update(dict.fromkeys(sizes, (1.0, 1.0)))
    UMT5_XXL.update({"vocab_size": 600, "d_ff": 64, "num_layers": 1, "num_heads": 2})
    for config in TRANSFORMERS.values():
        config.update({"num_attention_heads": 1, "ffn_dim": 64, "num_layers": 2})
    return sizes


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/memory_h200.json"))
    parser.add_argument("--parts", nargs="+", default=["phases", "ladder", "steps", "narrow"])
    parser.add_argument("--kinds", nargs="+", default=list(TRANSFORMERS))
    parser.add_argument("--most", type=float, default=1e9, help="GiB; no cap above it is tried")
    parser.add_argument("--limit", type=float, default=1e9, help="seconds; no part begins later")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes on a CPU: a rehearsal")
    return parser.parse_args()


def _model(kind: str, folder: Path, device: torch.device) -> RandomWan:
    """A model of that kind with random weights."""
    boundary = 0.9 if "a14b" in kind else None
    request = LoadRequest(
        model=ModelRef(name=kind, family="wan", location=str(folder)),
        precision="bfloat16",
        vae_precision="float32",
        device=str(device),
        image_to_video="i2v" in kind,
        boundary=boundary,
    )
    return RandomWan(random_pipe(kind, device), request, boundary=boundary)


def _measured(part: dict[str, Any], name: str, work: Callable[[], Any]) -> None:
    """What a part measures. One that fails must not cost the others: a card is lent for minutes."""
    try:
        part[name] = work()
    except Exception:
        part[name] = {"failed": traceback.format_exc()}
        traceback.print_exc()


def main() -> None:
    """Run everything and write the results as they come."""
    arguments = _arguments()
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    sizes = _shrink() if arguments.tiny else SIZES
    results: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "weights": "random",
    }

    def say(part: Any) -> None:
        print(json.dumps(part), flush=True)
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")

    developing.write_clip = no_clip  # type: ignore[assignment, attr-defined]
    root = Path(tempfile.mkdtemp(prefix="memory-"))
    begun = time.perf_counter()
    caps = runs_of(sizes[0], most=arguments.most)
    for kind in arguments.kinds:
        folder = write_folder(kind, root / "models")
        model = _model(kind, folder, device)
        print(f"{kind} built after {time.perf_counter() - begun:.0f} s", flush=True)
        part = results.setdefault(kind, {})
        with torch.inference_mode():  # the first kernel's workspaces are nobody's peak
            torch.ones(64, 64, device=device) @ torch.ones(64, 64, device=device)
        works: dict[str, Callable[[], Any]] = {
            "phases": partial(_phases, kind, model, folder, sizes, device, say),
            "ladder": partial(_ladder, kind, model, sizes[0], root, device, say, caps),
            "steps": partial(_steps, kind, model, sizes[:2], device, say),
            # Last: weights that were stored in 8 bits cannot be widened again.
            "narrow": partial(_ladder, kind, model, sizes[0], root, device, say, NARROW),
        }
        for name in arguments.parts:
            if time.perf_counter() - begun <= arguments.limit:
                _measured(part, name, works[name])
        for residence in model.residences:
            residence.let_go()
        del model, works
        gc.collect()
    results["seconds"] = round(time.perf_counter() - begun)
    say({"seconds": results["seconds"]})


if __name__ == "__main__":
    main()
