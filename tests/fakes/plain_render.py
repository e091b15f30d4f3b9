"""Loading and rendering on the CPU, in float32, by a worker that knows nothing yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from manifests.files import sha256_file
from manifests.stage import Lora
from render.diffusers_backend import DiffusersBackend
from render.families.base import LoadedModel, LoadRequest
from render.families.registry import load_model
from render.order import ModelRef, Receipt, RenderOrder


def plain_request(ref: ModelRef, **changes: Any) -> LoadRequest:
    """The model of `ref` without a still and without a boundary; keywords change the request."""
    values: dict[str, Any] = {
        "precision": "float32",
        "vae_precision": "float32",
        "device": "cpu",
        "image_to_video": False,
        "boundary": None,
        **changes,
    }
    return LoadRequest(model=ref, **values)


def load_plain(ref: ModelRef, **changes: Any) -> LoadedModel:
    """What `plain_request` asks for, loaded."""
    return load_model(plain_request(ref, **changes))


def render(order: RenderOrder, backend: DiffusersBackend | None = None) -> Receipt:
    """The take, by `backend` or by a cold one."""
    return (backend or DiffusersBackend()).render(order, tell=lambda progress: None)


def latents_of(receipt: Receipt) -> list[str]:
    """The hash of the latents after every stage."""
    return [stage.latents_sha256 for stage in receipt.stages]


def hashes(receipt: Receipt) -> list[str]:
    """The hash of the latents after every stage, and of the clip."""
    return [*latents_of(receipt), receipt.clip_sha256]


def write_lora(path: Path, layer: str, *, width: int, seed: int = 0) -> Lora:
    """A LoRA of rank 4 on one square layer of `width`, written to `path`, at strength 0.8."""
    generator = torch.Generator().manual_seed(seed)
    weights = {
        f"{layer}.lora_A.weight": torch.randn(4, width, generator=generator),
        f"{layer}.lora_B.weight": torch.randn(width, 4, generator=generator),
    }
    save_file(weights, path)
    return Lora(path=str(path), sha256=sha256_file(path), strength=0.8)
