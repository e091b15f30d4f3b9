"""Encoders without their weights: read from disk when they are first asked, and perhaps never.

Text encoders are among the largest parts of a model (Wan's is 11 GB) and have nothing to do when
every text comes from the store.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from render.families.pipeline import load_encoder, not_loadable


def unread_encoder(kind: Any, place: Path, *, dtype: torch.dtype, name: str) -> nn.Module:
    """An encoder of class `kind` as the folder `place` describes it, on the meta device.

    Raises ModelUnavailable when there is no such description.
    """
    try:
        config = kind.config_class.from_pretrained(str(place), local_files_only=True)
        with torch.device("meta"):
            encoder = kind(config)
    except Exception as error:  # every library beneath has its own; all mean: not loadable here
        raise not_loadable(error, place, name=name) from error
    module: nn.Module = encoder.to(dtype).requires_grad_(False).eval()
    return module


def is_unread(encoder: nn.Module) -> bool:
    """Whether it has no weights yet."""
    return any(weight.is_meta for weight in encoder.parameters())


def read_encoder(encoder: nn.Module, *, place: Path, dtype: torch.dtype, name: str) -> None:
    """Give `encoder` the weights in `place`; it stays the same object.

    Raises ModelUnavailable when a weight is missing or cannot be read.
    """
    # NOTE: weights made inside inference mode could not be moved piece by piece afterwards.
    with torch.inference_mode(False):
        read = load_encoder(type(encoder), place, dtype=dtype, name=name)
        read.requires_grad_(False).eval()
    # Whole dictionaries, so that weights that are tied stay one.
    for mine, its in zip(encoder.modules(), read.modules(), strict=True):
        mine._parameters, mine._buffers = its._parameters, its._buffers
