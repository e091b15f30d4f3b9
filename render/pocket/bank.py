"""A bank of encoded clips on the GPU, refilled while the transformer trains on it.

Encoding a clip costs more than a training step on it. So each clip is used a few times, with
fresh noise and a fresh noise level each time, before a new one takes its place.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from render.pocket.clipvae import encode_clip, latent_scale
from render.pocket.data import Shot, film
from render.pocket.moves import Move
from render.pocket.prompts import dice, draw_move, say_nothing, say_prompt

FRAMES = 17
"""Frames of a clip."""
TOKENS = 87
"""Longest prompt kept, tokens; one zero vector more stands for the pipeline's padding."""
DROP = 0.10
"""Share of clips with the unconditional prompt."""


@dataclass
class Batch:
    """What one training step sees."""

    latent: Tensor
    """(N, 32, 5, h, w), normalised."""
    condition: Tensor
    """(N, 36, 5, h, w): mask (4) and the encoded first frame, as the pipeline makes them."""
    tokens: Tensor
    """(N, TOKENS) token numbers, 0 where padded."""


class Bank:
    """Encoded clips of one frame size."""

    def __init__(self, *, size: int, height: int, width: int, device: torch.device) -> None:
        """Room for ``size`` clips of height x width pixels."""
        self.height, self.width = height, width
        shape = (size, 32, 1 + (FRAMES - 1) // 4, height // 8, width // 8)
        self._latent = torch.zeros(shape, device=device, dtype=torch.float16)
        self._first = torch.zeros(shape, device=device, dtype=torch.float16)
        self._tokens = torch.zeros((size, TOKENS), device=device, dtype=torch.long)
        self._size = size
        self._filled = 0
        self._next = 0

    def put(self, *, latent: Tensor, first: Tensor, tokens: Tensor) -> None:
        """Stores clips over the oldest ones."""
        count = len(latent)
        if self._next + count > self._size:
            self._next = 0
        place = slice(self._next, self._next + count)
        self._latent[place], self._first[place] = latent.half(), first.half()
        self._tokens[place] = tokens
        self._next += count
        self._filled = max(self._filled, self._next)

    def draw(self, *, count: int) -> Batch:
        """A random batch of what is there."""
        pick = torch.randint(self._filled, (count,), device=self._latent.device)
        first = self._first[pick].float()
        mask = torch.zeros_like(first[:, :4])
        mask[:, :, 0] = 1
        condition = torch.cat([mask, first], dim=1)
        return Batch(self._latent[pick].float(), condition, self._tokens[pick])


class Filler:
    """Makes encoded clips with their prompts."""

    def __init__(
        self,
        *,
        vae: AutoencoderKLWan,
        tokenizer: PreTrainedTokenizerFast,
        pool: Tensor,
        seed: int,
    ) -> None:
        """``vae`` is a whole-clip autoencoder; ``pool`` holds the canvases."""
        self._vae, self._tokenizer, self._pool = vae, tokenizer, pool
        self._rng = dice(seed)
        self._gen = torch.Generator(device=pool.device).manual_seed(seed)
        self._mean, self._std = latent_scale(vae, pool.device)

    @torch.no_grad()
    def fill(self, *, bank: Bank, count: int) -> None:
        """Films, encodes and stores ``count`` new clips."""
        shots = [self._shot() for _ in range(count)]
        clip = film(
            pool=self._pool,
            shots=shots,
            height=bank.height,
            width=bank.width,
            frames=FRAMES,
            generator=self._gen,
        )
        still = torch.zeros_like(clip)
        still[:, :, 0] = clip[:, :, 0]
        cuda = clip.is_cuda
        with torch.autocast(clip.device.type, torch.bfloat16, enabled=cuda):
            code = encode_clip(self._vae, torch.cat([clip, still]))[0].float()
        latent, first = ((code - self._mean) / self._std).chunk(2)
        bank.put(latent=latent, first=first, tokens=self._tokens_of(shots).to(clip.device))

    def _shot(self) -> Shot:
        """One move mostly, two at times; slow, normal or fast."""
        moves = [draw_move(rng=self._rng)]
        other = draw_move(rng=self._rng)
        calm = (Move.STATIC, Move.GENTLE)
        apart = moves[0].split()[0] != other.split()[0]
        if self._rng.random() < 0.12 and apart and moves[0] not in calm and other not in calm:
            moves.append(other)
        speed = self._rng.choices((-1, 0, 1), weights=(0.25, 0.6, 0.15))[0]
        if moves[0] in calm:
            speed = 0
        return Shot(tuple(moves), speed)

    def _tokens_of(self, shots: list[Shot]) -> Tensor:
        """A prompt for each shot, some of them empty: (N, TOKENS)."""
        texts = []
        for shot in shots:
            if self._rng.random() < DROP:
                texts.append(say_nothing(rng=self._rng))
            else:
                texts.append(say_prompt(moves=list(shot.moves), speed=shot.speed, rng=self._rng))
        ids = self._tokenizer(
            texts, padding="max_length", truncation=True, max_length=TOKENS
        ).input_ids
        return torch.tensor(ids, dtype=torch.long)
