"""Recipes and orders of pocket Wan, as a row of a sheet would give them."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from manifests.library import resolve_model
from manifests.preset import load_preset
from manifests.settings import load_studio
from manifests.source import inspect_source
from manifests.stage import Recipe
from render.order import ModelRef, RenderOrder
from render.pocket.paths import MODEL_DIR

ROOT = Path(__file__).parents[1]
STILLS = ROOT / "manifests/examples/demo/stills"


def pocket_recipe(preset: str, still: Path, prompt: str, **changes: Any) -> Recipe:
    """17 frames of 128 x 128 by a bundled preset of the pocket model; keywords change it."""
    studio = load_studio(Path(tempfile.gettempdir()))
    found = load_preset("pocket", preset, studio)
    model = resolve_model("pocket-wan", studio=studio)
    recipe = Recipe(
        preset=found.qualified_name,
        family="pocket",
        model=model.name,
        model_id=model.model_id,
        prompt=prompt,
        negative="",
        width=128,
        height=128,
        frames=17,
        fps=8.0,
        seed=1,
        source_sha256=inspect_source(still).sha256,
        stages=found.stages,
    )
    return replace(recipe, **changes)


def pocket_order(recipe: Recipe, still: Path, folder: Path, **more: Any) -> RenderOrder:
    """The first take of that recipe, into `folder`."""
    return RenderOrder(
        take_id=f"bench/{still.stem}/{folder.name}/t1",
        shot=still.stem,
        take=1,
        recipe=recipe,
        model=ModelRef(name="pocket-wan", family="pocket", location=str(MODEL_DIR)),
        source=still,
        folder=folder,
        **more,
    )
