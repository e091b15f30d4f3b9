"""Trains the transformer and its text encoder together.

``python -m render.pocket.train_transformer --vae FOLDER/vae --minutes 26 --out FOLDER``

Flow matching: x = sigma * noise + (1 - sigma) * x0, the model says noise - x0 at timestep
1000 * sigma. Sigma is a shifted logit-normal with a share of plain uniform draws, so that stages
which restart low in the schedule are served as well as those that start from noise.
"""

from __future__ import annotations

import argparse
import copy
from collections import deque
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from torch import Tensor, nn
from transformers import UMT5EncoderModel

from render.pocket.bank import TOKENS, Bank, Batch, Filler
from render.pocket.clipvae import make_whole_clip
from render.pocket.crossattn import encode_prompt, use_short_prompts
from render.pocket.data import BUCKETS
from render.pocket.layout import (
    new_pipeline,
    new_text_encoder,
    new_tokenizer,
    new_transformer,
    save_pipeline,
)
from render.pocket.photos import find_photos
from render.pocket.prompts import dice
from render.pocket.running import Average, Clock, Log, descend, rate_share, speed_up
from render.pocket.textures import build_pool

BUCKET_ODDS = (0.4, 0.15, 0.15, 0.15, 0.15)
"""How often each of data.BUCKETS is trained on."""


def draw_sigma(*, count: int, shift: float, device: torch.device) -> Tensor:
    """Noise levels (count,), 0..1: 80 % shifted logit-normal, 20 % uniform."""
    t = torch.sigmoid(torch.randn(count, device=device))
    sigma = shift * t / (1 + (shift - 1) * t)
    flat = torch.rand(count, device=device)
    return torch.where(torch.rand(count, device=device) < 0.2, flat, sigma)


def flow_loss(transformer: nn.Module, encoder: nn.Module, batch: Batch, *, shift: float) -> Tensor:
    """Squared error of the velocity, per clip: (N,)."""
    latent = batch.latent
    sigma = draw_sigma(count=len(latent), shift=shift, device=latent.device)
    noise = torch.randn_like(latent)
    level = sigma.view(-1, 1, 1, 1, 1)
    mixed = level * noise + (1 - level) * latent
    with torch.autocast(latent.device.type, torch.bfloat16, enabled=latent.is_cuda):
        text = encode_prompt(encoder, batch.tokens)
        velocity = transformer(
            hidden_states=torch.cat([mixed, batch.condition], dim=1),
            timestep=1000 * sigma,
            encoder_hidden_states=text,
            return_dict=False,
        )[0]
    error: Tensor = (velocity.float() - (noise - latent)).pow(2).mean((1, 2, 3, 4))
    return error


def save(
    vae: AutoencoderKLWan, transformer: WanTransformer3DModel, encoder: UMT5EncoderModel, out: Path
) -> None:
    """Writes a copy of everything as the fp16 pipeline folder ``out/model``."""
    fresh = new_transformer(**_shape(transformer))
    fresh.load_state_dict(transformer.state_dict())
    plain = AutoencoderKLWan.from_config(vae.config)
    plain.load_state_dict(vae.state_dict())
    text = copy.deepcopy(encoder).cpu()
    pipe = new_pipeline(vae=plain, transformer=fresh, text_encoder=text)
    save_pipeline(pipe=pipe, folder=out / "model")


def _shape(transformer: WanTransformer3DModel) -> dict[str, int]:
    """The arguments of ``new_transformer`` that made this one."""
    config = transformer.config
    return {
        "layers": config.num_layers,
        "heads": config.num_attention_heads,
        "head_dim": config.attention_head_dim,
        "ffn": config.ffn_dim,
        "patch": config.patch_size[1],
    }


