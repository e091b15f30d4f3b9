"""The memory of a Wan take, from the settings of the model's folder alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from torch import nn
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    T5Config,
    T5EncoderModel,
    UMT5Config,
    UMT5EncoderModel,
)

from render.errors import ModelUnavailable
from render.families.folder import model_folder
from render.families.packed import packed_files, packed_part, unpacking_room
from render.families.pipeline import dtype_named
from render.families.wan import TEXT_TOKENS, decode_stream
from render.footprint import Footprint, FootprintOrder, Work, decode_work
from render.ladder import Phase
from render.meter import build, part_of, peak_of, read_json


def _umt5(config: dict[str, Any]) -> nn.Module:
    return UMT5EncoderModel(UMT5Config.from_dict(config))


def _t5(config: dict[str, Any]) -> nn.Module:
    return T5EncoderModel(T5Config.from_dict(config))


def _clip(config: dict[str, Any]) -> nn.Module:
    return CLIPVisionModel(CLIPVisionConfig.from_dict(config))


BUILDERS: MappingProxyType[str, Callable[[dict[str, Any]], nn.Module]] = MappingProxyType(
    {
        "WanTransformer3DModel": WanTransformer3DModel.from_config,
        "AutoencoderKLWan": AutoencoderKLWan.from_config,
        "UMT5EncoderModel": _umt5,
        "T5EncoderModel": _t5,
        "CLIPVisionModel": _clip,
    }
)
"""Classes that a Wan folder's model_index.json names, and how one is made of its settings."""

CONVOLUTION = 1.2
"""cuDNN's convolutions work in memory that no tensor shows: with it the VAE took 1.14 to 1.20 times
what its tensors take (H200, torch 2.11, three sizes; `benchmarks/results/memory_h200.json`)."""
STEADY = 3
"""Latent frames after which the VAE's memory has come to rest: its convolutions remember two."""


def measure_wan(order: FootprintOrder) -> Footprint:
    """Weights by component and the room that each one needs beside them.

    Raises:
        ModelUnavailable: the folder's settings cannot be read, or name a class that no Wan has.
    """
    folder = model_folder(order.model)
    index = read_json(folder / "model_index.json", model=order.model.name)
    modules, mixes = _modules(order, folder, index), bool(index.get("expand_timesteps"))
    works = [Work(name="text", phase=Phase.ENCODE, part="text_encoder", room=_text(modules))]
    if order.image_to_video:
        works.append(_still(order, modules, mixes=mixes))
        if "image_encoder" in modules:
            works.append(
                Work(
                    name="image",
                    phase=Phase.ENCODE,
                    part="image_encoder",
                    room=_image(modules["image_encoder"]),
                )
            )
    packed = packed_files(order.model)
    for name in ("transformer", "transformer_2"):
        if name in modules:
            room = _sampling(order, modules, name, mixes=mixes)
            room += unpacking_room(packed[name]) if name in packed else 0
            works.append(Work(name="sampling", phase=Phase.SAMPLE, part=name, room=room))
    works.append(decode_work(lambda tiled: _decode(order, modules["vae"], tiled=tiled)))
    # Last, because it stores weights in 8 bits to see how many bytes they are then.
    parts = {
        name: packed_part(packed[name], module) if name in packed else part_of(name, module)
        for name, module in modules.items()
    }
    return Footprint(parts=parts, works=tuple(works))


def _modules(order: FootprintOrder, folder: Path, index: Mapping[str, Any]) -> dict[str, Any]:
    """The model's components without weights, in the precisions in which it would be loaded."""
    name = order.model.name
    transformer = dtype_named(order.precision, name=name)
    dtypes = {
        # As the loader: UMT5 overflows in float16.
        "text_encoder": torch.bfloat16 if transformer is torch.float16 else transformer,
        "image_encoder": torch.float32,
        "vae": dtype_named(order.vae_precision, name=name),
    }
    found = {}
    for part, kind in index.items():
        if isinstance(kind, list) and len(kind) == 2 and kind[1] in BUILDERS:
            config = read_json(folder / part / "config.json", model=name)
            make = partial(BUILDERS[kind[1]], config)
            found[part] = build(make, dtypes.get(part, transformer))
    missing = {"text_encoder", "transformer", "vae"} - set(found)
    if missing:
        raise ModelUnavailable(
            f"model {name}: {folder} names no {', '.join(sorted(missing))} of a known class "
            f"({', '.join(BUILDERS)}); its memory cannot be estimated"
        )
    return found


def _text(modules: dict[str, Any]) -> int:
    encoder = modules["text_encoder"]
    return peak_of(lambda: encoder(torch.zeros(1, TEXT_TOKENS, dtype=torch.long)))


