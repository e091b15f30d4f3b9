"""What measuring a take costs beside a card that samples the next one.

    python -m benchmarks.qc_card --out benchmarks/results/qc_card_h200.json

A 1.3B Wan with random weights samples 81 frames of 832x480 with guidance (`real_size.py`), and the
seconds of a step are taken in turn, `--rounds` times: alone; beside a hand, a process without a
card that measures a clip of that size over and over, as a night's hands do; and beside a thread of
the same process that measures it, with LPIPS on the card. Every metric, frames in memory.

`of_take`: seconds of measuring over those of a take of two stages (20 and 20 steps, as
`wan/two-stage`). `share_of_take`: by how much of itself the next take gets longer meanwhile:
`of_take` x (1 - step alone / step beside it). `--tiny` is a rehearsal on a CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.qc_speed import film, ours
from benchmarks.real_size import LARGE, Bench, Shape, machine, tell
from qc.lpips import load_backbone

STEPS = 40
"""Of a take of two stages."""


class Measurer:
    """Measures a clip again and again until it is stopped, and keeps the seconds of each time."""

    def __init__(self, clip: np.ndarray, *, device: str) -> None:
        self.seconds: list[float] = []
        self._clip, self._backbone = clip, load_backbone(weights_dir=None, device=device)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        while not self._over.is_set():
            begun = time.perf_counter()
            ours(self._clip, self._backbone)
            self.seconds.append(time.perf_counter() - begun)

    def stop(self) -> None:
        """Let it end the clip that it is at."""
        self._over.set()
        self._thread.join()


class Hand:
    """The same in a process of its own, without a card."""

    def __init__(self, shape: Shape, *, threads: int) -> None:
        self.seconds: list[float] = []
        size = (shape.frames, shape.width, shape.height)
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--hand", *map(str, size)],
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": str(threads)},
            stdout=subprocess.PIPE,
            text=True,
        )
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None, "it was asked for"
        for line in self._process.stdout:
            self.seconds.append(float(line))

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()
        self._thread.join()


def be_a_hand(frames: int, width: int, height: int) -> None:
    """Measure until ended, and print the seconds of each time."""
    clip, backbone = (
        film(frames=frames, width=width, height=height),
        load_backbone(weights_dir=None),
    )
    while True:
        begun = time.perf_counter()
        ours(clip, backbone)
        print(time.perf_counter() - begun, flush=True)


@contextmanager
def beside(other: Measurer | Hand) -> Iterator[list[float]]:
    """While the other one measures; the seconds of each time that was wholly within the block."""
    seconds: list[float] = []
    try:
        while not other.seconds:
            time.sleep(0.05)
        before = len(other.seconds)
        yield seconds
        while len(other.seconds) < before + 2:
            time.sleep(0.05)
        seconds += other.seconds[before + 1 :]
    finally:
        other.stop()


def step_seconds(bench: Bench, shape: Shape, steps: int) -> list[float]:
    """Of a few steps, the first left out."""
    return bench.sample(bench.recipe(shape, steps + 1))[1][1:]


def measure_all(
    bench: Bench, shape: Shape, *, rounds: int, steps: int, device: str
) -> dict[str, Any]:
    """Steps alone and beside others, in turn."""
    clip = film(frames=shape.frames, width=shape.width, height=shape.height)
    threads = max(1, (os.cpu_count() or 2) // 2)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    found: dict[str, list[float]] = {"alone": [], "hand": [], "same process": []}
    measuring: dict[str, list[float]] = {"hand": [], "same process": []}
    bench.sample(bench.recipe(shape, 1))
    for _ in range(rounds):
        found["alone"] += step_seconds(bench, shape, steps)
        with beside(Hand(shape, threads=threads)) as seconds:
            found["hand"] += step_seconds(bench, shape, steps)
        measuring["hand"] += seconds
        with beside(Measurer(clip, device=device)) as seconds:
            found["same process"] += step_seconds(bench, shape, steps)
        measuring["same process"] += seconds
        tell(f"{found} {measuring}")
    alone = median(found["alone"])
    result: dict[str, Any] = {"threads": threads, "step_s": {"alone": alone}, "steps": found}
    for name, seconds in measuring.items():
        step, clip_s = median(found[name]), median(seconds)
        result["step_s"][name] = step
        result[name] = {
            "measuring_s_a_take": clip_s,
            "ms_a_frame": 1e3 * clip_s / shape.frames,
            "of_take": clip_s / (STEPS * alone),
            "share_of_take": clip_s * max(0.0, 1 - alone / step) / (STEPS * alone),
        }
    return result


def idle(shape: Shape, *, device: str) -> dict[str, float]:
    """Milliseconds a frame while nothing samples: LPIPS on the card, all else on this machine."""
    clip = film(frames=shape.frames, width=shape.width, height=shape.height)
    backbone = load_backbone(weights_dir=None, device=device)
    ours(clip[:9], backbone)
    seconds = []
    for _ in range(3):
        begun = time.perf_counter()
        ours(clip, backbone)
        seconds.append(time.perf_counter() - begun)
    return {"ms_a_frame": 1e3 * median(seconds) / shape.frames}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--hand", type=int, nargs=3)
    arguments = parser.parse_args()
    if arguments.hand:
        be_a_hand(*arguments.hand)
    shape = Shape(frames=17, width=128, height=96) if arguments.tiny else LARGE
    device = "cpu" if arguments.tiny else "cuda:0"
    bench = Bench("tiny" if arguments.tiny else "1.3B", device=device)
    bench.pull((), shape)
    result = {
        "machine": {**machine(), "cores": os.cpu_count()},
        "shape": shape.name,
        **measure_all(bench, shape, rounds=arguments.rounds, steps=arguments.steps, device=device),
        "LPIPS on the card, nothing sampled": idle(shape, device=device),
        "torch_threads": torch.get_num_threads(),
    }
    text = json.dumps(result, indent=1) + "\n"
    if arguments.out is not None:
        arguments.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
