"""A small recipe of one stage, and the order of its take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from manifests.stage import Recipe, Stage, StageKind
from render.order import ModelRef, RenderOrder


def plain_recipe(**changes: Any) -> Recipe:
    """5 frames of 32 x 32 from text, in two steps; keywords change it."""
    values: dict[str, Any] = {
        "preset": "test/single",
        "family": "wan",
        "model": "fake",
        "model_id": "fake",
        "prompt": "pan left",
        "negative": "",
        "width": 32,
        "height": 32,
        "frames": 5,
        "fps": 8.0,
        "seed": 1,
        "stages": (Stage(kind=StageKind.RENOISE, steps=2, cfg=1.0, shift=5.0),),
        **changes,
    }
    return Recipe(**values)


def plain_order(root: Path, name: str, words: str = "", **changes: Any) -> RenderOrder:
    """The first take of the shot `name`, prompted with `words`, into a folder of its own.

    Keywords change the order.
    """
    values: dict[str, Any] = {
        "take_id": f"sheet/{name}/f/t1",
        "shot": name,
        "take": 1,
        "recipe": plain_recipe(prompt=words),
        "model": ModelRef(name="fake", family="wan", location="fake"),
        "source": None,
        "folder": root / name,
        **changes,
    }
    return RenderOrder(**values)
