"""The Wan autoencoder over a whole clip in one pass, for training.

The stock ``encode`` and ``decode`` walk through a clip in chunks of four frames with a cache: right
for long clips, slow to train (five passes, five graphs). All layers but two give the same numbers
when the clip goes through at once; the two, temporal down- and upsampling, treat the first frame
apart. ``WholeClipResample`` says that in one pass. With a cache it behaves as the stock class, so
the same module still serves the pipeline. Equality is tested.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanResample, patchify, unpatchify
from torch import Tensor


class WholeClipResample(WanResample):
    """Stock resampling; without a cache, the first frame keeps its own time step."""

    def forward(self, x: Tensor, feat_cache: Any = None, feat_idx: Any = None) -> Tensor:
        """(N, C, T, H, W) with T = 1 + k (down: k even) to the resampled clip."""
        if feat_cache is not None:
            stock: Tensor = super().forward(x, feat_cache, feat_idx)
            return stock
        if self.mode == "upsample3d" and x.shape[2] > 1:
            count, channels, frames, height, width = x.shape
            rest = self.time_conv(x[:, :, 1:])
            rest = rest.reshape(count, 2, channels, frames - 1, height, width)
            rest = torch.stack((rest[:, 0], rest[:, 1]), 3)
            rest = rest.reshape(count, channels, 2 * (frames - 1), height, width)
            x = torch.cat((x[:, :, :1], rest), 2)
        x = self._in_space(x)
        if self.mode == "downsample3d" and x.shape[2] > 1:
            x = torch.cat((x[:, :, :1], self.time_conv(x)), 2)
        return x

    def _in_space(self, x: Tensor) -> Tensor:
        """Every frame through the 2D resampling."""
        count, channels, frames, height, width = x.shape
        flat = x.transpose(1, 2).reshape(count * frames, channels, height, width)
        flat = self.resample(flat)
        return flat.reshape(count, frames, *flat.shape[1:]).transpose(1, 2)


def make_whole_clip(vae: AutoencoderKLWan) -> AutoencoderKLWan:
    """Turns the autoencoder's resampling layers into WholeClipResample, in place."""
    for module in vae.modules():
        if type(module) is WanResample:
            module.__class__ = WholeClipResample
    return vae


def encode_clip(vae: AutoencoderKLWan, clip: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log variance of a clip (N, 3, T, H, W), -1..1: each (N, 32, t, H/8, W/8)."""
    code = vae.quant_conv(vae.encoder(patchify(clip, patch_size=vae.config.patch_size)))
    mean, logvar = code.chunk(2, dim=1)
    return mean, logvar.clamp(-30.0, 20.0)


def decode_clip(vae: AutoencoderKLWan, latent: Tensor) -> Tensor:
    """A clip (N, 3, T, H, W), about -1..1 and not clamped, from raw latents."""
    out = vae.decoder(vae.post_quant_conv(latent), first_chunk=True)
    clip: Tensor = unpatchify(out, patch_size=vae.config.patch_size)
    return clip


def latent_scale(vae: AutoencoderKLWan, device: torch.device) -> tuple[Tensor, Tensor]:
    """The config's latent mean and deviation, each (1, 32, 1, 1, 1)."""
    mean = torch.tensor(vae.config.latents_mean, device=device).view(1, -1, 1, 1, 1)
    std = torch.tensor(vae.config.latents_std, device=device).view(1, -1, 1, 1, 1)
    return mean, std
