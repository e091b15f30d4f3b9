"""Sharpens the decoder: ``python -m render.pocket.train_decoder --vae FOLDER --minutes 9 --out F``.

The encoder stays as it is, so latents, and a transformer trained on them, stay valid. A decoder
trained on distances alone gives the mean of all textures that fit a latent, which is blur. Here a
small critic looks at three neighbouring frames at once and asks for texture that could be real and
that holds still as real texture does. How much it may ask follows from the sharpness reached: the
weight rises while decoded clips are softer than the filmed ones and falls when they are not.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from render.pocket.clipvae import decode_clip, encode_clip, latent_scale, make_whole_clip
from render.pocket.data import Shot, film
from render.pocket.measure import sharpness
from render.pocket.photos import Photo, find_photos, held_out
from render.pocket.prompts import dice, draw_move
from render.pocket.running import Average, Clock, Log, descend, psnr, rate_share, speed_up
from render.pocket.textures import build_pool, plain_pool
from render.pocket.train_vae import channels_last, loss_of

WINDOW = 3
"""Neighbouring frames the critic sees at once."""


class Critic(nn.Module):
    """Patch critic over three frames; gives all its layers' features, scores last."""

    def __init__(self) -> None:
        """Three layers; a score sees about 22 x 22 pixels."""
        super().__init__()
        widths = (3 * WINDOW, 64, 128, 256)
        strides = (2, 2, 1)
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv2d(a, b, 4, stride=s, padding=1))
            for a, b, s in zip(widths[:-1], widths[1:], strides, strict=True)
        )
        self.score = spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, frames: Tensor) -> list[Tensor]:
        """(N, 9, H, W) to features and, last, scores (N, 1, H/4, W/4)."""
        found = []
        x = frames
        for layer in self.layers:
            x = functional.leaky_relu(layer(x), 0.2)
            found.append(x)
        return [*found, self.score(x)]


def windows(clip: Tensor, starts: list[int]) -> Tensor:
    """Three neighbouring frames from each start: (N * len(starts), 9, H, W)."""
    return torch.cat([clip[:, :, s : s + WINDOW].flatten(1, 2) for s in starts])


def critic_loss(critic: Critic, real: Tensor, made: Tensor) -> Tensor:
    """Hinge loss of the critic."""
    return (
        functional.relu(1 - critic(real)[-1].float()).mean()
        + functional.relu(1 + critic(made)[-1].float()).mean()
    )


def texture_loss(critic: Critic, real: Tensor, made: Tensor) -> Tensor:
    """What the decoder is asked for: good scores, and the real picture's features."""
    with torch.no_grad():
        wanted = critic(real)
    seen = critic(made)
    total = -seen[-1].float().mean()
    for a, b in zip(seen[:-1], wanted[:-1], strict=True):
        total = total + 4 * functional.l1_loss(a.float(), b.float()) / len(seen)
    return total


def joint_gradient(
    decoded: Tensor, target: Tensor, critic: Critic, starts: list[int], weight: float, amp: bool
) -> tuple[Tensor, float]:
    """Gradient at the decoded clip, distance and texture in the set proportion; the distance.

    The texture's gradient is scaled to ``weight`` times the distance's, whatever the critic's
    temper, which keeps the two in balance all through the run.
    """
    leaf = decoded.detach().float().requires_grad_(True)
    distance = loss_of(leaf, target)
    (near,) = torch.autograd.grad(distance, leaf)
    if weight <= 0:
        return near, distance.item()
    with torch.autocast(leaf.device.type, torch.bfloat16, enabled=amp):
        texture = texture_loss(critic, windows(target, starts), windows(leaf, starts))
    (fine,) = torch.autograd.grad(texture, leaf)
    return near + weight * near.norm() / (fine.norm() + 1e-12) * fine, distance.item()


@torch.no_grad()
def measure(vae: AutoencoderKLWan, pool: Tensor, amp: bool) -> tuple[float, float]:
    """PSNR (dB) and sharpness share of held-out 17-frame clips."""
    gen = torch.Generator(device=pool.device).manual_seed(5)
    rng = dice(5)
    shots = [Shot((draw_move(rng=rng),)) for _ in range(12)]
    clip = film(pool=pool, shots=shots, height=128, width=128, frames=17, generator=gen)
    with torch.autocast(clip.device.type, torch.bfloat16, enabled=amp):
        again = decode_clip(vae, encode_clip(vae, clip)[0]).float()
    return psnr(again, clip), sharpness(again) / sharpness(clip)


class Balance:
    """The critic's weight: rises while decoded clips are softer than filmed ones, falls else."""

    def __init__(self, *, sharp: float, most: float) -> None:
        """``sharp`` is the sharpness share aimed at, ``most`` the largest weight."""
        self._sharp, self._most = sharp, most
        self.weight = 0.0
        self.seen = 0.8
        """Sharpness share of late, decoded over filmed."""

    def update(self, decoded: Tensor, clip: Tensor, *, share: float) -> None:
        """Takes in one batch at a time share; the critic learns alone for the first 6 %."""
        self.seen = 0.9 * self.seen + 0.1 * sharpness(decoded) / sharpness(clip)
        if share > 0.06:
            self.weight += 0.004 if self.seen < self._sharp else -0.004
            self.weight = min(max(self.weight, 0.0), self._most)


