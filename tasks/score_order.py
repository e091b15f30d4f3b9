"""How a take is to be measured: the same order while it is decoded and afterwards."""

from __future__ import annotations

from pathlib import Path

from manifests.stage import Recipe
from render.order import ScoreOrder
from tasks.desk import Desk, Job


def score_order(night: Desk, job: Job, recipe: Recipe, clip: Path) -> ScoreOrder:
    """Measure `clip` against the shot's source and what `recipe` ordered."""
    return ScoreOrder(
        clip=clip,
        source=None if job.shot.source is None else job.shot.source.path,
        frames=recipe.frames,
        width=recipe.width,
        height=recipe.height,
        fps=recipe.fps,
        device=night.torch_device,
        weights_dir=night.studio.lpips_weights_dir,
    )


def scores_while_decoding(night: Desk) -> bool:
    """Whether a take is measured in the worker that renders it, from the frames themselves.

    On a CPU it is: one worker does everything in turn, and so the clip is not decoded a second
    time. Beside a card it is not: measuring takes longer than writing, the two would share the
    interpreter with the thread that feeds the card, and hands without a card stand ready.
    """
    return night.torch_device == "cpu"
