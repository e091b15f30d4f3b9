"""Trains the autoencoder: ``python -m render.pocket.train_vae --minutes 13 --out FOLDER``.

First single frames, then clips. The loss looks at pixels, at edges on three scales, at changes
over time and at the spectrum; a small KL term keeps latents compact. In a quarter of the steps the
latents are shifted or scaled like a picture and must decode to the equally moved clip: the
transformer's work is to move latents about, and this makes them movable.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor
from torch.nn import functional

from render.pocket.clipvae import decode_clip, encode_clip, make_whole_clip
from render.pocket.data import Shot, film
from render.pocket.layout import new_vae
from render.pocket.photos import Photo, find_photos, held_out
from render.pocket.prompts import dice, draw_move
from render.pocket.running import Average, Clock, Log, descend, psnr, rate_share, speed_up
from render.pocket.textures import build_pool, plain_pool

KL_WEIGHT = 1e-3
"""Weight of the mean KL per latent value."""

SIZES = ((128, 128), (128, 128), (96, 160), (160, 96))
"""(height, width) of the clips; only the first when compiled, as each size is a new graph."""


@dataclass(frozen=True)
class Plan:
    """One shape of training batch."""

    frames: int
    """1, 9 or 17."""
    batch: int
    """Clips per step."""


def plan_for(*, share: float, scale: float, rng: random.Random) -> Plan:
    """Frames and batch at a time share: stills first, long clips towards the end."""
    if share < 0.12:
        return Plan(1, max(1, int(96 * scale)))
    if share > 0.55 and rng.random() < 0.35:
        return Plan(17, max(1, int(12 * scale)))
    return Plan(9, max(1, int(24 * scale)))


def loss_of(clip: Tensor, target: Tensor) -> Tensor:
    """Distance of two clips (N, 3, T, H, W): pixels, edges, time, spectrum."""
    total = functional.l1_loss(clip, target) + 0.5 * functional.mse_loss(clip, target)
    total = total + 0.5 * _edges(clip, target)
    if clip.shape[2] > 1:
        total = total + 0.5 * functional.l1_loss(clip.diff(dim=2), target.diff(dim=2))
    spectrum = torch.fft.rfft2(clip - target, norm="ortho").abs().mean()
    return total + 0.2 * spectrum


def _edges(clip: Tensor, target: Tensor) -> Tensor:
    """L1 of horizontal and vertical differences at full, half and quarter size."""
    total = clip.new_zeros(())
    error = (clip - target).transpose(1, 2).flatten(0, 1)
    for _ in range(3):
        total = total + error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        error = functional.avg_pool2d(error, 2)
    return total / 3


def moved_pair(latent: Tensor, clip: Tensor, rng: random.Random) -> tuple[Tensor, Tensor]:
    """The same shift done to latents (by fractions of a cell) and to the clip (whole pixels)."""
    count, _, frames, _, _ = latent.shape
    dx, dy = rng.randint(-7, 7), rng.randint(-7, 7)
    flat = _shift(latent.transpose(1, 2).flatten(0, 1), dx / 8, dy / 8)
    moved = flat.unflatten(0, (count, frames)).transpose(1, 2)
    return moved, clip.roll((dy, dx), dims=(-2, -1))


def _shift(latent: Tensor, dx: float, dy: float) -> Tensor:
    """Bilinear shift of (N, C, H, W) by cells; positive moves content right and down."""
    count, _, height, width = latent.shape
    theta = latent.new_tensor([[1, 0, -2 * dx / width], [0, 1, -2 * dy / height]])
    grid = functional.affine_grid(
        theta.expand(count, 2, 3), list(latent.shape), align_corners=False
    )
    return functional.grid_sample(latent, grid, padding_mode="border", align_corners=False)


def step_loss(vae: AutoencoderKLWan, clip: Tensor, rng: random.Random, amp: bool) -> Tensor:
    """The loss of one batch of clips (N, 3, T, H, W)."""
    with torch.autocast(clip.device.type, torch.bfloat16, enabled=amp):
        mean, logvar = encode_clip(vae, clip)
        mean, logvar = mean.float(), logvar.float()
        latent = mean + torch.randn_like(mean) * (0.5 * logvar).exp()
        target, edge = clip, 0
        if rng.random() < 0.25:
            latent, target = moved_pair(latent, clip, rng)
            edge = 16  # what came in over the border is nobody's fault
        decoded = decode_clip(vae, latent).float()
    if edge:
        decoded = decoded[..., edge:-edge, edge:-edge]
        target = target[..., edge:-edge, edge:-edge]
    kl = 0.5 * (mean.pow(2) + logvar.exp() - 1 - logvar).mean()
    return loss_of(decoded, target) + KL_WEIGHT * kl


@torch.no_grad()
def measure(vae: AutoencoderKLWan, pool: Tensor, amp: bool) -> tuple[float, float]:
    """PSNR (dB) on held-out material: 17-frame clips, and single frames."""
    gen = torch.Generator(device=pool.device).manual_seed(5)
    rng = dice(5)
    shots = [Shot((draw_move(rng=rng),)) for _ in range(16)]
    clip = film(pool=pool, shots=shots, height=128, width=128, frames=17, generator=gen)
    with torch.autocast(clip.device.type, torch.bfloat16, enabled=amp):
        moving = decode_clip(vae, encode_clip(vae, clip)[0])
        single = decode_clip(vae, encode_clip(vae, clip[:, :, :1])[0])
    return psnr(moving, clip), psnr(single, clip[:, :, :1])


@torch.no_grad()
def set_latent_scale(vae: AutoencoderKLWan, pool: Tensor, batches: int, amp: bool) -> None:
    """Writes the latents' mean and deviation per channel into the config."""
    gen = torch.Generator(device=pool.device).manual_seed(6)
    rng = dice(6)
    codes = []
    for _ in range(batches):
        shots = [Shot((draw_move(rng=rng),)) for _ in range(16)]
        clip = film(pool=pool, shots=shots, height=128, width=128, frames=17, generator=gen)
        with torch.autocast(clip.device.type, torch.bfloat16, enabled=amp):
            codes.append(encode_clip(vae, clip)[0].float())
    code = torch.cat(codes)
    mean = [round(v, 5) for v in code.mean((0, 2, 3, 4)).tolist()]
    std = [round(v, 5) for v in code.std((0, 2, 3, 4)).tolist()]
    vae.register_to_config(latents_mean=mean, latents_std=std)


