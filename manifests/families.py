"""Families of models: what each can render, as a registry of small frozen descriptors."""

from __future__ import annotations

from dataclasses import dataclass

from manifests.refusal import Refusal
from manifests.text import suggest


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What all models of one family share. Lengths and sizes are inclusive."""

    name: str
    """As presets and the studio's models say it: `wan`."""
    title: str
    """As a person says it: `Wan`."""
    frame_step: int
    """Frame counts are `frame_step * n + 1` (the VAE packs that many frames in one latent)."""
    min_frames: int
    max_frames: int
    size_multiple: int
    """Width and height are multiples of this many pixels, unless the model says otherwise."""
    min_size: int
    """Least width and height, pixels."""
    max_size: int
    """Greatest width and height, pixels."""
    precision: str
    """Of the transformer, where the model does not say: `float32` or `bfloat16`."""
    pipelines: tuple[str, ...]
    """Values of `_class_name` in a `model_index.json` of this family."""
    may_have_experts: bool
    """Some models of it have two transformers, changed at a noise level (the boundary)."""
    boundaries: tuple[tuple[str, float], ...] = ()
    """(task, boundary) for models with two experts that do not name theirs."""

    def snap_frames(self, frames: int) -> int:
        """The least valid frame count that is not below `frames`."""
        return -(-(frames - 1) // self.frame_step) * self.frame_step + 1

    def snap_size(self, pixels: int, *, multiple: int) -> int:
        """The multiple nearest to `pixels` inside the family's limits; a tie goes up."""
        low = -(-self.min_size // multiple) * multiple
        high = self.max_size // multiple * multiple
        return min(max((2 * pixels + multiple) // (2 * multiple) * multiple, low), high)

    def boundary(self, task: str | None) -> float | None:
        """Noise level at which the experts of a model for `task` change."""
        return dict(self.boundaries).get(task or "")


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            name="pocket",
            title="Pocket Wan",
            frame_step=4,
            min_frames=5,
            max_frames=33,
            size_multiple=16,
            min_size=64,
            max_size=256,
            precision="float32",
            pipelines=("WanImageToVideoPipeline",),
            may_have_experts=False,
        ),
        Family(
            name="wan",
            title="Wan",
            frame_step=4,
            min_frames=5,
            max_frames=161,
            size_multiple=16,
            min_size=128,
            max_size=1920,
            precision="bfloat16",
            pipelines=("WanImageToVideoPipeline", "WanPipeline"),
            may_have_experts=True,
            boundaries=(("i2v", 0.900), ("t2v", 0.875)),
        ),
    )
}
"""Every family by name."""


def family_named(name: str) -> Family:
    """The family of that name. Raises Refusal."""
    try:
        return FAMILIES[name]
    except KeyError:
        raise Refusal(f"there is no model family {name!r}", suggest(name, FAMILIES)) from None
