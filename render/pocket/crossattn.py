"""Cross-attention to a padded prompt, without the padding.

The pipeline pads every prompt to 512 vectors with zeros and the transformer attends to all of
them. All zero vectors become the same key and the same value, so 512 - n of them act exactly like
one whose score is raised by log(512 - n). Training uses that; it is several times cheaper.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from diffusers import WanTransformer3DModel
from torch import Tensor, nn
from torch.nn import functional

from render.pocket.layout import TEXT_LENGTH


class PaddedCrossAttention:
    """Attention processor for ``attn2``: the last text vector stands for all the padding."""

    def __init__(self, *, tokens: int) -> None:
        """``tokens`` text vectors come in, the last of them a zero vector."""
        self._extra = math.log(TEXT_LENGTH - (tokens - 1))

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        *unused: Any,
        **also_unused: Any,
    ) -> Tensor:
        """(N, L, C) attends to (N, tokens, C)."""
        query = attn.norm_q(attn.to_q(hidden_states)).unflatten(2, (attn.heads, -1))
        key = attn.norm_k(attn.to_k(encoder_hidden_states)).unflatten(2, (attn.heads, -1))
        value = attn.to_v(encoder_hidden_states).unflatten(2, (attn.heads, -1))
        score = value.new_zeros(1, 1, 1, key.shape[1])
        score[..., -1] = self._extra
        out = functional.scaled_dot_product_attention(
            query.transpose(1, 2).to(value.dtype),
            key.transpose(1, 2).to(value.dtype),
            value.transpose(1, 2),
            attn_mask=score.expand(len(query), attn.heads, query.shape[1], -1),
        )
        joined: Tensor = attn.to_out[0](out.transpose(1, 2).flatten(2))
        return joined


def use_short_prompts(transformer: WanTransformer3DModel, *, tokens: int) -> None:
    """Makes all cross-attention layers take ``tokens`` vectors for the pipeline's 512."""
    for block in transformer.blocks:
        block.attn2.processor = PaddedCrossAttention(tokens=tokens)


def encode_prompt(encoder: nn.Module, tokens: Tensor) -> Tensor:
    """Prompt vectors with padding as zeros and one zero vector at the end: (N, L + 1, C)."""
    mask = (tokens != 0).long()
    mask[:, 0] = 1
    states: Tensor = encoder(input_ids=tokens, attention_mask=mask).last_hidden_state
    states = states * mask[..., None].to(states.dtype)
    return torch.cat([states, torch.zeros_like(states[:, :1])], dim=1)