def start(args: argparse.Namespace, device: torch.device) -> AutoencoderKLWan:
    """The autoencoder, new or resumed, laid out and compiled as asked."""
    vae = make_whole_clip(new_vae()).to(device)
    if args.resume:
        vae.load_state_dict(AutoencoderKLWan.from_pretrained(args.resume).state_dict())
    if args.channels_last:
        channels_last(vae)
    if args.compile:
        vae.encoder.compile(dynamic=False)
        vae.decoder.compile(dynamic=False)
    return vae


def train(args: argparse.Namespace) -> None:
    """The whole run; leaves ``vae/`` and ``train_vae.json`` in ``args.out``."""
    device = torch.device(args.device)
    amp = device.type == "cuda"
    speed_up()
    torch.manual_seed(1)
    rng = dice(1)
    photos = find_photos()
    pool = build_pool(photos=photos, count=args.pool, device=device, seed=1)
    unseen = plain_pool(
        photos=[Photo(name, "", pixels) for name, pixels in held_out().items()], device=device
    )
    vae = start(args, device)
    weights = list(vae.parameters())
    optimizer = torch.optim.AdamW(
        weights, lr=args.rate, betas=(0.9, 0.98), weight_decay=1e-3, fused=amp
    )
    average = Average([vae], decay=0.998)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    about = {"command": vars(args), "photos": {p.name: p.sha256 for p in photos}}
    log = Log(path=out / "train_vae.json", about=about)
    gen = torch.Generator(device=device).manual_seed(2)
    clock, step, shown = Clock(args.minutes), 0, 0.0

    def report(minute: float, batches: int) -> None:
        average.swap()
        clips, single = measure(vae, unseen, amp)
        save(vae, pool, out, amp, batches=batches)
        average.swap()
        log.add(minute=minute, step=step, loss=loss.item(), clips_db=clips, single_db=single)

    while (share := clock.share()) < 1:
        plan = plan_for(share=share, scale=args.scale, rng=rng)
        shots = [Shot((draw_move(rng=rng),), rng.choice((-1, 0, 1))) for _ in range(plan.batch)]
        height, width = SIZES[0] if args.compile else rng.choice(SIZES)
        clip = film(
            pool=pool, shots=shots, height=height, width=width, frames=plan.frames, generator=gen
        )
        if args.channels_last:
            clip = clip.contiguous(memory_format=torch.channels_last_3d)
        loss = step_loss(vae, clip, rng, amp)
        rate = args.rate * rate_share(share, floor=0.01)
        descend(loss, weights=weights, optimizer=optimizer, rate=rate)
        average.update()
        step += 1
        if share - shown > args.show / args.minutes or step == 1:
            shown = share
            report(share * args.minutes, 2)
    report(args.minutes, 12)


def channels_last(vae: AutoencoderKLWan) -> None:
    """Lays out the 3D convolutions' weights as tensor cores like them."""
    for module in vae.modules():
        if isinstance(module, torch.nn.Conv3d):
            module.to(memory_format=torch.channels_last_3d)
        elif isinstance(module, torch.nn.Conv2d):
            module.to(memory_format=torch.channels_last)


def save(vae: AutoencoderKLWan, pool: Tensor, out: Path, amp: bool, batches: int) -> None:
    """Measures the latent scale and writes float32 weights to ``out/vae``."""
    set_latent_scale(vae, pool, batches, amp)
    vae.save_pretrained(str(out / "vae"))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=13.0)
    parser.add_argument("--out", required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--pool", type=int, default=4000, help="canvases")
    parser.add_argument("--scale", type=float, default=1.0, help="batch size over the default")
    parser.add_argument("--rate", type=float, default=8e-4)
    parser.add_argument("--show", type=float, default=1.0, help="minutes between log rows")
    parser.add_argument("--resume", default="", help="vae folder to start from")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--channels-last", action="store_true")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