@dataclass
class Studio:
    """What a step of the run works with."""

    vae: AutoencoderKLWan
    """Whole-clip autoencoder; only the decoder's weights learn."""
    critic: Critic
    """The critic."""
    teacher: torch.optim.Optimizer
    """The critic's optimizer."""
    pool: Tensor
    """Canvases."""
    std: Tensor
    """Deviation per latent channel, (1, 32, 1, 1, 1)."""
    generator: torch.Generator
    """Source of the clips."""
    rng: random.Random
    """Source of everything else."""
    amp: bool
    """Whether to compute in bf16."""

    def batch(self, count: int) -> tuple[Tensor, Tensor]:
        """Clips (N, 3, T, 128, 128) and what the decoder makes of them."""
        frames, count = (17, count // 2) if self.rng.random() < 0.3 else (9, count)
        shots = [
            Shot((draw_move(rng=self.rng),), self.rng.choice((-1, 0, 1))) for _ in range(count)
        ]
        clip = film(
            pool=self.pool,
            shots=shots,
            height=128,
            width=128,
            frames=frames,
            generator=self.generator,
        )
        with torch.autocast(clip.device.type, torch.bfloat16, enabled=self.amp):
            with torch.no_grad():
                latent = encode_clip(self.vae, clip)[0].float()
                # the transformer's latents are never quite right either
                error = 0.08 * self.rng.random() * self.std * torch.randn_like(latent)
            return clip, decode_clip(self.vae, latent + error)

    def teach(self, clip: Tensor, decoded: Tensor, starts: list[int]) -> float:
        """One step of the critic; its loss."""
        with torch.autocast(clip.device.type, torch.bfloat16, enabled=self.amp):
            lesson = critic_loss(
                self.critic, windows(clip, starts), windows(decoded.detach().float(), starts)
            )
        self.teacher.zero_grad(set_to_none=True)
        lesson.backward()
        self.teacher.step()
        return lesson.item()


def open_studio(args: argparse.Namespace, device: torch.device) -> Studio:
    """Everything in place for the first step."""
    amp = device.type == "cuda"
    vae = AutoencoderKLWan.from_pretrained(args.vae, torch_dtype=torch.float32)
    vae = make_whole_clip(vae.to(device).requires_grad_(False))
    for part in (vae.decoder, vae.post_quant_conv):
        part.requires_grad_(True)
    channels_last(vae)
    if args.compile:
        vae.decoder.compile(dynamic=False)
    critic = Critic().to(device)
    return Studio(
        vae=vae,
        critic=critic,
        teacher=torch.optim.AdamW(critic.parameters(), lr=2e-4, betas=(0.5, 0.9), fused=amp),
        pool=build_pool(photos=find_photos(), count=args.pool, device=device, seed=31),
        std=latent_scale(vae, device)[1],
        generator=torch.Generator(device=device).manual_seed(4),
        rng=dice(3),
        amp=amp,
    )


def train(args: argparse.Namespace) -> None:
    """The whole run; leaves ``vae/`` and ``train_decoder.json`` in ``args.out``."""
    device = torch.device(args.device)
    speed_up()
    torch.manual_seed(3)
    at = open_studio(args, device)
    unseen = plain_pool(
        photos=[Photo(name, "", pixels) for name, pixels in held_out().items()], device=device
    )
    live = [at.vae.decoder, at.vae.post_quant_conv]
    weights = [p for part in live for p in part.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=args.rate, betas=(0.9, 0.98), fused=at.amp)
    average = Average(live, decay=0.998)
    balance = Balance(sharp=args.sharp, most=args.most)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    log = Log(path=out / "train_decoder.json", about={"command": vars(args)})
    clock, step, shown = Clock(args.minutes), 0, 0.0

    def report(minute: float, **figures: float) -> None:
        average.swap()
        clips, sharp = measure(at.vae, unseen, at.amp)
        at.vae.save_pretrained(str(out / "vae"))
        average.swap()
        log.add(minute=minute, step=step, clips_db=clips, sharpness_share=sharp, **figures)

    while (share := clock.share()) < 1:
        clip, decoded = at.batch(args.batch)
        last = clip.shape[2] - WINDOW
        starts = [0 if at.rng.random() < 0.3 else at.rng.randrange(last + 1) for _ in range(2)]
        lesson = at.teach(clip, decoded, starts)
        gradient, distance = joint_gradient(
            decoded, clip, at.critic, starts, balance.weight, at.amp
        )
        rate = args.rate * rate_share(share, floor=0.01)
        descend(
            decoded,
            weights=weights,
            optimizer=optimizer,
            rate=rate,
            gradient=gradient.to(decoded.dtype),
        )
        average.update()
        step += 1
        if step % 10 == 0:
            balance.update(decoded.detach().float(), clip, share=share)
        if share - shown > args.show / args.minutes or step == 2:
            shown = share
            report(
                share * args.minutes,
                distance=distance,
                critic=lesson,
                weight=balance.weight,
                share_seen=balance.seen,
            )
    report(args.minutes)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--vae", required=True, help="vae folder to start from")
    parser.add_argument("--out", required=True)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--pool", type=int, default=4000, help="canvases")
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--sharp", type=float, default=0.95, help="sharpness share aimed at")
    parser.add_argument("--most", type=float, default=0.8, help="largest weight of the critic")
    parser.add_argument("--show", type=float, default=0.75, help="minutes between log rows")
    parser.add_argument("--compile", action="store_true")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
