"""What each lever of the speed levels gains and changes, on models of real size.

    python -m benchmarks.speed --out benchmarks/results/speed_h200.json

Wan transformers of real size with random weights, built on the card from their configuration:
time, memory and the number of graphs do not depend on the values. What a lever does to pictures
does: that is measured on the trained pocket model (`speed_quality.py`). Each part runs in a
process of its own, so that peaks, graphs and compile times are its own; all ratios are within
one run. Needs a CUDA card, torch and diffusers.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import TaylorSeerCacheConfig
from torch import Tensor

from benchmarks.real_size import (
    FAST,
    LARGE,
    OTHER,
    SIZES,
    SMALL,
    VARIANTS,
    Bench,
    Shape,
    decisions,
    frames_of,
    graphs,
    machine,
    peak,
    psnr,
    rms_ratio,
    skipping,
    synchronize,
    tell,
)

# ---------------------------------------------------------------------------- the parts


def measure_steps(
    bench: Bench, shape: Shape, names: list[str], *, steps: int, to: Tensor | None = None
) -> dict[str, dict[str, Any]]:
    """Seconds of a step with guidance, for each variant; distance of the latents to exact."""
    found: dict[str, dict[str, Any]] = {}
    recipe, reference = bench.recipe(shape, steps), to
    for name in names:
        notes = bench.pull(VARIANTS[name], shape)
        begun, count = time.perf_counter(), graphs()
        bench.sample(bench.recipe(shape, 1))  # warm-up, and what is compiled
        first = time.perf_counter() - begun
        with peak() as gib:
            x, seconds = bench.sample(recipe)
            most = gib()
        reference = x if reference is None else reference
        found[name] = {
            "step_s": statistics.median(seconds),
            "steps_s": seconds,
            "first_step_s": first,
            "peak_gib": most,
            "new_graphs": graphs() - count,
            "latents_rms_ratio": rms_ratio(x, reference),
            "finite": bool(torch.isfinite(x).all()),
            "notes": list(notes),
        }
        tell(f"{bench.size} {shape.name} {name}: {found[name]}")
    return found


def part_steps(size: str, device: str) -> dict[str, Any]:
    """Both shapes of one model, every variant that a step shows; then a third shape, compiled."""
    bench = Bench(size, device=device)
    plain, eight = ["exact", "fast"], ["fast + fp8"]
    shapes = {"tiny": (replace(SMALL, width=64, height=64),)}.get(size, (SMALL, LARGE))
    result: dict[str, Any] = {"parameters": parameters(bench)}
    references: dict[Shape, Tensor] = {}
    for shape in shapes:
        few = 2 if (size, shape) == ("14B", LARGE) else 4
        result[shape.name] = measure_steps(bench, shape, plain, steps=few)
        bench.pull(())
        references[shape], _ = bench.sample(bench.recipe(shape, few))
    before = graphs()
    bench.pull(FAST)
    begun = time.perf_counter()
    other = replace(OTHER, width=96, height=64) if size == "tiny" else OTHER
    bench.sample(bench.recipe(other, 1))
    result["third shape"] = {
        "shape": other.name,
        "new_graphs": graphs() - before,
        "first_step_s": time.perf_counter() - begun,
        "graphs_in_all": graphs(),
    }
    tell(f"{size} third shape: {result['third shape']}")
    bench.pull(VARIANTS["fast + step cache"])
    for shape in shapes:
        with skipping():
            _, seconds = bench.sample(bench.recipe(shape, 4))
        result[shape.name]["a step from the step cache"] = {"step_s": seconds[-1]}
        tell(f"{size} {shape.name} skipped: {seconds}")
    bench.pull(FAST)
    for shape in shapes:  # last: it cannot be undone
        few = 2 if (size, shape) == ("14B", LARGE) else 4
        result[shape.name] |= measure_steps(bench, shape, eight, steps=few, to=references[shape])
    return result


def part_take(size: str, device: str) -> dict[str, Any]:
    """A whole short two-stage take, 10 + 6 steps: levels and step caches."""
    bench, result = Bench(size, device=device), {}
    shape = replace(SMALL, width=64, height=64) if size == "tiny" else SMALL
    recipe, reference = bench.recipe(shape, 10, 6), None
    frames: Tensor | None = None
    for name in ("exact", "fast", "fast + step cache", "fast + fp8", "turbo"):
        notes = bench.pull(VARIANTS[name], shape)
        bench.sample(bench.recipe(shape, 1, 1))
        with peak() as gib, decisions() as computed:
            begun = time.perf_counter()
            x, seconds = bench.sample(recipe)
            sampled = time.perf_counter() - begun
            begun = time.perf_counter()
            decoded = frames_of(bench.model, x)
            took, most = time.perf_counter() - begun, gib()
        reference = x if reference is None else reference
        frames = decoded if frames is None else frames
        result[name] = {
            "sample_s": sampled,
            "decode_s": took,
            "peak_gib": most,
            "forwards": 2 * len(seconds),
            "forwards_computed": sum(computed) if computed else 2 * len(seconds),
            "latents_rms_ratio": rms_ratio(x, reference),
            "frames_psnr_db": psnr(decoded, frames),
            "notes": list(notes),
        }
        tell(f"{size} take {name}: {result[name]}")
    return result


def part_taylorseer(size: str, device: str) -> dict[str, Any]:
    """The step cache that is not used, against none, both plain: 10 + 6 steps."""
    bench, result = Bench(size, device=device), {}
    shape = replace(SMALL, width=64, height=64) if size == "tiny" else SMALL
    net: Any = bench.model.components["transformer"]
    reference: Tensor | None = None
    for name in ("exact", "TaylorSeer"):
        if name == "TaylorSeer":
            net.enable_cache(
                TaylorSeerCacheConfig(
                    cache_interval=3, cache_identifiers=[r"blocks\.\d+\.attn[12]"]
                )
            )
        with peak() as gib:
            begun = time.perf_counter()
            x, _ = bench.sample(bench.recipe(shape, 10, 6))
            took = time.perf_counter() - begun
            reference = x if reference is None else reference
            result[name] = {
                "sample_s": took,
                "peak_gib": gib(),
                "latents_rms_ratio": rms_ratio(x, reference),
            }
        tell(f"{size} {name}: {result[name]}")
    return result


def part_compile(size: str, device: str) -> dict[str, Any]:
    """The first step and the one after it: what compiling costs a process that starts here."""
    bench = Bench(size, device=device)
    bench.sample(bench.recipe(SMALL, 1))  # kernels are loaded, nothing is compiled
    bench.pull(FAST)
    seconds = []
    for _ in range(3):
        begun = time.perf_counter()
        bench.sample(bench.recipe(SMALL, 1))
        seconds.append(time.perf_counter() - begun)
    return {"first_step_s": seconds[0], "step_s": seconds[-1], "graphs": graphs()}


def part_attention(size: str, device: str) -> dict[str, Any]:
    """Attention kernels by diffusers' names, nothing compiled."""
    bench = Bench(size, device=device)
    result: dict[str, Any] = {}
    net: Any = bench.model.components["transformer"]
    for shape in (SMALL, LARGE) if size != "tiny" else (replace(SMALL, width=64, height=64),):
        reference: Tensor | None = None
        result[shape.name] = {}
        for name in ("native", "_native_cudnn", "_native_flash", "_native_efficient"):
            net.set_attention_backend(name)
            bench.sample(bench.recipe(shape, 1))
            x, seconds = bench.sample(bench.recipe(shape, 2))
            reference = x if reference is None else reference
            result[shape.name][name] = {
                "step_s": statistics.median(seconds),
                "latents_rms_ratio": rms_ratio(x, reference),
            }
            tell(f"{size} {shape.name} {name}: {result[shape.name][name]}")
    return result


