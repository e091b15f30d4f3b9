"""The shortcuts of training compute what the stock classes compute."""

from __future__ import annotations

import pytest
import torch

from render.pocket.clipvae import decode_clip, encode_clip, make_whole_clip
from render.pocket.crossattn import encode_prompt, use_short_prompts
from render.pocket.layout import (
    new_text_encoder,
    new_tokenizer,
    new_transformer,
    new_vae,
)
from render.pocket.paths import MODEL_DIR


@pytest.mark.parametrize("frames", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (9, 17))])
def test_whole_clip_equals_chunks(frames: int) -> None:
    """One pass over a clip gives the latents and frames of the stock chunk walk."""
    torch.manual_seed(0)
    vae = new_vae().eval()
    clip = torch.rand(1, 3, frames, 32, 48) * 2 - 1
    with torch.no_grad():
        stock_latent = vae.encode(clip).latent_dist.mean
        stock_clip = vae.decode(stock_latent).sample
        make_whole_clip(vae)
        latent = encode_clip(vae, clip)[0]
        again = decode_clip(vae, stock_latent).clamp(-1, 1)
    torch.testing.assert_close(latent, stock_latent, atol=1e-5, rtol=0)
    torch.testing.assert_close(again, stock_clip, atol=1e-5, rtol=0)


def test_one_raised_zero_vector_equals_512_padded_ones() -> None:
    """Cross-attention to 88 vectors, the last one raised, is that to the pipeline's 512."""
    torch.manual_seed(0)
    transformer, encoder = new_transformer(layers=2).eval(), new_text_encoder().eval()
    ids = torch.tensor([[5, 9, 300, 1] + [0] * 83])
    x, time = torch.randn(1, 68, 2, 4, 4), torch.tensor([700.0])
    with torch.no_grad():
        short = encode_prompt(encoder, ids)
        full = torch.cat([short, short.new_zeros(1, 512 - 88, short.shape[2])], dim=1)
        stock = transformer(x, time, full, return_dict=False)[0]
        use_short_prompts(transformer, tokens=88)
        ours = transformer(x, time, short, return_dict=False)[0]
    torch.testing.assert_close(ours, stock, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_bundled_tokenizer_is_the_one_prompts_make() -> None:
    """Training prompts and bundled vocabulary have not drifted apart."""
    made = new_tokenizer()
    bundled = type(made).from_pretrained(MODEL_DIR / "tokenizer", local_files_only=True)
    assert made.get_vocab() == bundled.get_vocab()
