"""The memory of an LTX-2 take, from the settings of the model's folder alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLLTX2Video, LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2 import LTX2TextConnectors

from render.families.folder import model_folder
from render.families.ltx2 import TEXT_TOKENS
from render.families.ltx2_loading import text_encoder_class
from render.families.pipeline import dtype_named
from render.footprint import Footprint, FootprintOrder, Work, decode_work
from render.ladder import Phase
from render.meter import build, part_of, peak_of, read_json

MOMENTS = 25
"""Of sound in a second, each one token. At fewer than 24 frames a second a clip has more of
them than are reckoned here, against thousands of tokens of picture."""
FPS = 24.0
SOLVER_KEEPS = 3
"""Latents that the hungriest solver remembers (uni_pc)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """Components without weights, and the clip they make."""

    text_encoder: Any
    connectors: Any
    transformer: Any
    vae: Any
    order: FootprintOrder

    @property
    def picture(self) -> tuple[int, int, int, int, int]:
        """(1, C, T, h, w)."""
        order, space = self.order, self.vae.spatial_compression_ratio
        frames = (order.frames - 1) // self.vae.temporal_compression_ratio + 1
        channels = self.transformer.config.in_channels
        return (1, channels, frames, order.height // space, order.width // space)

    @property
    def moments(self) -> int:
        """Of sound."""
        return round(self.order.frames / FPS * MOMENTS)


def measure_ltx2(order: FootprintOrder) -> Footprint:
    """Weights by component and the room that each one needs beside them.

    Raises:
        ModelUnavailable: the folder's settings cannot be read, or name a class it does not know.
    """
    folder = model_folder(order.model)
    index = read_json(folder / "model_index.json", model=order.model.name)
    model = _built(order, folder, index)
    works = [
        Work(name="text", phase=Phase.ENCODE, part="text_encoder", room=_text(model)),
        Work(name="text", phase=Phase.ENCODE, part="connectors", room=_connected(model)),
    ]
    if order.image_to_video:
        works.append(Work(name="still", phase=Phase.ENCODE, part="vae", room=_still(model)))
    sampling = _sampling(model)
    works += [
        Work(name="sampling", phase=Phase.SAMPLE, part="transformer", room=sampling),
        decode_work(lambda tiled: _decode(model, tiled=tiled)),
    ]
    # Last: see `part_of`. The sound's VAE stays in host memory.
    names = ("text_encoder", "connectors", "transformer", "vae")
    return Footprint(
        parts={name: part_of(name, getattr(model, name)) for name in names}, works=tuple(works)
    )


def _built(order: FootprintOrder, folder: Path, index: Mapping[str, Any]) -> _Model:
    name = order.model.name
    dtype = dtype_named(order.precision, name=name)
    # As the loader: Gemma overflows in float16.
    text = torch.bfloat16 if dtype is torch.float16 else dtype
    vae = dtype_named(order.vae_precision, name=name)

    def settings(part: str) -> dict[str, Any]:
        return read_json(folder / part / "config.json", model=name)

    kind = text_encoder_class(folder, index, name=name)
    config = kind.config_class.from_dict(settings("text_encoder"))
    return _Model(
        text_encoder=build(lambda: kind(config), text),
        connectors=build(lambda: LTX2TextConnectors.from_config(settings("connectors")), text),
        transformer=build(
            lambda: LTX2VideoTransformer3DModel.from_config(settings("transformer")), dtype
        ),
        vae=build(lambda: AutoencoderKLLTX2Video.from_config(settings("vae")), vae),
        order=order,
    )


def _text(model: _Model) -> int:
    """Gemma on a full text, every layer of it kept."""

    def encode() -> None:
        tokens = torch.zeros(1, TEXT_TOKENS, dtype=torch.long)
        # Made from the mask of the text, whose values nobody knows here.
        mask = torch.empty(1, 1, TEXT_TOKENS, TEXT_TOKENS, dtype=torch.bool)
        told = model.text_encoder(
            input_ids=tokens,
            attention_mask={"full_attention": mask, "sliding_attention": mask.clone()},
            output_hidden_states=True,
        )
        torch.stack(told.hidden_states, dim=-1).flatten(2, 3).clone()

    return peak_of(encode)


def _connected(model: _Model) -> int:
    config, dtype = model.connectors.config, model.connectors.dtype
    width = config.caption_channels * config.text_proj_in_factor

    def connect() -> None:
        layers = torch.empty(1, TEXT_TOKENS, width, dtype=dtype)
        model.connectors(layers, torch.ones(1, TEXT_TOKENS, dtype=torch.long))

    return peak_of(connect)


def _still(model: _Model) -> int:
    order, vae = model.order, model.vae
    return peak_of(
        lambda: vae.encode(torch.empty(1, 3, 1, order.height, order.width, dtype=vae.dtype))
    )


def _sampling(model: _Model) -> int:
    """One guided step: the transformer's call, and what the loop holds beside it."""
    net, config = model.transformer, model.transformer.config
    _, channels, *grid = model.picture
    tokens = grid[0] * grid[1] * grid[2]
    heard = (1, model.moments, config.audio_in_channels)
    widths = _text_widths(model.connectors.config)
    numbers = channels * tokens + heard[1] * heard[2]

    def step() -> None:
        # x, the other branch's velocity, what the solver keeps; text for both branches.
        held = [torch.empty(1, numbers) for _ in range(2 + SOLVER_KEEPS)]
        texts = [torch.empty(1, TEXT_TOKENS, sum(widths) + 1, dtype=net.dtype) for _ in range(2)]
        drawn, sound = net(
            hidden_states=torch.empty(1, tokens, channels, dtype=net.dtype),
            audio_hidden_states=torch.empty(heard, dtype=net.dtype),
            encoder_hidden_states=torch.empty(1, TEXT_TOKENS, widths[0], dtype=net.dtype),
            audio_encoder_hidden_states=torch.empty(1, TEXT_TOKENS, widths[1], dtype=net.dtype),
            # A still gives each token a time of its own.
            timestep=torch.empty(1, tokens) if model.order.image_to_video else torch.empty(1),
            audio_timestep=torch.empty(1),
            sigma=torch.empty(1),
            encoder_attention_mask=torch.empty(1, TEXT_TOKENS),
            audio_encoder_attention_mask=torch.empty(1, TEXT_TOKENS),
            num_frames=grid[0],
            height=grid[1],
            width=grid[2],
            fps=FPS,
            audio_num_frames=model.moments,
            use_cross_timestep=not config.use_prompt_embeddings,
            return_dict=False,
        )
        row = torch.cat([drawn.float().flatten(), sound.float().flatten()])
        held.append(row - held[0])
        del texts

    return peak_of(step)


def _text_widths(config: Any) -> tuple[int, int]:
    return (
        config.video_connector_num_attention_heads * config.video_connector_attention_head_dim,
        config.audio_connector_num_attention_heads * config.audio_connector_attention_head_dim,
    )


def _decode(model: _Model, *, tiled: bool) -> int:
    """The whole clip at once, or in tiles that are joined at the end."""
    vae = model.vae
    if tiled:
        vae.enable_tiling()

    def decode() -> None:
        frames = vae.decode(torch.empty(model.picture, dtype=vae.dtype), return_dict=False)[0]
        (frames[:, :, :8] * 0.5 + 0.5).clamp(0, 1)

    try:
        return peak_of(decode)
    finally:
        vae.disable_tiling()
