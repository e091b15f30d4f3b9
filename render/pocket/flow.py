"""A plain flow sampler for measuring the model: one stage from noise or a restart, Euler steps.

The studio's render engine has its own loop; this one is kept small so that the figures in the
model card depend on nothing but this folder and diffusers.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from diffusers import WanImageToVideoPipeline
from torch import Tensor

from render.pocket.crossattn import encode_prompt


@dataclass(frozen=True)
class Stage:
    """One pass of the sampler."""

    steps: int
    """Model steps."""
    cfg: float = 1.0
    """Guidance; 1 skips the unconditional call."""
    denoise: float = 1.0
    """1 starts from noise; below 1 the stage restarts at sigma of int(steps / denoise) steps."""
    shift: float = 3.0
    """Flow shift of the schedule."""
    sampler: str = "euler"
    """"euler" or "dpmpp_2m"."""


def sigmas_of(stage: Stage) -> list[float]:
    """The stage's noise levels, falling, with 0 at the end ("simple" schedule)."""
    total = stage.steps if stage.denoise > 0.9999 else int(stage.steps / stage.denoise)
    table = [_shifted((k + 1) / 1000, stage.shift) for k in range(1000)]
    full = [table[-(1 + int(i * 1000 / total))] for i in range(total)] + [0.0]
    return full[-(stage.steps + 1) :]


def _shifted(t: float, shift: float) -> float:
    """sigma = a t / (1 + (a - 1) t)."""
    return shift * t / (1 + (shift - 1) * t)


@torch.no_grad()
def text_of(pipe: WanImageToVideoPipeline, prompt: str, length: int = 512) -> Tensor:
    """Prompt vectors (1, length, C), padded with zeros as the pipeline does."""
    ids = pipe.tokenizer([prompt], truncation=True, max_length=length, return_tensors="pt")
    states = encode_prompt(pipe.text_encoder, ids.input_ids.to(pipe.device))[:, :-1]
    room = states.new_zeros(1, length - states.shape[1], states.shape[2])
    return torch.cat([states, room], dim=1)


@torch.no_grad()
def condition_of(pipe: WanImageToVideoPipeline, image: Tensor, frames: int = 17) -> Tensor:
    """The pipeline's own conditioning (N, 36, t, h, w) for stills (N, 3, H, W), -1..1."""
    made = [
        # NOTE: one still a call; the pipeline multiplies a batch of stills by the batch size
        pipe.prepare_latents(
            still[None],
            1,
            pipe.vae.config.z_dim,
            *image.shape[-2:],
            frames,
            torch.float32,
            image.device,
        )[1]
        for still in image
    ]
    return torch.cat(made)


@torch.no_grad()
def run_stage(
    pipe: WanImageToVideoPipeline,
    stage: Stage,
    *,
    condition: Tensor,
    prompt: Tensor,
    empty: Tensor,
    seed: int,
    start: Tensor | None = None,
) -> Tensor:
    """Clean normalised latents (N, 32, t, h, w) after one stage.

    ``start`` holds the latents of the stage before, clean and normalised; noise comes from the
    stage's own ``seed``, drawn on the CPU.
    """
    sigmas = sigmas_of(stage)
    shape = (len(condition), pipe.vae.config.z_dim, *condition.shape[2:])
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    x = noise.to(condition.device)
    if start is not None:
        x = sigmas[0] * x + (1 - sigmas[0]) * start
    last: Tensor | None = None
    for i, (now, then) in enumerate(itertools.pairwise(sigmas)):
        clean = x - now * _velocity(pipe, x, now, stage.cfg, condition, prompt, empty)
        guess = clean
        if stage.sampler == "dpmpp_2m" and last is not None and then > 0:
            # second order in -log(sigma)
            h, before = _log(now, then), _log(sigmas[i - 1], now)
            guess = clean + (clean - last) * (h / (2 * before))
        x = (then / now) * x + (1 - then / now) * guess
        last = clean
    return x


def _log(high: float, low: float) -> float:
    """log(high / low)."""
    return float(torch.log(torch.tensor(high / low)))


def _velocity(
    pipe: WanImageToVideoPipeline,
    x: Tensor,
    sigma: float,
    cfg: float,
    condition: Tensor,
    prompt: Tensor,
    empty: Tensor,
) -> Tensor:
    """Guided velocity at one noise level."""
    seen = torch.cat([x, condition], dim=1)
    time = torch.full((len(x),), 1000 * sigma, device=x.device)

    def call(text: Tensor) -> Tensor:
        out: Tensor = pipe.transformer(
            hidden_states=seen,
            timestep=time,
            encoder_hidden_states=text.expand(len(x), -1, -1),
            return_dict=False,
        )[0]
        return out.float()

    wanted = call(prompt)
    if cfg == 1:
        return wanted
    free = call(empty)
    return free + cfg * (wanted - free)


@torch.no_grad()
def decode(pipe: WanImageToVideoPipeline, latent: Tensor) -> Tensor:
    """Normalised latents to clips (N, 3, T, H, W), -1..1."""
    mean = torch.tensor(pipe.vae.config.latents_mean, device=latent.device).view(1, -1, 1, 1, 1)
    std = torch.tensor(pipe.vae.config.latents_std, device=latent.device).view(1, -1, 1, 1, 1)
    clip: Tensor = pipe.vae.decode((latent * std + mean).to(pipe.vae.dtype)).sample
    return clip.float()
