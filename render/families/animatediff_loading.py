"""Loading AnimateDiff: an image model with a motion adapter, or both in one folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import AnimateDiffPipeline, MotionAdapter
from transformers import CLIPTextModel

from manifests.families import family_named
from render.errors import ModelUnavailable
from render.families.animatediff import AnimateDiffModel
from render.families.base import LoadRequest
from render.families.folder import check_weights, model_folder, read_index
from render.families.pipeline import dtype_named, load_encoder, load_pipeline, not_loadable
from render.memory import is_out_of_memory
from render.order import ModelRef

FAMILY = family_named("animatediff")

_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Names in VAEs of 2022, which diffusers still reads, and what they are called today."""


def load_animatediff(request: LoadRequest) -> AnimateDiffModel:
    """Load an AnimateDiff model, weights in host memory until they are used.

    Raises ModelUnavailable, naming the path and what to do.
    """
    name = request.model.name
    if request.image_to_video:
        raise ModelUnavailable(
            f"model {name} renders from text alone; take the source out of the sheet, or choose "
            "an image-to-video model"
        )
    if request.boundary is not None:
        raise ModelUnavailable(f"model {name} has one network; take `boundary` out")
    folder = model_folder(request.model)
    index = read_index(folder, name=name, unused=FAMILY.unused_parts)
    declared = str(index.get("_class_name"))
    if declared not in FAMILY.pipelines:
        raise ModelUnavailable(
            f"model {name}: {folder} holds a {declared}, not an AnimateDiff model; name its "
            f"family right, or choose a folder of {' or '.join(FAMILY.pipelines)}"
        )
    bare = declared in FAMILY.bare_pipelines
    motion = motion_folder(request.model) if bare else folder / "motion_adapter"
    pipe = _pipeline(folder, request, motion=motion if bare else None)
    _check(pipe, folder, name=name, motion=motion)
    # The modules are in the UNet now: the adapter would only double their memory.
    pipe.register_modules(motion_adapter=None)
    return AnimateDiffModel(pipe, request)


def motion_folder(model: ModelRef) -> Path:
    """Where the motion adapter of an image model lies. Raises ModelUnavailable."""
    if model.motion_adapter is None:
        raise ModelUnavailable(
            f"model {model.name} is an image model and has no motion adapter; add motion_adapter: "
            "to it in the studio's settings"
        )
    location, _, commit = model.motion_adapter.partition("@")
    return model_folder(
        ModelRef(
            name=f"{model.name} (motion adapter)",
            family=model.family,
            location=location if commit else model.motion_adapter,
            revision=commit or None,
            offline=model.offline,
        )
    )


def _pipeline(folder: Path, request: LoadRequest, *, motion: Path | None) -> Any:
    name = request.model.name
    dtype = dtype_named(request.precision, name=name)
    parts = {
        "text_encoder": load_encoder(CLIPTextModel, folder / "text_encoder", dtype=dtype, name=name)
    }
    if motion is not None:
        parts["motion_adapter"] = _adapter(motion, dtype, name=name)
    with _without_alarm():
        return load_pipeline(
            AnimateDiffPipeline,
            folder,
            request,
            dtypes={"default": dtype, "vae": dtype_named(request.vae_precision, name=name)},
            image_encoder=None,
            feature_extractor=None,
            **parts,
        )


@contextmanager
def _without_alarm() -> Iterator[None]:
    """No warning that modules of an empty list should stay in float32, one for each model made of
    an image model and an adapter."""

    def is_news(record: logging.LogRecord) -> bool:
        return "should be kept in float32: []" not in record.getMessage()

    log = logging.getLogger("diffusers.models.modeling_utils")
    log.addFilter(is_news)
    try:
        yield
    finally:
        log.removeFilter(is_news)


def _adapter(folder: Path, dtype: torch.dtype, *, name: str) -> Any:
    try:
        return MotionAdapter.from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, dtype=dtype
        )
    except Exception as error:  # every library beneath has its own; all mean: not loadable here
        if is_out_of_memory(error):
            raise
        raise not_loadable(error, folder, name=name) from error


def _check(pipe: Any, folder: Path, *, name: str, motion: Path) -> None:
    """Every weight came from a file, and the network takes noise alone."""
    check_weights(pipe.vae, folder / "vae", name=name, alias=_today)
    check_weights(pipe.unet, folder / "unet", name=name, more=(motion,))
    if pipe.unet.config.in_channels != pipe.vae.config.latent_channels:
        raise ModelUnavailable(
            f"model {name}: its network takes {pipe.unet.config.in_channels} channels, which is "
            "more than the latents have (PIA, inpainting); choose a text-to-video one"
        )


def _today(key: str) -> str:
    parts = key.split(".")
    if "attentions" not in parts:
        return key
    return ".".join(_OLD_ATTENTION.get(part, part) for part in parts)