def parts_of(
    args: argparse.Namespace, device: torch.device
) -> tuple[AutoencoderKLWan, WanTransformer3DModel, UMT5EncoderModel]:
    """Frozen autoencoder, transformer and text encoder, new or resumed."""
    vae = AutoencoderKLWan.from_pretrained(args.vae, torch_dtype=torch.float32)
    vae = make_whole_clip(vae.to(device).eval().requires_grad_(False))
    if args.resume:
        transformer = WanTransformer3DModel.from_pretrained(
            f"{args.resume}/transformer", torch_dtype=torch.float32
        )
        encoder = UMT5EncoderModel.from_pretrained(
            f"{args.resume}/text_encoder", dtype=torch.float32
        )
    else:
        torch.manual_seed(args.seed)
        transformer = new_transformer(
            layers=args.layers,
            heads=args.heads,
            head_dim=args.head_dim,
            ffn=args.ffn,
            patch=args.patch,
        )
        encoder = new_text_encoder()
        nn.init.zeros_(transformer.proj_out.weight)
        nn.init.zeros_(transformer.proj_out.bias)
    use_short_prompts(transformer, tokens=TOKENS + 1)
    return vae, transformer.to(device).train(), encoder.to(device).train()


def banks_of(
    args: argparse.Namespace, vae: AutoencoderKLWan, device: torch.device
) -> tuple[list[Bank], Filler, dict[str, str]]:
    """A quarter-full bank per frame size, their filler, and the photographs' hashes."""
    photos = find_photos()
    pool = build_pool(photos=photos, count=args.pool, device=device, seed=args.seed + 10)
    filler = Filler(vae=vae, tokenizer=new_tokenizer(), pool=pool, seed=args.seed)
    banks = [Bank(size=args.bank, height=h, width=w, device=device) for h, w in BUCKETS]
    for bank in banks:
        for _ in range(max(1, args.bank // 4 // args.batch)):
            filler.fill(bank=bank, count=args.batch)
    return banks, filler, {p.name: p.sha256 for p in photos}


def train(args: argparse.Namespace) -> None:
    """The whole run; leaves ``model/`` and ``train_transformer.json`` in ``args.out``."""
    device = torch.device(args.device)
    speed_up()
    rng = dice(args.seed)
    vae, transformer, encoder = parts_of(args, device)
    banks, filler, photos = banks_of(args, vae, device)
    weights = [p for m in (transformer, encoder) for p in m.parameters()]
    optimizer = torch.optim.AdamW(
        weights, lr=args.rate, betas=(0.9, 0.98), weight_decay=0.01, fused=device.type == "cuda"
    )
    average = Average([transformer, encoder], decay=args.average)
    if args.compile:
        transformer.compile_repeated_blocks(fullgraph=True, dynamic=False)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    log = Log(path=out / "train_transformer.json", about={"command": vars(args), "photos": photos})
    clock, step, shown = Clock(args.minutes), 0, 0.0
    recent: deque[Tensor] = deque(maxlen=200)

    def report(minute: float) -> None:
        average.swap()
        save(vae, transformer, encoder, out)
        average.swap()
        log.add(minute=minute, step=step, loss=torch.stack(list(recent)).mean().item())

    while (share := clock.share()) < 1:
        bank = rng.choices(banks, weights=BUCKET_ODDS)[0]
        if step % args.refill == 0:
            filler.fill(bank=bank, count=args.batch)
        loss = flow_loss(transformer, encoder, bank.draw(count=args.batch), shift=args.shift).mean()
        rate = args.rate * rate_share(share, floor=0.005)
        descend(loss, weights=weights, optimizer=optimizer, rate=rate)
        average.update()
        recent.append(loss.detach())
        step += 1
        if share - shown > args.show / args.minutes or step == 20:
            shown = share
            report(share * args.minutes)
    report(args.minutes)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--vae", required=True, help="vae folder")
    parser.add_argument("--out", required=True)
    parser.add_argument("--minutes", type=float, default=26.0)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pool", type=int, default=6000, help="canvases")
    parser.add_argument("--bank", type=int, default=8192, help="encoded clips per frame size")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--refill", type=int, default=4, help="steps per refill of one batch")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--average", type=float, default=0.9995)
    parser.add_argument("--shift", type=float, default=3.0)
    parser.add_argument("--show", type=float, default=2.0, help="minutes between saves")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--heads", type=int, default=6)
    parser.add_argument("--head-dim", type=int, default=32)
    parser.add_argument("--ffn", type=int, default=576)
    parser.add_argument("--patch", type=int, default=1)
    parser.add_argument("--resume", default="", help="model folder to start from")
    parser.add_argument("--compile", action="store_true")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
