"""The memory of an AnimateDiff take, from the settings of its folders alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, MotionAdapter, UNet2DConditionModel, UNetMotionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from render.families.animatediff import DECODE_FRAMES
from render.families.animatediff_loading import FAMILY, motion_folder
from render.families.folder import model_folder
from render.families.pipeline import dtype_named
from render.footprint import Footprint, FootprintOrder, Work, decode_work
from render.ladder import Phase
from render.meter import build, part_of, peak_of, read_json

PIECES = 4
"""Of text, each of 75 tokens: more than prompts have."""
SOLVER_KEEPS = 3
"""Latents that the hungriest solver remembers (uni_pc)."""


def measure_animatediff(order: FootprintOrder) -> Footprint:
    """Weights by component and the room that each one needs beside them.

    Raises:
        ModelUnavailable: the settings of the model or of its motion adapter cannot be read.
    """
    modules = _modules(order)
    works = (
        Work(name="text", phase=Phase.ENCODE, part="text_encoder", room=_text(modules)),
        Work(name="sampling", phase=Phase.SAMPLE, part="unet", room=_sampling(order, modules)),
        decode_work(lambda tiled: _decode(order, modules["vae"], tiled=tiled)),
    )
    # Last: see `part_of`.
    parts = {name: part_of(name, module) for name, module in modules.items()}
    return Footprint(parts=parts, works=works)


def _modules(order: FootprintOrder) -> dict[str, Any]:
    """The model's components without weights, in the precisions in which it would be loaded."""
    name = order.model.name
    folder = model_folder(order.model)
    dtype = dtype_named(order.precision, name=name)
    vae = dtype_named(order.vae_precision, name=name)

    def settings(place: Path) -> dict[str, Any]:
        return read_json(place / "config.json", model=name)

    index = read_json(folder / "model_index.json", model=name)
    bare = index.get("_class_name") in FAMILY.bare_pipelines
    motion = settings(motion_folder(order.model)) if bare else None
    unet, text = settings(folder / "unet"), settings(folder / "text_encoder")
    config = CLIPTextConfig.from_dict(text)
    pictures = settings(folder / "vae")
    return {
        "text_encoder": build(lambda: CLIPTextModel(config), dtype),
        "unet": build(lambda: _unet(unet, motion), dtype),
        "vae": build(lambda: AutoencoderKL.from_config(pictures), vae),
    }


def _unet(config: dict[str, Any], motion: dict[str, Any] | None) -> nn.Module:
    """The image network with motion modules put in, as the pipeline makes it."""
    if motion is None:
        whole: nn.Module = UNetMotionModel.from_config(config)
        return whole
    made: nn.Module = UNetMotionModel.from_unet2d(
        UNet2DConditionModel.from_config(config),
        MotionAdapter.from_config(motion),
        load_weights=False,
    )
    return made


def _text(modules: dict[str, Any]) -> int:
    encoder = modules["text_encoder"]
    tokens = encoder.config.max_position_embeddings
    return peak_of(lambda: encoder(torch.zeros(PIECES, tokens, dtype=torch.long)))


def _sampling(order: FootprintOrder, modules: dict[str, Any]) -> int:
    """One guided step: the network's call, and what the loop holds beside it."""
    net, encoder = modules["unet"], modules["text_encoder"].config
    shape = _latents(order, modules["vae"], frames=order.frames)
    tokens = PIECES * encoder.max_position_embeddings

    def step() -> None:
        # x, the other branch's noise, what the solver keeps; text for both branches.
        held = [torch.empty(shape) for _ in range(2 + SOLVER_KEEPS)]
        texts = [torch.empty(1, tokens, encoder.hidden_size, dtype=net.dtype) for _ in range(2)]
        told = texts[0].repeat_interleave(order.frames, dim=0)
        shown = (held[0] / 2.0).to(net.dtype)
        out = net(shown, torch.empty(()), encoder_hidden_states=told, return_dict=False)[0]
        held.append(out.float() - held[1])

    return peak_of(step)


def _latents(order: FootprintOrder, vae: Any, *, frames: int) -> tuple[int, ...]:
    space = 2 ** (len(vae.config.block_out_channels) - 1)
    channels = vae.config.latent_channels
    return (1, channels, frames, order.height // space, order.width // space)


def _decode(order: FootprintOrder, vae: Any, *, tiled: bool) -> int:
    """A few frames at once, whole or in tiles."""
    frames = min(DECODE_FRAMES, order.frames)
    _, channels, _, height, width = _latents(order, vae, frames=frames)

    def decode() -> None:
        z = torch.empty(frames, channels, height, width, dtype=vae.dtype)
        decoded = vae.decode(z, return_dict=False)[0]
        (decoded * 0.5 + 0.5).clamp(0, 1)

    if tiled:
        vae.enable_tiling()
    try:
        return peak_of(decode)
    finally:
        vae.disable_tiling()