def _image(encoder: Any) -> int:
    side = encoder.config.image_size
    return peak_of(
        lambda: encoder(pixel_values=torch.empty(1, 3, side, side), output_hidden_states=True)
    )


def _still(order: FootprintOrder, modules: dict[str, Any], *, mixes: bool) -> Work:
    """The still as the first frame of a clip that is empty behind it, through the VAE."""
    vae = modules["vae"]
    # Longer clips add their own empty frames and nothing else.
    frames = 1 if mixes else order.frames
    run = min(frames, 1 + STEADY * vae.config.scale_factor_temporal)
    size = (order.height, order.width)

    def encode() -> None:
        vae.encode(torch.empty(1, 3, run, *size, dtype=vae.dtype))

    wide = 3 * size[0] * size[1]
    # The clip in float32 and in the VAE's precision; what was run is counted once already.
    clip = wide * frames * (4 + vae.dtype.itemsize) - wide * run * vae.dtype.itemsize
    room = int(CONVOLUTION * (peak_of(encode) + clip))
    return Work(name="still", phase=Phase.ENCODE, part="vae", room=room)


def _sampling(order: FootprintOrder, modules: dict[str, Any], name: str, *, mixes: bool) -> int:
    """One guided step: the transformer's call, and what the loop holds beside it."""
    net, vae = modules[name], modules["vae"]
    config = net.config
    shape = _latents(order, vae)
    text = (1, TEXT_TOKENS, config.text_dim)
    image_tokens = config.image_dim is not None

    def step() -> None:
        x, v, prompt, negative = (
            torch.empty(shape),
            torch.empty(shape),
            torch.empty(text, dtype=net.dtype),
            torch.empty(text, dtype=net.dtype),
        )
        given = torch.empty(1, config.in_channels, *shape[2:])
        seen = given.to(net.dtype)
        kept = [torch.empty(shape) for _ in range(SOLVER_KEEPS)]
        told: dict[str, Any] = {}
        if image_tokens:
            told["encoder_hidden_states_image"] = torch.empty(
                1, IMAGE_TOKENS, config.image_dim, dtype=net.dtype
            )
        out = net(
            hidden_states=seen,
            timestep=torch.empty(_timesteps(config, shape, mixes=mixes)),
            encoder_hidden_states=prompt,
            return_dict=False,
            **told,
        )[0]
        x = x + (out.float() - v)
        del kept, negative

    return peak_of(step)


SOLVER_KEEPS = 3
"""Latents that the hungriest solver remembers (uni_pc)."""
IMAGE_TOKENS = 257
"""Of CLIP ViT-H/14 at 224 pixels, the class token included."""


def _timesteps(config: Any, shape: tuple[int, ...], *, mixes: bool) -> tuple[int, ...]:
    if not mixes:
        return (1,)
    _, rows, columns = config.patch_size
    return (1, shape[2] * (shape[3] // rows) * (shape[4] // columns))


def _latents(order: FootprintOrder, vae: Any) -> tuple[int, ...]:
    space, time = vae.config.scale_factor_spatial, vae.config.scale_factor_temporal
    frames = 1 + (order.frames - 1) // time
    return (1, vae.config.z_dim, frames, order.height // space, order.width // space)


def _decode(order: FootprintOrder, vae: Any, *, tiled: bool) -> int:
    """The decode as a take does it: latent frame by latent frame, or in tiles joined at the end."""
    if not tiled:
        return _streamed(order, vae, height=order.height, width=order.width)
    tile = {
        "height": min(order.height, vae.tile_sample_min_height),
        "width": min(order.width, vae.tile_sample_min_width),
    }
    clip = 3 * order.frames * order.height * order.width * vae.dtype.itemsize
    return _streamed(order, vae, **tile) + JOINED_CLIPS * clip


JOINED_CLIPS = 5
"""Clips that tiled decoding holds while it joins: the tiles, which overlap by a third in both
directions (1.8 clips), their rows, the whole, and what clamps it. An upper bound."""


def _streamed(order: FootprintOrder, vae: Any, *, height: int, width: int) -> int:
    space = vae.config.scale_factor_spatial
    batch, channels, frames, *_ = _latents(order, vae)
    shape = (batch, channels, min(frames, STEADY), height // space, width // space)

    def decode() -> None:
        for chunk in decode_stream(vae, torch.empty(shape, dtype=vae.dtype)):
            (chunk * 0.5 + 0.5).clamp(0, 1)

    # The latents themselves, as they come and as the VAE takes them, are small beside it.
    return int(CONVOLUTION * peak_of(decode))