def part_lora(size: str, device: str) -> dict[str, Any]:
    """LoRAs that come and go in compiled blocks: the first step with each, and graphs."""
    from safetensors.torch import save_file

    from manifests.files import sha256_file
    from manifests.stage import Lora

    bench, result = Bench(size, device=device), {}
    bench.pull(FAST)
    names = [
        name
        for name, part in bench.model.components["transformer"].named_modules()
        if isinstance(part, torch.nn.Linear) and name.startswith("blocks.")
    ]
    weights: Any = dict(bench.model.components["transformer"].named_parameters())
    bench.sample(bench.recipe(SMALL, 1))
    for label, rank in (("first", 32), ("another", 64), ("first again", 32), ("none", 0)):
        loras = []
        if rank:
            path = Path(tempfile.gettempdir()) / f"rank-{rank}.safetensors"
            generator = torch.Generator().manual_seed(rank)
            tensors = {}
            for name in names:
                rows, columns = weights[
                    name + ".weight" if name + ".weight" in weights else name + ".base_layer.weight"
                ].shape
                half = partial(torch.randn, generator=generator, dtype=torch.bfloat16)
                tensors[f"transformer.{name}.lora_A.weight"] = half(rank, columns)
                tensors[f"transformer.{name}.lora_B.weight"] = half(rows, rank) * 0.001
            save_file(tensors, path)
            loras = [Lora(path=str(path), sha256=sha256_file(path))]
        count, begun = graphs(), time.perf_counter()
        bench.model.load_loras(loras)
        bench.model.use_loras(loras)
        loaded = time.perf_counter() - begun
        begun = time.perf_counter()
        bench.sample(bench.recipe(SMALL, 1))
        first = time.perf_counter() - begun
        _, seconds = bench.sample(bench.recipe(SMALL, 3))
        result[label] = {
            "rank": rank,
            "load_s": loaded,
            "first_step_s": first,
            "step_s": statistics.median(seconds),
            "new_graphs": graphs() - count,
        }
        tell(f"{size} LoRA {label}: {result[label]}")
    return result


