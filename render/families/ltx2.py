"""LTX-2, text- and image-to-video, through the stock diffusers components.

Done as `LTX2Pipeline` and `LTX2ImageToVideoPipeline` do it, with classifier-free guidance alone:
their spatio-temporal guidance, their modality guidance and their rescaling of guided pictures
are not in the stage loop. Guidance is the same for picture and sound.

Sound is sampled, because the picture attends to it at every layer; it is not decoded, because a
clip here is silent. The model is told the frame rate: seconds, not frames, place its tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import torch
from diffusers.pipelines.ltx2.utils import (
    apply_image_conditioning_crf,
    resolve_default_image_crf,
)
from PIL import Image
from torch import Tensor, nn

from manifests.families import family_named
from manifests.refusal import Refusal
from manifests.size import check_fps
from manifests.stage import Expert, Recipe
from render.errors import ModelUnavailable
from render.families.base import Frames, ImageCondition, LoadRequest, Position
from render.families.ltx2_layout import Layout, TextLayout
from render.families.piped import PipedModel
from render.families.pixels import frames_of
from render.families.unread import is_unread

FAMILY = family_named("ltx2")

TEXT_TOKENS = 1024
"""Length of the text, as in the stock call: learned registers fill what the words leave."""

CHUNK = 8
"""Frames handed on at once. The VAE looks both ways in time, so it decodes a clip in one piece;
only what comes after goes chunk by chunk."""


class Ltx2Model(PipedModel):
    """An LTX-2 pipeline's components, and where they are."""

    places_parts = True

    def __init__(
        self,
        pipe: Any,
        request: LoadRequest,
        *,
        read_text_encoder: Callable[[nn.Module], None] = lambda encoder: None,
    ) -> None:
        """`read_text_encoder` gives it its weights: they may stay on disk until they are used."""
        super().__init__(pipe, request)
        self._dtype: torch.dtype = pipe.transformer.dtype
        self._text = _text_layout(pipe)
        # LTX-2.0 projects the caption itself; later ones tell each modality the other's noise.
        self._crossed: bool = not pipe.transformer.config.use_prompt_embeddings
        self._read_text_encoder = read_text_encoder
        self._layout: Layout | None = None
        self._fps: float | None = None

    # ------------------------------------------------------------------ what it can do

    def check(self, recipe: Recipe) -> None:
        """Refuse what this model cannot make; keep the frame rate and the shape of the clip."""
        low = [i + 1 for i, stage in enumerate(recipe.stages) if stage.expert is Expert.LOW]
        if low:
            raise ModelUnavailable(
                f"model {self.name} has one transformer, stage {low[0]} asks for the low-noise "
                "expert; take `expert` out of the preset"
            )
        space, time = self._grain()
        if recipe.width % space or recipe.height % space or (recipe.frames - 1) % time:
            raise ModelUnavailable(
                f"model {self.name} cannot make {recipe.width} x {recipe.height}, {recipe.frames} "
                f"frames; sizes go in multiples of {space}, frames in {time}n+1"
            )
        try:
            check_fps(recipe.fps, frames=recipe.frames, family=FAMILY)
        except Refusal as refusal:
            raise ModelUnavailable(f"model {self.name}: {refusal}") from refusal
        self._fps = recipe.fps
        self._layout = self._laid_out(recipe.width, recipe.height, recipe.frames)

    def latent_shape(self, *, width: int, height: int, frames: int) -> tuple[int, ...]:
        """(1, N): the picture, then as much sound as the clip lasts at the take's frame rate."""
        return self._laid_out(width, height, frames).row

    def _laid_out(self, width: int, height: int, frames: int) -> Layout:
        pipe = self._pipe
        assert self._fps is not None, "check takes up a recipe, and its frame rate, first"
        space, time = self._grain()
        # The stock formula, in its order: 25 moments of sound a second for the published models.
        moments_per_second = (
            pipe.audio_sampling_rate
            / pipe.audio_hop_length
            / float(pipe.audio_vae_temporal_compression_ratio)
        )
        bands = pipe.audio_vae.config.mel_bins // pipe.audio_vae_mel_compression_ratio
        return Layout(
            picture=(
                1,
                pipe.transformer.config.in_channels,
                (frames - 1) // time + 1,
                height // space,
                width // space,
            ),
            sound=(
                1,
                pipe.audio_vae.config.latent_channels,
                round(frames / self._fps * moments_per_second),
                bands,
            ),
        )

    def _grain(self) -> tuple[int, int]:
        """Pixels and frames that one token spans: (spatial, temporal)."""
        return self._pipe.vae_spatial_compression_ratio, self._pipe.vae_temporal_compression_ratio

    # ------------------------------------------------------------------ what it is told

    def encode_text(self, text: str) -> Tensor:
        """(1, 1024, D): Gemma's layers through the connectors, for picture, sound, and a mask."""
        pipe = self._pipe
        if is_unread(pipe.text_encoder):
            self._read_text_encoder(pipe.text_encoder)
        layers, mask, _, _ = pipe.encode_prompt(
            prompt=text,
            do_classifier_free_guidance=False,
            max_sequence_length=TEXT_TOKENS,
            device=self._rooms.bring("text_encoder", pipe.text_encoder),
        )
        device = self._rooms.bring("connectors", pipe.connectors)
        told = pipe.connectors(
            layers.to(device), mask.to(device), padding_side=pipe.tokenizer.padding_side
        )
        return self._text.join(*told).to(self.device, self._dtype)

    def encode_still(self, still: Image.Image, *, frames: int) -> ImageCondition:
        """The still as the clip's first latent frame, which is given and not made.

        The model was trained on stills with the marks of H.264, so this one is compressed first.
        """
        pipe, (width, height) = self._pipe, still.size
        crf = resolve_default_image_crf(pipe.text_encoder)
        worn = Image.fromarray(apply_image_conditioning_crf(np.array(still), crf))
        pixels = pipe.video_processor.preprocess(worn, height=height, width=width)
        device = self._rooms.bring("vae", pipe.vae)
        pixels = pixels.to(device, pipe.vae.dtype).unsqueeze(2)
        first = pipe.vae.encode(pixels).latent_dist.mode().float()
        first = pipe._normalize_latents(first, pipe.vae.latents_mean, pipe.vae.latents_std)
        mask = torch.ones(1, 1, *self._laid_out(width, height, frames).picture[2:])
        mask[:, :, 0] = 0.0
        return ImageCondition(latents=first.to(self.device), mask=mask.to(self.device))

    def encoded(self) -> None:
        """Send the text encoder and its connectors off the card that samples."""
        for part in ("text_encoder", "connectors"):
            self._rooms.leave(part, getattr(self._pipe, part))

    # ------------------------------------------------------------------ sampling

    def velocity(
        self, x: Tensor, at: Position, text: Tensor, *, image: ImageCondition | None, branch: str
    ) -> Tensor:
        """One call of the transformer on picture and sound together."""
        assert self._layout is not None, "check takes up a recipe first"
        picture, sound = self._layout.split(x)
        net = self._pipe.transformer
        self._rooms.bring("transformer", net)
        with net.cache_context(
            branch, step_index=at.step, sigma=float(at.sigma), num_inference_steps=at.steps
        ):
            drawn, heard = net(
                hidden_states=self._tokens(_with_still(picture, image)).to(self._dtype),
                audio_hidden_states=self._pipe._pack_audio_latents(sound).to(self._dtype),
                return_dict=False,
                **self._told(at, text, image, self._layout),
            )
        v = self._pipe._unpack_latents(drawn.float(), *picture.shape[2:])
        if image is not None and image.mask is not None:
            # The still is no noise: its velocity leads to it, whatever the model says there.
            v = torch.where(image.mask > 0, v, (picture - image.latents) / at.sigma)
        _, _, moments, bands = self._layout.sound
        return self._layout.join(
            v, self._pipe._unpack_audio_latents(heard.float(), moments, num_mel_bins=bands)
        )

    def _told(
        self, at: Position, text: Tensor, image: ImageCondition | None, layout: Layout
    ) -> dict[str, Any]:
        """What the transformer is told beside the latents: times, text, places."""
        t = (at.sigma * 1000.0).to(self.device).expand(1)
        for_picture, for_sound, mask = self._text.split(text)
        _, _, frames, rows, columns = layout.picture
        times = t
        if image is not None and image.mask is not None:
            # The still's tokens are at time 0: there is no noise in them.
            times = t.unsqueeze(-1) * self._tokens(image.mask)[..., 0]
        return {
            "timestep": times,
            "audio_timestep": t,
            "sigma": t,
            "encoder_hidden_states": for_picture,
            "audio_encoder_hidden_states": for_sound,
            "encoder_attention_mask": mask,
            "audio_encoder_attention_mask": mask,
            "num_frames": frames,
            "height": rows,
            "width": columns,
            "fps": self._fps,
            "audio_num_frames": layout.sound[2],
            "use_cross_timestep": self._crossed,
        }

    def _tokens(self, latents: Tensor) -> Tensor:
        """(1, T*h*w, C) of (1, C, T, h, w): a token is one latent pixel."""
        return cast(Tensor, self._pipe._pack_latents(latents))

    def finish_latents(self, x: Tensor, image: ImageCondition | None) -> Tensor:
        """The picture alone, (1, C, T, h, w), the still in its place."""
        assert self._layout is not None, "check takes up a recipe first"
        return _with_still(self._layout.split(x)[0], image)

    # ------------------------------------------------------------------ pixels

    def decode(self, latents: Tensor) -> Iterator[Frames]:
        """Frames of a finished picture (1, C, T, h, w), eight at a time.

        The clip is decoded whole before the first frame: a frame depends on those after it.
        """
        pipe, vae = self._pipe, self._pipe.vae
        z = pipe._denormalize_latents(
            latents.to(self._rooms.bring("vae", vae), torch.float32),
            vae.latents_mean,
            vae.latents_std,
            vae.config.scaling_factor,
        ).to(vae.dtype)
        # A VAE that can take out noise is told that there is none left, as in the stock call.
        time = torch.zeros(1).to(z) if vae.config.timestep_conditioning else None
        decoded = vae.decode(z, time, return_dict=False)[0]
        for done in range(0, decoded.shape[2], CHUNK):
            yield frames_of(decoded[:, :, done : done + CHUNK], done=done)


def _with_still(picture: Tensor, image: ImageCondition | None) -> Tensor:
    if image is None or image.mask is None:
        return picture
    return (1 - image.mask) * image.latents + image.mask * picture


def _text_layout(pipe: Any) -> TextLayout:
    config = pipe.connectors.config
    return TextLayout(
        picture=(
            config.video_connector_num_attention_heads * config.video_connector_attention_head_dim
        ),
        sound=(
            config.audio_connector_num_attention_heads * config.audio_connector_attention_head_dim
        ),
    )
