"""What both trainings share: a clock, a learning rate by wall time, averaged weights, a log."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Clock:
    """Wall time of a run that has to end clean at a set minute."""

    minutes: float
    """Length of the run."""
    started: float = field(default_factory=time.monotonic)
    """Start, seconds of the monotonic clock."""

    def share(self) -> float:
        """Time gone, 0..1 and beyond."""
        return (time.monotonic() - self.started) / (60 * self.minutes)


def rate_share(share: float, *, warmup: float = 0.01, floor: float = 0.0) -> float:
    """Learning rate at a time share, as a share of the peak: linear warm-up, then cosine."""
    if share < warmup:
        return max(share, 1e-4) / warmup
    gone = min(1.0, (share - warmup) / (1 - warmup))
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * gone))


class Average:
    """Exponential average of weights; the average is what ships."""

    def __init__(self, modules: Iterable[nn.Module], *, decay: float) -> None:
        """Starts as a copy of the modules' weights; ``decay`` is per step, below 1."""
        self._live = [p for m in modules for p in m.parameters()]
        self._mean = [p.detach().clone().float() for p in self._live]
        self._decay = decay
        self._steps = 0

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the present weights; young averages forget faster."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        torch._foreach_lerp_(self._mean, [p.detach() for p in self._live], 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchanges live and averaged weights; call again to undo."""
        for live, mean in zip(self._live, self._mean, strict=True):
            held = live.detach().clone()
            live.copy_(mean)
            mean.copy_(held)


class Log:
    """Figures of a run: a line each on the screen, all of them as JSON at the end."""

    def __init__(self, *, path: Path, about: dict[str, Any]) -> None:
        """``about`` says once what was run; it heads the file."""
        self._path = path
        self._about = about
        self._rows: list[dict[str, float]] = []

    def add(self, **figures: float) -> None:
        """One row; written at once, so that a killed run still leaves its log."""
        row = {k: float(f"{v:.5g}") for k, v in figures.items()}
        self._rows.append(row)
        print("  ".join(f"{k} {v:g}" for k, v in row.items()), flush=True)
        text = json.dumps({**self._about, "rows": self._rows}, indent=1)
        self._path.write_text(text + "\n")


def speed_up() -> None:
    """Lets CUDA pick its fastest convolutions and matrix products."""
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True


def descend(
    loss: Tensor,
    *,
    weights: list[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    rate: float,
    gradient: Tensor | None = None,
) -> None:
    """One clipped step down ``loss`` at ``rate``; ``gradient`` is that at a tensor ``loss``."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward(gradient)
    torch.nn.utils.clip_grad_norm_(weights, 1.0)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal-to-noise ratio of two tensors in -1..1, dB."""
    error = (a.float().clamp(-1, 1) - b.float().clamp(-1, 1)).pow(2).mean().item()
    return 10 * math.log10(4 / max(error, 1e-12))
