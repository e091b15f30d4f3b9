"""What a family of models has to know, and what the stage loop asks of a loaded one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from manifests.stage import Expert, Lora, Recipe
from render.footprint import Footprint, FootprintOrder
from render.ladder import Phase, phase_of
from render.memory import Residence
from render.order import ModelRef, Placement
from render.preview_factors import PreviewFactors

Frames = NDArray[np.float32]
"""float32 (T, H, W, 3), RGB, 0..1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCondition:
    """What the model is told about the still, encoded once for a take."""

    latents: Tensor
    """float32 (1, C, T, h, w): joined to the latents channel by channel, or mixed into them, then
    with T = 1 where the clip's first frame alone is given."""
    mask: Tensor | None = None
    """float32 (1, 1, T, h, w): 0 where `latents` are given and 1 where they are made; set only
    for models that mix (Wan 2.2 TI2V-5B)."""
    embeds: Tensor | None = None
    """(1, L, D) of the image encoder, for models that have one (Wan 2.1 I2V)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditioning:
    """What stays the same for all stages of a take."""

    prompt: Tensor
    """(1, L, D) text embeddings."""
    negative: Tensor | None = None
    """(1, L, D); None when no stage uses guidance."""
    image: ImageCondition | None = None
    """None for text-to-video."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where in a stage the model is asked."""

    sigma: Tensor
    """float32 scalar on the CPU, above 0. A flow model is told `1000*sigma`, an eps model the
    timestep that `manifests.noise.timestep_of` finds."""
    expert: Expert
    step: int
    """0-based, within the stage."""
    steps: int


class LoadedModel(ABC):
    """A model on its device: everything the stage loop and the backend need."""

    device: torch.device
    """The card that renders: latents and conditioning lie there."""
    places_parts: bool = False
    """Whether the family keeps to `LoadRequest.placement`; else all parts are on one card."""

    @property
    @abstractmethod
    def components(self) -> Mapping[str, nn.Module]:
        """Its modules by name: `transformer`, `transformer_2`, `text_encoder`, `vae` ..."""

    @property
    def residences(self) -> tuple[Residence, ...]:
        """Who keeps its modules on which card: the memory ladder speaks to them. A family with
        one card for all keeps it as `_residence` and need not say more."""
        own = getattr(self, "_residence", None)
        return () if own is None else (own,)

    @property
    def preview_factors(self) -> PreviewFactors | None:
        """How its latents become colours without a decode, for the strips after each stage; None
        where that is not known, and then there are none. Families name the factors of their VAE:
        `known_factors("sd-1.5")`, `factors_for(vae.config.latents_mean)`."""
        return None

    def tile_decode(self, *, on: bool) -> None:
        """Decode in tiles from now on, or whole again: less memory, faint seams at worst."""
        vae: Any = self.components["vae"]
        if on:
            vae.enable_tiling()
        else:
            vae.disable_tiling()

    def may_decode_beside(self, *, share: float) -> bool:
        """Whether `share` of a picture (0..1 of its area) can be decoded without sending anything
        off a card."""
        vae = self.components["vae"]
        rooms = self.residences
        return any(room.holds(vae) for room in rooms) or all(
            room.has_room(vae, share=share) for room in rooms
        )

    @contextmanager
    def vae_beside(self, *, share: float) -> Iterator[None]:
        """A decode of `share` of a picture in the middle of a take: a VAE that comes for it sends
        nothing away where `may_decode_beside` said so, and leaves again behind it."""
        vae = self.components["vae"]
        with ExitStack() as stack:
            for room in self.residences:
                stack.enter_context(room.beside(vae, share=share))
            yield

    def store_in_8_bits(self) -> None:
        """Store the weights of what samples in 8 bits, widened layer by layer where they are
        computed with. There is no way back but to load the model again; LoRAs come first."""
        parts: Any = self.components
        for name, part in parts.items():
            # What is packed already (GGUF) has fewer bits, and no layers that could be cast.
            if phase_of(name) is Phase.SAMPLE and getattr(part, "hf_quantizer", None) is None:
                part.enable_layerwise_casting(
                    storage_dtype=torch.float8_e4m3fn, compute_dtype=part.dtype
                )

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of the LoRAs that are loaded: what of them is not used."""
        return ()

    @abstractmethod
    def check(self, recipe: Recipe) -> None:
        """Take up a recipe: raise ModelUnavailable when it asks for what this model cannot do.

        Called before anything else of a take. A family that is told more of the clip than its
        latents show keeps it from here (LTX-2: the frame rate).
        """

    @abstractmethod
    def latent_shape(self, *, width: int, height: int, frames: int) -> tuple[int, ...]:
        """Of a clip's latents: (1, C, T, h, w), or whatever one tensor the family needs (LTX-2
        samples picture and sound in one row). `finish_latents` leaves the picture alone."""

    @abstractmethod
    def encode_text(self, text: str) -> Tensor:
        """Text embeddings (1, L, D), in the transformer's precision."""

    @abstractmethod
    def encode_still(self, still: Image.Image, *, frames: int) -> ImageCondition:
        """What the stock pipeline tells the model about `still` (RGB, already of clip size)."""

    @abstractmethod
    def encoded(self) -> None:
        """Text and still are encoded for this take: their encoders may leave the device."""

    @abstractmethod
    def load_loras(self, loras: Sequence[Lora]) -> None:
        """Have exactly these LoRAs loaded, none of them in use yet; the others are forgotten.

        Raises:
            ModelUnavailable: a file is missing, damaged, changed, or does not fit the model.
        """

    @abstractmethod
    def use_loras(self, loras: Sequence[Lora]) -> None:
        """Sample with exactly these loaded LoRAs from now on; none means the bare model."""

    @abstractmethod
    def velocity(
        self, x: Tensor, at: Position, text: Tensor, *, image: ImageCondition | None, branch: str
    ) -> Tensor:
        """The model's velocity at `x`, float32, of the shape of `x`, which is `latent_shape`.

        `branch` is `cond` or `uncond`: step caches keep a memory for each.
        """

    @abstractmethod
    def finish_latents(self, x: Tensor, image: ImageCondition | None) -> Tensor:
        """The picture as it is decoded, (1, C, T, h, w): the latents after the last stage, with
        what was given (the still) in its place."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Iterator[Frames]:
        """Frames of a clip in order, chunk by chunk, as they are decoded. Raises NonFinite."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRequest:
    """Which model to load, and how. Equal requests mean the same warm model."""

    model: ModelRef
    precision: str
    vae_precision: str
    device: str
    image_to_video: bool
    """Whether the take has a still."""
    boundary: float | None
    """Noise level where experts change; None: as the model's folder says."""
    placement: Placement = field(default_factory=Placement)
    fp8: tuple[str, ...] | None = None
    """Hashes of the LoRAs that lie under weights stored in 8 bits; None: weights are stored as
    they are computed. What is stored in 8 bits cannot go back, nor take another LoRA."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One family of models."""

    name: str
    load: Callable[[LoadRequest], LoadedModel]
    """Raises ModelUnavailable, naming the path and what to do."""
    measure: Callable[[FootprintOrder], Footprint] | None = None
    """The memory of a take, from the model's settings alone; None: not estimated."""
