"""Memory of Wan takes, estimated and measured; the ladder under caps; what a rung costs.

Run it as `python -m benchmarks.memory`.

Real sizes, random weights: memory and time do not depend on the values. Models are built from
their settings, so nothing is downloaded. Needs a card with room for a 14B model (about 80 GiB) and
about 90 GB of host memory; `--tiny` is a rehearsal on a CPU and proves nothing.

Clips are not written (the machine of the committed run has no PyAV): the decoded frames are taken
from the writer's queue and dropped.
"""

# What is missing on a bare machine is replaced before the imports that ask for it.
# ruff: noqa: E402
from __future__ import annotations

import argparse
import gc
import hashlib
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import torch
from diffusers import AutoencoderKLWan, WanImageToVideoPipeline, WanPipeline, WanTransformer3DModel
from PIL import Image
from transformers import UMT5Config, UMT5EncoderModel

for _name in ("av", "rapidfuzz"):
    if find_spec(_name) is None:
        # Imported on the way to what is measured, and never called here.
        for _part in ("", ".error", ".logging", ".video", ".video.reformatter"):
            sys.modules[_name + _part] = MagicMock()

import render.developing
import render.diffusers_backend as backend_module
from manifests.files import sha256_file
from manifests.stage import Concession, Expert, Recipe, Stage, StageKind
from render.diffusers_backend import DiffusersBackend
from render.errors import OutOfMemory
from render.families.base import ImageCondition, LoadRequest, Position
from render.families.wan import TEXT_TOKENS, WanModel
from render.families.wan_footprint import measure_wan
from render.footprint import GIB, Footprint, FootprintOrder, fit
from render.ladder import Rung
from render.order import ModelRef, RenderOrder

UMT5_XXL = {
    "architectures": ["UMT5EncoderModel"],
    "vocab_size": 256384,
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
    "relative_attention_num_buckets": 32,
}
_WAN = {
    "patch_size": [1, 2, 2],
    "text_dim": 4096,
    "freq_dim": 256,
    "out_channels": 16,
    "cross_attn_norm": True,
    "qk_norm": "rms_norm_across_heads",
    "attention_head_dim": 128,
}
TRANSFORMERS = {
    "wan22-a14b-i2v": {
        **_WAN,
        "num_attention_heads": 40,
        "in_channels": 36,
        "ffn_dim": 13824,
        "num_layers": 40,
    },
    "wan21-1.3b-t2v": {
        **_WAN,
        "num_attention_heads": 12,
        "in_channels": 16,
        "ffn_dim": 8960,
        "num_layers": 30,
    },
}
LEAST: dict[tuple[int, int, int], tuple[float, float]] = {
    (832, 480, 81): (29.0, 7.2),
    (512, 512, 17): (27.0, 4.6),
}
"""Caps, GiB: one that holds an expert and not its work, one that holds all but the decode."""
SIZES = ((832, 480, 81), (512, 512, 17), (1280, 720, 81))


class RandomWan(WanModel):
    """A Wan without a tokenizer: every text is the same row of ids."""

    def encode_text(self, text: str) -> torch.Tensor:
        """The encoder's real work on ids that mean nothing."""
        encoder = self._pipe.text_encoder
        self._residence.bring(encoder)
        ids = torch.arange(TEXT_TOKENS, device=self.device)[None] % encoder.config.vocab_size
        return encoder(ids).last_hidden_state.to(self._dtype)


def write_folder(kind: str, root: Path) -> Path:
    """The settings of a model, as a diffusers folder without weights."""
    folder, two = root / kind, "a14b" in kind
    parts: dict[str, tuple[list[str], dict[str, Any]]] = {
        "text_encoder": (["transformers", "UMT5EncoderModel"], UMT5_XXL),
        "transformer": (["diffusers", "WanTransformer3DModel"], TRANSFORMERS[kind]),
        "vae": (["diffusers", "AutoencoderKLWan"], {}),
    }
    if two:
        parts["transformer_2"] = parts["transformer"]
    for name, (_, config) in parts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "config.json").write_text(json.dumps(config))
    index = {name: kind_ for name, (kind_, _) in parts.items()}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def random_pipe(kind: str, device: torch.device) -> Any:
    """The pipeline with random weights in host memory; drawn on the card, which is quick."""
    pipe: Any = WanImageToVideoPipeline if "i2v" in kind else WanPipeline
    half = torch.bfloat16 if device.type == "cuda" else torch.float32
    parts: dict[str, Any] = {
        "text_encoder": _filled(lambda: UMT5EncoderModel(UMT5Config(**UMT5_XXL)), half, device),
        "vae": _filled(AutoencoderKLWan, torch.float32, device),
        "transformer": _filled(lambda: _transformer(kind), half, device),
        "transformer_2": _filled(lambda: _transformer(kind), half, device)
        if "a14b" in kind
        else None,
    }
    if "a14b" in kind:
        parts["transformer_2"] = _filled(lambda: _transformer(kind), half, device)
    more = {"image_processor": None, "image_encoder": None} if "i2v" in kind else {}
    return pipe(tokenizer=None, scheduler=None, boundary_ratio=0.9, **more, **parts)


