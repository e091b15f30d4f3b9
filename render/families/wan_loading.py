"""Loading a Wan model: the right class, from files on this machine, or a named refusal."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from diffusers import WanImageToVideoPipeline, WanPipeline
from torch import nn
from transformers import UMT5EncoderModel

from render.errors import ModelUnavailable
from render.families.base import LoadRequest
from render.families.folder import check_weights, model_folder, number, read_index
from render.families.pipeline import dtype_named, load_pipeline
from render.families.transformer_file import transformers_from_files
from render.families.unread import read_encoder, unread_encoder
from render.families.wan import WanModel

PIPELINES: MappingProxyType[str, Any] = MappingProxyType(
    {"WanPipeline": WanPipeline, "WanImageToVideoPipeline": WanImageToVideoPipeline}
)
"""Classes a model's folder may name. Never the generic loader: it may ignore what it is given."""
TEXTS = "text_encoder"


def load_wan(request: LoadRequest) -> WanModel:
    """Load a Wan model's folder, weights in host memory until they are used; a transformer that
    has a file of its own comes from there.

    Raises ModelUnavailable, naming the path and what to do.
    """
    name = request.model.name
    folder = model_folder(request.model)
    index = read_index(folder, name=name)
    declared = str(index.get("_class_name"))
    if declared not in PIPELINES:
        raise ModelUnavailable(
            f"model {name}: {folder} holds a {declared}, not a Wan model; "
            f"name its family right, or choose a folder of {' or '.join(PIPELINES)}"
        )
    files = transformers_from_files(request, base=folder)
    texts = _text_encoder(folder, index, request)
    pipe = _from_folder(PIPELINES[declared], folder, request, text_encoder=texts, **files)
    for component in ("transformer", "transformer_2", "vae"):
        module = getattr(pipe, component, None)
        if module is not None and component not in files:
            check_weights(module, folder / component, name=name)
    pipe = _for_task(pipe, request)
    own = number(pipe.config, "boundary_ratio")
    boundary = _boundary(pipe, request, own)
    read = partial(read_encoder, place=folder / TEXTS, dtype=_text_dtype(request), name=name)
    return WanModel(pipe, request, boundary=boundary, read_text_encoder=read)


def _text_encoder(folder: Path, index: dict[str, Any], request: LoadRequest) -> nn.Module:
    """The text encoder, unread: most of a night's texts come from the store."""
    name = request.model.name
    if (named := index.get(TEXTS)) != ["transformers", "UMT5EncoderModel"]:
        raise ModelUnavailable(
            f"model {name}: its text encoder in {folder} is {named}, not transformers' "
            "UMT5EncoderModel; download the model again"
        )
    return unread_encoder(UMT5EncoderModel, folder / TEXTS, dtype=_text_dtype(request), name=name)


def _text_dtype(request: LoadRequest) -> torch.dtype:
    transformer = dtype_named(request.precision, name=request.model.name)
    # NOTE: UMT5 overflows in float16; bfloat16 has the range and the same size.
    return torch.bfloat16 if transformer is torch.float16 else transformer


def _from_folder(pipeline: Any, folder: Path, request: LoadRequest, **parts: nn.Module) -> Any:
    name = request.model.name
    dtypes = {
        "default": dtype_named(request.precision, name=name),
        "image_encoder": torch.float32,
        "vae": dtype_named(request.vae_precision, name=name),
    }
    return load_pipeline(pipeline, folder, request, dtypes=dtypes, **parts)


def _for_task(pipe: Any, request: LoadRequest) -> Any:
    """The pipeline for a take with or without a still. Raises ModelUnavailable if it cannot."""
    name, mixes = request.model.name, bool(pipe.config.expand_timesteps)
    text_only = pipe.transformer.config.in_channels == pipe.vae.config.z_dim
    if request.image_to_video and text_only and not mixes:
        raise ModelUnavailable(
            f"model {name} renders from text alone; take the source out of the sheet, "
            "or choose an image-to-video model"
        )
    if not request.image_to_video and not text_only:
        raise ModelUnavailable(
            f"model {name} renders from a still; give the shot a source, "
            "or choose a text-to-video model"
        )
    if request.image_to_video and not isinstance(pipe, WanImageToVideoPipeline):
        # TI2V-5B is published as a WanPipeline and serves both tasks with the same weights.
        config = {"boundary_ratio": pipe.config.boundary_ratio, "expand_timesteps": mixes}
        pipe = WanImageToVideoPipeline(**pipe.components, **config)
    return pipe


def _boundary(pipe: Any, request: LoadRequest, own: float | None) -> float | None:
    if pipe.transformer_2 is not None:
        return own if request.boundary is None else request.boundary
    if request.boundary is not None:
        raise ModelUnavailable(
            f"model {request.model.name} has one transformer, the recipe changes experts at "
            f"{request.boundary:g}; choose a model with two, or take `boundary` out"
        )
    return None
