"""Footprints of recipes: measured in a child process, where torch is, and kept in the root."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from manifests.files import write_atomic
from manifests.models import ModelSpec
from manifests.stage import Recipe
from render.footprint import Footprint, FootprintOrder
from tasks.ask_worker import ask_worker
from tasks.model_ref import model_ref

FORMAT = 1
"""Raised when what is measured changes."""

Ask = Callable[[str, dict[str, Any]], Any]


def footprint_order(recipe: Recipe, models: Mapping[str, ModelSpec]) -> FootprintOrder:
    """What is asked of the worker for a recipe."""
    return FootprintOrder(
        model=model_ref(recipe.model, models[recipe.model]),
        precision=recipe.precision,
        vae_precision=recipe.vae_precision,
        width=recipe.width,
        height=recipe.height,
        frames=recipe.frames,
        image_to_video=recipe.source_sha256 is not None,
    )


class Footprints:
    """What is known, kept in a file that may be deleted at any time."""

    def __init__(
        self, path: Path, models: Mapping[str, ModelSpec], *, ask: Ask = ask_worker
    ) -> None:
        self._path, self._models, self._ask = path, models, ask
        self._kept: dict[str, Any] = _read(path)

    def of(self, recipes: Sequence[Recipe]) -> list[Footprint | str]:
        """The footprint of each recipe, or in words why there is none. One child process for all
        that are not known. Raises WorkerLost when it dies."""
        orders = {self._key(recipe): footprint_order(recipe, self._models) for recipe in recipes}
        missing = {key: order for key, order in orders.items() if key not in self._kept}
        if missing:
            asked = {"orders": [order.to_dict() for order in missing.values()]}
            answers = self._ask("footprint", asked)
            self._kept.update(zip(missing, answers, strict=True))
            # What is refused for want of a file may be mended by then: it is asked again.
            known = {key: kept for key, kept in self._kept.items() if "error" not in kept}
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self._path, json.dumps({"format": FORMAT, "kept": known}))
        return [_footprint(self._kept[self._key(recipe)]) for recipe in recipes]

    def _key(self, recipe: Recipe) -> str:
        plain = {
            "order": footprint_order(recipe, self._models).to_dict(),
            "model_id": recipe.model_id,
            "versions": {name: version(name) for name in ("torch", "diffusers", "transformers")},
        }
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _footprint(kept: Mapping[str, Any]) -> Footprint | str:
    return str(kept["error"]) if "error" in kept else Footprint.from_dict(kept)


def _read(path: Path) -> dict[str, Any]:
    """What was kept; nothing where the file is not there, damaged or of another version."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] == FORMAT:
            kept = dict(data["kept"])
            for footprint in kept.values():
                Footprint.from_dict(footprint)
            return kept
    return {}