def _transformer(kind: str) -> Any:
    return WanTransformer3DModel.from_config(TRANSFORMERS[kind])


def _filled(make: Callable[[], Any], dtype: torch.dtype, device: torch.device) -> Any:
    from render.meter import build

    module = build(make, dtype)
    generator = torch.Generator(device).manual_seed(1)
    shared: dict[int, torch.Tensor] = {}
    for owner in module.modules():
        for table in (owner._parameters, owner._buffers):
            for name, tensor in table.items():
                if tensor is None:
                    continue
                if id(tensor) not in shared:
                    drawn = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
                    if tensor.is_floating_point():
                        drawn.normal_(0, 0.02, generator=generator)
                    else:
                        drawn.zero_()
                    shared[id(tensor)] = drawn.cpu()
                filled = shared[id(tensor)]
                table[name] = (
                    torch.nn.Parameter(filled, False) if table is owner._parameters else filled
                )
    if isinstance(module, WanTransformer3DModel):
        module.rope = type(module.rope)(
            module.config.attention_head_dim,
            module.config.patch_size,
            module.config.rope_max_seq_len,
        )
    return module.eval()


def footprint_of(kind: str, folder: Path, size: tuple[int, int, int]) -> Footprint:
    """The estimate, as the plan makes it."""
    return measure_wan(
        FootprintOrder(
            model=ModelRef(name=kind, family="wan", location=str(folder)),
            precision="bfloat16",
            vae_precision="float32",
            width=size[0],
            height=size[1],
            frames=size[2],
            image_to_video="i2v" in kind,
        )
    )


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
    residence, pipe = model._residence, model._pipe
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


# ---------------------------------------------------------------------- (b) the ladder under caps


@contextmanager
def capped(gib: float | None, device: torch.device) -> Iterator[None]:
    """A card of that many GiB, as torch's allocator sees it."""
    if gib is None or device.type != "cuda":
        yield
        return
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(gib * GIB / total)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def order_of(
    kind: str,
    size: tuple[int, int, int],
    root: Path,
    name: str,
    device: torch.device,
    **changes: Any,
) -> RenderOrder:
    """A take of two steps, one for each expert, without guidance."""
    still = root / "still.png"
    if not still.exists():
        Image.new("RGB", (size[0], size[1]), (90, 120, 150)).save(still)
    i2v = "i2v" in kind
    recipe = Recipe(
        preset="wan/single",
        family="wan",
        model=kind,
        model_id=f"random:{kind}",
        prompt="a",
        negative="b",
        width=size[0],
        height=size[1],
        frames=size[2],
        fps=16.0,
        seed=1,
        source_sha256=sha256_file(still) if i2v else None,
        precision="bfloat16",
        boundary=0.9 if i2v else None,
        stages=(Stage(kind=StageKind.RENOISE, steps=2, cfg=1.0, shift=5.0),),
        concessions=changes.pop("concessions", ()),
    )
    made = RenderOrder(
        take_id=f"bench/{name}/t1",
        shot=name,
        take=1,
        recipe=recipe,
        model=ModelRef(name=kind, family="wan", location="random"),
        source=still if i2v else None,
        folder=root / name,
        device=str(device),
    )
    return replace(made, **changes)


def ladder(
    kind: str, model: RandomWan, size: Any, root: Path, device: torch.device, say: Any
) -> list[Any]:
    """The same take on cards of several sizes: rungs, seconds, and whether the bits are equal.

    The room that a take needs is known from the estimate, or said to be nothing, so that memory
    really runs out. The last two share a folder: the second goes on from the first one's stage.
    """
    low, least = LEAST[size]
    footprint = footprint_of(kind, root / "models" / kind, size)
    known, nothing = footprint.room(()), dict.fromkeys(footprint.parts, 1)
    runs: list[tuple[str, float | None, dict[str, int], tuple[Concession, ...]]] = [
        ("whole card", None, known, ()),
        ("48 GiB", 48, known, ()),
        ("32 GiB", 32, known, ()),
        (f"{low:g} GiB, room unknown", low, nothing, ()),
        ("24 GiB", 24, known, ()),
        ("12 GiB", 12, known, ()),
        (f"{least:g} GiB", least, nothing, ()),
        (f"{least:g} GiB, tiling conceded", least, nothing, (Concession.TILING,)),
    ]
    found: list[Any] = []
    for name, gib, room, conceded in runs:
        _install(kind, model)
        backend = DiffusersBackend()
        folder = f"{size[2]}-{name.partition(',')[0]}".replace(" ", "-")
        if room is nothing and gib == low:
            folder += "-unknown"
        order = order_of(kind, size, root, folder, device, room=room, concessions=conceded)
        begun = time.perf_counter()
        said: dict[str, Any] = {"name": name, "cap_gib": gib}
        card = int((gib or 140) * GIB)
        said["plan"] = fit(footprint, card=card, concessions=conceded).words
        with capped(gib, device):
            try:
                receipt = backend.render(order, tell=lambda progress: None)
                said |= {
                    "rungs": list(receipt.rungs),
                    "notes": list(receipt.notes),
                    "peak_gib": round(receipt.peak_memory / GIB, 2),
                    "stage_seconds": [round(stage.seconds, 2) for stage in receipt.stages],
                    "decode_seconds": round(receipt.decode_seconds, 2),
                    "latents": receipt.stages[-1].latents_sha256[:16],
                    "clip": receipt.clip_sha256[:16],
                }
            except OutOfMemory as error:
                said |= {"error": str(error), "phase": error.phase, "rungs": list(error.rungs)}
        said["wall"] = round(time.perf_counter() - begun, 1)
        for residence in model.residences:
            for part in model.components.values():
                residence.send_away(part)
        found.append(said)
        say(said)
        del backend
        gc.collect()
    return found


