"""A take that is killed with signal 9, again and again, ends as one that was not."""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from manifests.files import sha256_file
from manifests.stage import Sampler, Stage, StageKind
from render.backend import Progress
from render.diffusers_backend import DiffusersBackend
from render.midway import NAME, Cadence
from render.order import Receipt, RenderOrder

STEPS = 14
"""Of each stage."""
LEAST = 3
CADENCE = Cadence(every_seconds=0.0, least_steps=LEAST, most_share=math.inf)

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


def _render(order: RenderOrder, log: Path, seconds: float) -> Receipt:
    """Render with every step written down before it may be kept, and `seconds` longer."""
    torch.set_num_threads(1)
    lines = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def tell(progress: Progress) -> None:
        if progress.phase == "stage":
            # A step is at (stages before it) * STEPS + (steps of its own).
            os.write(lines, f"{(progress.stage - 1) * STEPS + progress.step}\n".encode())
            time.sleep(seconds)

    return DiffusersBackend(cadence=CADENCE).render(order, tell=tell)


def _told(log: Path) -> list[int]:
    return [int(line) for line in log.read_text().split()] if log.exists() else []


def _kill_behind(process: BaseProcess, log: Path, step: int, wait: float) -> None:
    """Signal 9, some time behind the given step."""
    while process.is_alive() and max(_told(log), default=-1) < step:
        time.sleep(0.002)
    time.sleep(wait)
    process.kill()
    process.join()


@pytest.fixture
def stages() -> tuple[Stage, ...]:
    """A solver without a memory, one with, and one that draws noise; both experts."""
    samplers = (Sampler.EULER, Sampler.DPMPP_2M, Sampler.EULER_A)
    return tuple(
        Stage(
            kind=StageKind.RENOISE,
            steps=STEPS,
            cfg=2.0,
            shift=5.0,
            denoise=denoise,
            sampler=sampler,
            seed_offset=k,
        )
        for k, (sampler, denoise) in enumerate(zip(samplers, (1.0, 0.6, 0.5), strict=True))
    )


def test_random_kills_change_no_bit_and_cost_few_steps(
    order_for: Callable[..., RenderOrder], stages: tuple[Stage, ...], tmp_path: Path
) -> None:
    """Killed in every stage at random steps, the take's latents and clip are the unkilled ones,
    and no kill costs more steps than lie between two checkpoints."""
    order, chance = order_for("i2v-2.2", stages=stages), random.Random(20261121)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["render.diffusers_backend"])
    logs, killed = list[Path](), list[int | None]()
    for k in range(3):
        logs.append(tmp_path / f"{k}.log")
        process = context.Process(target=_render, args=(order, logs[-1], 0.01))
        process.start()
        behind = k * STEPS + chance.randrange(4, STEPS)
        _kill_behind(process, logs[-1], behind, chance.uniform(0.0, 0.01))
        killed.append(process.exitcode)
    assert killed == [-signal.SIGKILL] * 3
    logs.append(tmp_path / "last.log")
    receipt = _render(order, logs[-1], 0.0)

    whole = _render(replace(order, folder=tmp_path / "whole"), tmp_path / "whole.log", 0.0)
    assert [s.latents_sha256 for s in receipt.stages] == [s.latents_sha256 for s in whole.stages]
    assert receipt.clip_sha256 == whole.clip_sha256 == sha256_file(receipt.clip)
    runs = [_told(log) for log in logs]
    lost = [max(before) - after[0] for before, after in itertools.pairwise(runs)]
    assert all(steps <= LEAST for steps in lost), (lost, runs)
    assert runs[-1][-1] == 3 * STEPS
    assert all(run == sorted(run) for run in runs)
    assert any(run[0] % STEPS for run in runs[1:]), "no run went on inside a stage"
    assert receipt.notes == ()
    left = sorted(path.name for path in order.folder.iterdir())
    assert NAME not in left
    assert not [name for name in left if name.startswith(".")]
