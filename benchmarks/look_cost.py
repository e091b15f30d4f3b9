"""What a look after stage 1 costs at real size: a 1.3B Wan with random weights, 81 frames of
832x480, against the model calls of a whole take and against the whole decode.

    python -m benchmarks.look_cost --out benchmarks/results/look_cost_h200.json
    python -m benchmarks.look_cost --tiny --out tiny.json       # a rehearsal on any machine
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.pocket_takes import about, write_results
from benchmarks.real_size import LARGE, Shape, random_wan
from manifests.preset import load_preset
from manifests.schedules import model_calls
from manifests.settings import load_studio
from manifests.stage import Expert
from qc.early import judge_early, measure_early
from render.families.base import Position
from render.glimpse import glimpse
from render.look import Glimpse

TINY = Shape(frames=9, width=192, height=192)
CALLS = 4
TEXT = 512


def seconds_of(work: Callable[[], Any], device: str) -> tuple[float, Any]:
    """Wall time of `work`, with what is queued on the card, after one round to warm up."""
    work()
    _wait(device)
    begun = time.perf_counter()
    result = work()
    _wait(device)
    return time.perf_counter() - begun, result


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args()
    device, shape = args.device, TINY if args.tiny else LARGE
    dtype = torch.float32 if args.tiny else torch.bfloat16
    with torch.inference_mode():
        model = random_wan("tiny" if args.tiny else "1.3B", dtype=dtype, device=device)
        size = model.latent_shape(width=shape.width, height=shape.height, frames=shape.frames)
        x = torch.randn(size, generator=torch.Generator().manual_seed(1)).to(device)
        text = torch.randn(1, TEXT, 4096, dtype=dtype, device=device)
        at = Position(sigma=torch.tensor(0.5), expert=Expert.AUTO, step=0, steps=1)

        def calls() -> None:
            for _ in range(CALLS):
                model.velocity(x, at, text, image=None, branch="cond")

        sampling, _ = seconds_of(calls, device)
        decode, _ = seconds_of(lambda: list(model.decode(x)), device)
        part, shown = seconds_of(lambda: glimpse(model, x), device)
        judging, _ = seconds_of(lambda: _judge(shown), "cpu")
    preset = load_preset("wan", "two-stage", load_studio(Path()), with_loras=False)
    take_calls = sum(model_calls(stage) for stage in preset.stages)
    take = take_calls * sampling / CALLS + decode
    data = {
        **about(device),
        "model": "tiny" if args.tiny else "Wan 2.1 1.3B, random weights, bfloat16",
        "shape": shape.name,
        "call_seconds": round(sampling / CALLS, 4),
        "calls_of_a_take": take_calls,
        "decode_seconds": round(decode, 4),
        "look_decode_seconds": round(part, 4),
        "look_judge_seconds": round(judging, 4),
        "look_share_of_decode": round(part / decode, 4),
        "look_share_of_take": round((part + judging) / take, 5),
        "frames": list(shown.frames.shape),
    }
    write_results(args.out, data)
    print(data)


def _judge(shown: Glimpse) -> None:
    box = (shown.box.left, shown.box.top, shown.box.right, shown.box.bottom)
    judge_early(measure_early(colours=shown.colours, frames=shown.frames, box=box, source=None))


if __name__ == "__main__":
    main()