def _install(kind: str, model: RandomWan) -> None:
    """Have the backend 'load' the model that is there already."""
    keep: Any = model
    keep.close = lambda: None
    backend_module.load_model = lambda request: keep  # type: ignore[assignment]


def _no_clip(frames: Any, path: Path, *, fps: float) -> None:
    digest = hashlib.sha256()
    for chunk in frames:
        digest.update(chunk.tobytes())
    path.write_text(digest.hexdigest())


# ---------------------------------------------------------------------- (c) what a rung costs


def step_costs(model: RandomWan, size: Any, device: torch.device, *, fp8: bool) -> dict[str, Any]:
    """Seconds of one model call: resident, swapped, and stored in 8 bits."""
    found: dict[str, Any] = {}
    net, residence = model._pipe.transformer, model._residence
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
    kind: str, model: RandomWan, size: Any, root: Path, device: torch.device, say: Any
) -> dict[str, Any]:
    name = f"{size[0]}x{size[1]}, {size[2]} frames"
    return {name: ladder(kind, model, size, root, device, say)}


def _steps(
    kind: str, model: RandomWan, sizes: Any, device: torch.device, say: Any
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    exact: dict[str, torch.Tensor] = {}
    net = model._pipe.transformer
    for fp8 in (False, True):
        if fp8:
            net.enable_layerwise_casting(
                storage_dtype=torch.float8_e4m3fn, compute_dtype=model._dtype
            )
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


def main() -> None:
    """Run everything and write the results as they come."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/memory_h200.json"))
    parser.add_argument("--parts", nargs="+", default=["phases", "ladder", "steps"])
    parser.add_argument("--limit", type=float, default=1e9, help="seconds; no part begins later")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes on a CPU: a rehearsal")
    arguments = parser.parse_args()
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    sizes: tuple[tuple[int, int, int], ...] = SIZES
    if arguments.tiny:
        sizes = ((64, 64, 5), (64, 64, 9))
        LEAST.update(dict.fromkeys(sizes, (1.0, 1.0)))
        UMT5_XXL.update({"vocab_size": 600, "d_ff": 64, "num_layers": 1, "num_heads": 2})
        for config in TRANSFORMERS.values():
            config.update({"num_attention_heads": 1, "ffn_dim": 64, "num_layers": 2})
    results: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "weights": "random",
    }

    def say(part: Any) -> None:
        print(json.dumps(part), flush=True)
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")

    render.developing.write_clip = _no_clip  # type: ignore[assignment]
    root = Path(tempfile.mkdtemp(prefix="memory-"))
    begun = time.perf_counter()
    for kind in TRANSFORMERS:
        folder = write_folder(kind, root / "models")
        pipe = random_pipe(kind, device)
        request = LoadRequest(
            model=ModelRef(name=kind, family="wan", location=str(folder)),
            precision="bfloat16",
            vae_precision="float32",
            device=str(device),
            image_to_video="i2v" in kind,
            boundary=0.9 if "a14b" in kind else None,
        )
        model = RandomWan(pipe, request, boundary=0.9 if "a14b" in kind else None)
        print(f"{kind} built after {time.perf_counter() - begun:.0f} s", flush=True)
        part = results.setdefault(kind, {})
        with torch.inference_mode():  # the first kernel's workspaces are nobody's peak
            torch.ones(64, 64, device=device) @ torch.ones(64, 64, device=device)
        works: dict[str, Callable[[], Any]] = {
            "phases": partial(_phases, kind, model, folder, sizes, device, say),
            "ladder": partial(_ladder, kind, model, sizes[0], root, device, say),
            "steps": partial(_steps, kind, model, sizes[:2], device, say),
        }
        for name in arguments.parts:
            late = time.perf_counter() - begun > arguments.limit
            if late or (name == "ladder" and "a14b" not in kind):
                continue
            try:
                part[name] = works[name]()
            except Exception:
                # One part that fails must not cost the others: a card is lent for minutes.
                part[name] = {"failed": traceback.format_exc()}
                traceback.print_exc()
        for residence in model.residences:
            residence.let_go()
        del model, pipe
        gc.collect()
    results["seconds"] = round(time.perf_counter() - begun)
    say({"seconds": results["seconds"]})


if __name__ == "__main__":
    main()
