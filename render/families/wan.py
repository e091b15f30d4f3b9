"""Wan 2.1 and 2.2, text- and image-to-video, through the stock diffusers components.

Covers one transformer (2.1, pocket), two experts that share the noise levels (2.2 A14B), and the
model that mixes the still into the latents (2.2 TI2V-5B, `expand_timesteps`). Everything is done
as `WanPipeline` and `WanImageToVideoPipeline` do it, so that one stage is their output bit for
bit (float32); only the noise levels, the solver and the order of stages are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from diffusers.models.autoencoders.vae import DecoderOutput
from PIL import Image
from torch import Tensor, nn

from manifests.stage import Expert, Recipe
from render.errors import ModelUnavailable
from render.families.base import Frames, ImageCondition, LoadRequest, Position
from render.families.piped import PipedModel
from render.families.pixels import frames_of
from render.families.unread import is_unread
from render.preview_factors import PreviewFactors, factors_for

TEXT_TOKENS = 512
"""Length of the text; `encode_prompt` alone would cut it at 226."""


class WanModel(PipedModel):
    """A Wan pipeline's components, and where they are."""

    def __init__(
        self,
        pipe: Any,
        request: LoadRequest,
        *,
        boundary: float | None,
        read_text_encoder: Callable[[nn.Module], None] = lambda encoder: None,
    ) -> None:
        """`read_text_encoder` gives it its weights: they may stay on disk until they are used."""
        super().__init__(pipe, request)
        self._boundary = boundary
        self._read_text_encoder = read_text_encoder
        self._dtype: torch.dtype = pipe.transformer.dtype
        self._mixes: bool = bool(pipe.config.expand_timesteps)

    # ------------------------------------------------------------------ what it can do

    places_parts = True

    @property
    def preview_factors(self) -> PreviewFactors | None:
        """Of the public Wan VAEs and of the pocket one, known by their latents."""
        return factors_for(self._pipe.vae.config.latents_mean)

    def check(self, recipe: Recipe) -> None:
        """Refuse experts the model does not have and sizes it cannot make."""
        if self._pipe.transformer_2 is None:
            low = [i + 1 for i, stage in enumerate(recipe.stages) if stage.expert is Expert.LOW]
            if low:
                raise ModelUnavailable(
                    f"model {self.name} has one transformer, stage {low[0]} asks for the low-noise "
                    "expert; choose a Wan 2.2 A14B model, or take `expert` out of the preset"
                )
        spatial, temporal = self._grain()
        if recipe.width % spatial or recipe.height % spatial or (recipe.frames - 1) % temporal:
            raise ModelUnavailable(
                f"model {self.name} cannot make {recipe.width} x {recipe.height}, {recipe.frames} "
                f"frames; sizes go in multiples of {spatial}, frames in {temporal}n+1"
            )

    def latent_shape(self, *, width: int, height: int, frames: int) -> tuple[int, ...]:
        """(1, z, 1 + (frames-1)/4, height/8, width/8); 16 instead of 8 for the 5B."""
        space = self._pipe.vae_scale_factor_spatial
        time = self._pipe.vae_scale_factor_temporal
        z = self._pipe.vae.config.z_dim
        return (1, z, 1 + (frames - 1) // time, height // space, width // space)

    def _grain(self) -> tuple[int, int]:
        """Pixels and frames that one token spans: (spatial, temporal)."""
        patch = self._pipe.transformer.config.patch_size
        spatial = self._pipe.vae_scale_factor_spatial * max(patch[1], patch[2])
        return spatial, self._pipe.vae_scale_factor_temporal

    # ------------------------------------------------------------------ what it is told

    def encode_text(self, text: str) -> Tensor:
        """UMT5 embeddings (1, 512, D): zero past the end of the text."""
        if is_unread(self._pipe.text_encoder):
            self._read_text_encoder(self._pipe.text_encoder)
        device = self._rooms.bring("text_encoder", self._pipe.text_encoder)
        embeddings, _ = self._pipe.encode_prompt(
            prompt=text,
            do_classifier_free_guidance=False,
            max_sequence_length=TEXT_TOKENS,
            device=device,
        )
        return cast(Tensor, embeddings.to(self.device, self._dtype))

    def encode_still(self, still: Image.Image, *, frames: int) -> ImageCondition:
        """The still's latents with their mask, and its CLIP embedding where the model has one."""
        pipe, (width, height) = self._pipe, still.size
        embeds = None
        if pipe.transformer.config.image_dim is not None:
            device = self._rooms.bring("image_encoder", pipe.image_encoder)
            embeds = pipe.encode_image(still, device).to(self.device, self._dtype)
        device = self._rooms.bring("vae", pipe.vae)
        pixels = pipe.video_processor.preprocess(still, height=height, width=width)
        shape = self.latent_shape(width=width, height=height, frames=frames)
        _, latents, *mask = pipe.prepare_latents(
            pixels.to(device, dtype=torch.float32),
            batch_size=1,
            num_channels_latents=shape[1],
            height=height,
            width=width,
            num_frames=frames,
            dtype=torch.float32,
            device=device,
            latents=torch.zeros(shape),  # noise is ours; given, it is not drawn
        )
        latents, *mask = (tensor.to(self.device) for tensor in (latents, *mask))
        return ImageCondition(latents=latents, mask=mask[0] if mask else None, embeds=embeds)

    def encoded(self) -> None:
        """Send the text and image encoders off the card that samples."""
        for name in ("text_encoder", "image_encoder"):
            encoder = getattr(self._pipe, name, None)
            if encoder is not None:
                self._rooms.leave(name, encoder)

    # ------------------------------------------------------------------ sampling

    def velocity(
        self, x: Tensor, at: Position, text: Tensor, *, image: ImageCondition | None, branch: str
    ) -> Tensor:
        """One call of the transformer that owns this noise level."""
        t = at.sigma * 1000.0
        net, device = self._transformer(at.expert, t)
        hidden, timestep = self._inputs(x, t, image)
        told = {}
        if image is not None:
            embeds = None if image.embeds is None else image.embeds.to(device)
            told = {"encoder_hidden_states_image": embeds}
        with net.cache_context(
            branch, step_index=at.step, sigma=float(at.sigma), num_inference_steps=at.steps
        ):
            v = net(
                hidden_states=hidden.to(device, self._dtype),
                timestep=timestep.to(device),
                encoder_hidden_states=text.to(device),
                return_dict=False,
                **told,
            )[0]
        return cast(Tensor, v.to(self.device).float())

    def finish_latents(self, x: Tensor, image: ImageCondition | None) -> Tensor:
        """Put the still's own latents back where the model mixed them in."""
        if image is None or image.mask is None:
            return x
        return (1 - image.mask) * image.latents + image.mask * x

    def _transformer(self, expert: Expert, t: Tensor) -> tuple[Any, torch.device]:
        """The expert that owns this noise level, and where it runs."""
        low = expert is Expert.LOW or (
            expert is Expert.AUTO and self._boundary is not None and bool(t < self._boundary * 1000)
        )
        part = "transformer_2" if low else "transformer"
        net = getattr(self._pipe, part)
        return net, self._rooms.bring(part, net)

    def _inputs(self, x: Tensor, t: Tensor, image: ImageCondition | None) -> tuple[Tensor, Tensor]:
        """What the transformer sees and the timestep it is told: one, or one for each token."""
        t = t.to(x.device)
        if not self._mixes:
            seen = x if image is None else torch.cat([x, image.latents], dim=1)
            return seen, t.expand(1)
        if image is None or image.mask is None:
            mask, seen = torch.ones_like(x), x
        else:
            mask, seen = image.mask, (1 - image.mask) * image.latents + image.mask * x
        _, rows, columns = self._pipe.transformer.config.patch_size
        return seen, (mask[0][0][:, ::rows, ::columns] * t).flatten().unsqueeze(0)

    # ------------------------------------------------------------------ pixels

    def decode(self, latents: Tensor) -> Iterator[Frames]:
        """One frame, then four at a time: the VAE is causal, so frames come as they are ready."""
        vae = self._pipe.vae
        device = self._rooms.bring("vae", vae)
        z = self._denormalised(latents.to(device, dtype=vae.dtype))
        done = 0
        for chunk in decode_stream(vae, z):
            frames = frames_of(chunk, done=done)
            done += len(frames)
            yield frames

    def _denormalised(self, latents: Tensor) -> Tensor:
        config = self._pipe.vae.config
        mean = torch.tensor(config.latents_mean).view(1, config.z_dim, 1, 1, 1).to(latents)
        # NOTE: dividing by the reciprocal, as the stock pipelines do, keeps the last bit.
        scale = 1.0 / torch.tensor(config.latents_std).view(1, config.z_dim, 1, 1, 1).to(latents)
        return latents / scale + mean


def decode_stream(vae: Any, z: Tensor) -> Iterator[Tensor]:
    """`vae.decode(z)` cut along time: (1, 3, T, H, W) chunks in -1..1, equal bit for bit.

    AutoencoderKLWan decodes latent frame by latent frame and remembers, in `_feat_map`, what its
    causal convolutions need; this is its own loop, opened up. Tiled decoding cannot be cut.
    """
    if vae.use_tiling:
        decoded: DecoderOutput = vae.decode(z)
        yield decoded.sample
        return
    from diffusers.models.autoencoders.autoencoder_kl_wan import unpatchify

    vae.clear_cache()
    try:
        x = vae.post_quant_conv(z)
        for i in range(x.shape[2]):
            vae._conv_idx = [0]
            first = {"first_chunk": True} if i == 0 else {}
            out = vae.decoder(
                x[:, :, i : i + 1], feat_cache=vae._feat_map, feat_idx=vae._conv_idx, **first
            )
            if vae.config.patch_size is not None:
                out = unpatchify(out, patch_size=vae.config.patch_size)
            yield torch.clamp(out, min=-1.0, max=1.0)
    finally:
        vae.clear_cache()