def part_float32(size: str, device: str) -> dict[str, Any]:
    """A float32 transformer with TF32 and without."""
    bench, shape = Bench(size, dtype=torch.float32, device=device), SMALL
    return measure_steps(bench, shape, ["exact", "TF32", "fast"], steps=3)


def part_decode(size: str, device: str) -> dict[str, Any]:
    """The VAE alone in bfloat16: as it is, channels last, cuDNN free to try kernels."""
    bench, result = Bench("tiny" if size == "tiny" else "1.3B", device=device), {}
    vae: Any = bench.model.components["vae"]
    shape = (1, 16, 5, 64, 64) if size != "tiny" else (1, 16, 2, 8, 8)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(3)).to(bench.model.device)
    reference: Tensor | None = None
    for name in ("plain", "cudnn.benchmark", "channels_last_3d", "both"):
        torch.backends.cudnn.benchmark = name in ("cudnn.benchmark", "both")
        if name == "channels_last_3d":
            for part in vae.modules():
                if isinstance(part, torch.nn.Conv3d):
                    part.weight.data = part.weight.data.contiguous(
                        memory_format=torch.channels_last_3d
                    )
        frames_of(bench.model, x)
        seconds = []
        for _ in range(3):
            synchronize()
            begun = time.perf_counter()
            frames = frames_of(bench.model, x)
            seconds.append(time.perf_counter() - begun)
        reference = frames if reference is None else reference
        result[name] = {
            "decode_s": statistics.median(seconds),
            "frames_psnr_db": psnr(frames, reference),
        }
        tell(f"decode {name}: {result[name]}")
    return result


def parameters(bench: Bench) -> int:
    """Of the transformer."""
    return sum(p.numel() for p in bench.model.components["transformer"].parameters())


PARTS: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "steps": part_steps,
    "take": part_take,
    "taylorseer": part_taylorseer,
    "attention": part_attention,
    "compile": part_compile,
    "lora": part_lora,
    "float32": part_float32,
    "decode": part_decode,
}


# ---------------------------------------------------------------------------- all of it


def run_all(plan: list[str], out: Path) -> None:
    """Each part in a process of its own; results are written as they come, others are kept."""
    results: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {"parts": {}}
    cold = tempfile.mkdtemp(prefix="inductor-")
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": cold}
    for name in plan:
        part, size = name.split(":")[:2]
        begun = time.perf_counter()
        done = subprocess.run(
            [sys.executable, __file__, "--part", part, "--size", size],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        try:
            found = json.loads(done.stdout.splitlines()[-1])
            results["parts"][name] = {"machine": machine(), **found}
        except (ValueError, IndexError):
            results["parts"][name] = {"failed": done.returncode, "output": done.stdout[-500:]}
        tell(f"== {name}: {time.perf_counter() - begun:.0f} s, exit {done.returncode}")
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(results, indent=1) + "\n")


PLAN = [
    "compile:1.3B:cold",
    "compile:1.3B:warm",
    "attention:1.3B",
    "steps:1.3B",
    "take:1.3B",
    "taylorseer:1.3B",
    "lora:1.3B",
    "float32:1.3B",
    "decode:1.3B",
    "steps:14B",
    "take:14B",
]
"""`compile` twice: the second process finds on disk what the first one compiled."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/speed.json"))
    parser.add_argument("--plan", nargs="*", default=PLAN)
    parser.add_argument("--part", choices=PARTS)
    parser.add_argument("--size", choices=SIZES, default="1.3B")
    given = parser.parse_args()
    if given.part is None:
        run_all(given.plan, given.out)
        return
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    print(json.dumps(PARTS[given.part](given.size, device)))


if __name__ == "__main__":
    main()
