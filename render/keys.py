"""What a piece of work depends on, as one hash: equal keys mean equal bits.

Everything that is kept to be used again (checkpoints of a take, entries of the store) carries
such a key. What decides no pixel is left out, so that a renamed shot or a moved LoRA costs
nothing; what is not sure to decide none stays in, so that the worst is work done twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from manifests.families import FAMILIES
from manifests.stage import Recipe

FORMAT = 2
"""Raised when the layout of what is kept, or the arithmetic behind it, changes."""

_NOT_PIXELS = ("preset", "model", "fps", "stages", "concessions", "candidates")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What decides pixels beside the recipe."""

    source_sha256: str | None
    """Of the still that is really rendered."""
    device: str
    """Kind of device: the card's name, or the CPU's instructions and number of threads."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """torch, diffusers and transformers."""
    in_force: tuple[str, ...] = ()
    """Memory rungs and speed levels in force that change pixels, sorted: `fp8`, `turbo`."""


def prefix_fingerprint(recipe: Recipe, k: int) -> str:
    """SHA-256 over what decides the latents at the end of stage `k` (0-based), hex.

    Left out, because no latent depends on it: later stages, the names of preset and model
    (`model_id` says what they are), the frame rate where the model is not told it, where a
    LoRA's file lies, and without a still the precision of the VAE, which then decodes only.

    Raises IndexError when there is no stage `k`.
    """
    if not 0 <= k < len(recipe.stages):
        raise IndexError(f"stage {k} of a recipe with {len(recipe.stages)} stages")
    plain = recipe.to_dict()
    stages = [dict(stage) for stage in plain["stages"][: k + 1]]
    for stage in stages:
        stage["loras"] = [
            {"sha256": lora["sha256"], "strength": lora["strength"]} for lora in stage["loras"]
        ]
    kept = {key: value for key, value in plain.items() if key not in _NOT_PIXELS}
    family = FAMILIES.get(recipe.family)
    if family is None or family.told_fps:
        kept["fps"] = recipe.fps
    if recipe.source_sha256 is None:
        del kept["vae_precision"]
    return sha256_json({**kept, "stages": stages})


def plan_hash(recipe: Recipe, k: int, around: Surroundings) -> str:
    """Key of the latents at the end of stage `k` (0-based): recipe, still, device, libraries."""
    return _key("stage", around, prefix=prefix_fingerprint(recipe, k))


def text_key(recipe: Recipe, text: str, around: Surroundings) -> str:
    """Key of the embeddings of `text`. The still does not matter to them."""
    return _key("text", _without_still(around), text=text, **_model(recipe))


def still_key(recipe: Recipe, around: Surroundings) -> str:
    """Key of what the model is told about the still."""
    return _key(
        "still",
        around,
        width=recipe.width,
        height=recipe.height,
        frames=recipe.frames,
        vae_precision=recipe.vae_precision,
        **_model(recipe),
    )


def sha256_json(value: Any) -> str:
    """SHA-256 over the canonical JSON of plain data, hex."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _key(kind: str, around: Surroundings, **parts: Any) -> str:
    return sha256_json({"format": FORMAT, "kind": kind, "around": asdict(around), **parts})


def _model(recipe: Recipe) -> dict[str, Any]:
    """Of the recipe, what decides how the encoders run."""
    return {
        "family": recipe.family,
        "model_id": recipe.model_id,
        "precision": recipe.precision,
        "speed": recipe.speed,
    }


def _without_still(around: Surroundings) -> Surroundings:
    return Surroundings(
        source_sha256=None,
        device=around.device,
        versions=around.versions,
        in_force=around.in_force,
    )
