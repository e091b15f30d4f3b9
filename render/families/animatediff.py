"""AnimateDiff on Stable Diffusion 1.5, text-to-video, through the stock diffusers components.

The model predicts noise (`manifests.stage.Noise`): its velocity is what it predicts, so the stage
loop needs to know nothing else. It renders from text alone. Everything is done as
`AnimateDiffPipeline` does it; noise levels, solver and the order of stages are ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor

from manifests.noise import timestep_of
from manifests.stage import Expert, Noise, Recipe
from render.errors import ModelUnavailable
from render.families.base import Frames, ImageCondition, LoadRequest, Position
from render.families.piped import PipedModel
from render.families.pixels import frames_of
from render.preview_factors import PreviewFactors, known_factors

SD15_LATENTS = (4, 0.18215)
"""Channels and scale of Stable Diffusion 1.5's latents: by these its VAE is known."""
DECODE_FRAMES = 4
"""Frames that the VAE decodes at once: each stands for itself, so this decides memory alone."""


class AnimateDiffModel(PipedModel):
    """An AnimateDiff pipeline's components, and where they are."""

    def __init__(self, pipe: Any, request: LoadRequest) -> None:
        super().__init__(pipe, request)
        self._dtype: torch.dtype = pipe.unet.dtype
        self._noise = Noise.EPS_LINEAR

    # ------------------------------------------------------------------ what it can do

    @property
    def preview_factors(self) -> PreviewFactors | None:
        """Those of Stable Diffusion 1.5, whose VAE it is; None beside another one's."""
        config = self._pipe.vae.config
        known = (config.latent_channels, config.scaling_factor) == SD15_LATENTS
        return known_factors("sd-1.5") if known else None

    def check(self, recipe: Recipe) -> None:
        """Refuse experts, foreign noise, and more frames than its motion modules hold together."""
        for index, stage in enumerate(recipe.stages):
            if stage.expert is not Expert.AUTO:
                raise ModelUnavailable(
                    f"model {self.name} has one network, stage {index + 1} asks for the "
                    f"{stage.expert}-noise expert; take `expert` out of the preset"
                )
            if stage.noise is Noise.FLOW:
                raise ModelUnavailable(
                    f"model {self.name} predicts noise, stage {index + 1} has the levels of a flow "
                    "model; check the sheet again"
                )
        most, grain = self._pipe.unet.config.motion_max_seq_length, self._pipe.vae_scale_factor
        if recipe.width % grain or recipe.height % grain or not 1 <= recipe.frames <= most:
            raise ModelUnavailable(
                f"model {self.name} cannot make {recipe.width} x {recipe.height}, {recipe.frames} "
                f"frames; sizes go in multiples of {grain}, and its motion modules hold at most "
                f"{most} frames together"
            )
        self._noise = recipe.stages[0].noise

    def latent_shape(self, *, width: int, height: int, frames: int) -> tuple[int, ...]:
        """(1, 4, frames, height/8, width/8): every frame has a latent of its own."""
        grain, channels = self._pipe.vae_scale_factor, self._pipe.unet.config.in_channels
        return (1, channels, frames, height // grain, width // grain)

    # ------------------------------------------------------------------ what it is told

    def encode_text(self, text: str) -> Tensor:
        """CLIP embeddings (1, 77n, D): the text in n pieces of 75 tokens, one behind the other.

        NOTE: CLIP reads 77 tokens. The stock pipeline cuts a longer text off there; ComfyUI reads
        it piece by piece, and so do we. Weights such as `(word:1.2)` are text to CLIP.
        """
        self._rooms.bring("text_encoder", self._pipe.text_encoder)
        pieces = self._pieces(text)
        embeddings = self._pipe.text_encoder(pieces.to(self.device))[0]
        return cast(Tensor, embeddings.reshape(1, -1, embeddings.shape[-1]).to(self._dtype))

    def _pieces(self, text: str) -> Tensor:
        """Token ids (n, 77): each piece between its start and its end, padded."""
        tokenizer = self._pipe.tokenizer
        ids = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        room = tokenizer.model_max_length - 2
        rows = []
        for begin in range(0, max(len(ids), 1), room):
            piece = [tokenizer.bos_token_id, *ids[begin : begin + room], tokenizer.eos_token_id]
            rows.append(piece + [tokenizer.pad_token_id] * (room + 2 - len(piece)))
        return torch.tensor(rows)

    def encode_still(self, still: Image.Image, *, frames: int) -> ImageCondition:
        """Never asked for: a take with a still is refused when the model is loaded."""
        raise ModelUnavailable(f"model {self.name} renders from text alone")

    def encoded(self) -> None:
        """Send the text encoder off the card."""
        self._rooms.leave("text_encoder", self._pipe.text_encoder)

    # ------------------------------------------------------------------ sampling

    def velocity(
        self, x: Tensor, at: Position, text: Tensor, *, image: ImageCondition | None, branch: str
    ) -> Tensor:
        """The noise that the UNet predicts in `x`, shown to it at unit spread."""
        unet = self._pipe.unet
        self._rooms.bring("unet", unet)
        shown = x / (at.sigma**2 + 1.0) ** 0.5
        t = torch.tensor(timestep_of(float(at.sigma), self._noise), dtype=torch.float32)
        eps = unet(
            shown.to(self._dtype),
            t.to(x.device),
            encoder_hidden_states=text.repeat_interleave(x.shape[2], dim=0),
            return_dict=False,
        )[0]
        return cast(Tensor, eps.float())

    def finish_latents(self, x: Tensor, image: ImageCondition | None) -> Tensor:
        """As they are."""
        return x

    # ------------------------------------------------------------------ pixels

    def decode(self, latents: Tensor) -> Iterator[Frames]:
        """A few frames at a time: the VAE knows single pictures only."""
        vae = self._pipe.vae
        self._rooms.bring("vae", vae)
        z = 1 / vae.config.scaling_factor * latents.to(self.device, dtype=vae.dtype)
        done = 0
        for some in z[0].transpose(0, 1).split(DECODE_FRAMES):
            decoded = vae.decode(some, return_dict=False)[0]
            frames = frames_of(decoded.transpose(0, 1)[None], done=done)
            done += len(frames)
            yield frames
