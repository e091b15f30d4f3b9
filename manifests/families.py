"""Families of models: what each can render, as a registry of small frozen descriptors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from manifests.refusal import Refusal
from manifests.stage import Noise
from manifests.text import suggest


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What all models of one family share. Lengths and sizes are inclusive."""

    name: str
    """As presets and the studio's models say it: `wan`."""
    title: str
    """As a person says it: `Wan`."""
    frame_step: int
    """Frame counts are `frame_step * n + frame_offset`: the VAE packs `frame_step` frames in one
    latent."""
    min_frames: int
    max_frames: int
    size_multiple: int
    """Width and height are multiples of this many pixels, unless the model says otherwise."""
    min_size: int
    """Least width and height, pixels."""
    max_size: int
    """Greatest width and height, pixels."""
    precision: str
    """Of the network that samples, where the model does not say: `bfloat16`."""
    pipelines: tuple[str, ...]
    """Values of `_class_name` in a `model_index.json` of this family."""
    may_have_experts: bool
    """Some models of it have two transformers, changed at a noise level (the boundary)."""
    boundaries: tuple[tuple[str, float], ...] = ()
    """(task, boundary) for models with two experts that do not name theirs."""
    frame_offset: int = 1
    """1 where the first frame has a latent of its own, else 0."""
    noise: Noise = Noise.FLOW
    """How its models mix noise and picture, where the model does not say."""
    task: Literal["t2v", "ti2v"] | None = None
    """What all its models start from: text alone, or either; None: the model says."""
    bare_pipelines: tuple[str, ...] = ()
    """Those of `pipelines` that hold no motion modules and need a motion adapter beside them."""
    unused_parts: tuple[str, ...] = ()
    """Parts of a model's folder that are not loaded, so need not be there."""
    told_fps: bool = False
    """Its models are told the frame rate, which so decides pixels and not only the file."""
    max_fps: float = 240.0
    """The fastest motion its models were shown, frames a second."""
    max_seconds: float | None = None
    """The longest clip its models place in time; None: they count frames alone."""

    def snap_frames(self, frames: int) -> int:
        """The least valid frame count that is not below `frames`."""
        offset = self.frame_offset
        return -(-(frames - offset) // self.frame_step) * self.frame_step + offset

    def latent_frames(self, frames: int) -> int:
        """Latents along time of a clip of `frames` frames."""
        return (frames - self.frame_offset) // self.frame_step + self.frame_offset

    @property
    def frame_rule(self) -> str:
        """Its frame counts in words: `4n+1`."""
        if self.frame_step == 1:
            return "any number"
        return f"{self.frame_step}n" + (f"+{self.frame_offset}" if self.frame_offset else "")

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
            name="animatediff",
            title="AnimateDiff",
            frame_step=1,
            frame_offset=0,
            min_frames=8,
            max_frames=32,
            size_multiple=8,
            min_size=256,
            max_size=1024,
            precision="float16",
            pipelines=("AnimateDiffPipeline", "StableDiffusionPipeline"),
            may_have_experts=False,
            noise=Noise.EPS_LINEAR,
            task="t2v",
            bare_pipelines=("StableDiffusionPipeline",),
            unused_parts=("safety_checker", "feature_extractor", "image_encoder"),
        ),
        Family(
            name="ltx2",
            title="LTX-2",
            frame_step=8,
            min_frames=9,
            max_frames=481,
            size_multiple=32,
            min_size=256,
            max_size=2048,
            precision="bfloat16",
            pipelines=("LTX2ImageToVideoPipeline", "LTX2Pipeline"),
            may_have_experts=False,
            task="ti2v",
            # Sound is not decoded, prompts and lengths are the sheet's own.
            unused_parts=("vocoder", "processor", "prompt_enhancer", "duration_head"),
            told_fps=True,
            max_fps=60.0,
            max_seconds=20.0,
        ),
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
