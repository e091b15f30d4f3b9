"""A run of a stock diffusers pipeline, with the latents that its last step left."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def run_stock(pipe: Any, scheduler: Any, **arguments: Any) -> tuple[Tensor, Any]:
    """Latents after the last step, and the frames, of `pipe` on `scheduler`."""
    pipe.scheduler = scheduler
    pipe.set_progress_bar_config(disable=True)
    latents: list[Tensor] = []

    def keep(_pipe: Any, _step: int, _t: Any, kept: dict[str, Any]) -> dict[str, Any]:
        latents.append(kept["latents"])
        return kept

    frames = pipe(callback_on_step_end=keep, **arguments).frames[0]
    return latents[-1], frames
