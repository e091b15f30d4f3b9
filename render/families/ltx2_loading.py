"""Loading an LTX-2 model: the right class, from files on this machine, or a named refusal."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
import transformers
from diffusers import LTX2ImageToVideoPipeline, LTX2Pipeline

from render.errors import ModelUnavailable
from render.families.base import LoadRequest
from render.families.folder import check_weights, model_folder, read_index
from render.families.ltx2 import FAMILY, Ltx2Model
from render.families.pipeline import dtype_named, load_pipeline
from render.families.unread import read_encoder, unread_encoder

PIPELINES: MappingProxyType[str, Any] = MappingProxyType(
    {"LTX2Pipeline": LTX2Pipeline, "LTX2ImageToVideoPipeline": LTX2ImageToVideoPipeline}
)
"""Classes a model's folder may name; both have the same weights and serve both tasks."""

TEXT_ENCODERS = (
    "Gemma3ForConditionalGeneration",
    "Gemma4ForConditionalGeneration",
    "Gemma4UnifiedForConditionalGeneration",
)
"""Classes of transformers that a model's folder may name as its text encoder."""


def load_ltx2(request: LoadRequest) -> Ltx2Model:
    """Load an LTX-2 model's folder, weights in host memory until they are used.

    Raises ModelUnavailable, naming the path and what to do.
    """
    name = request.model.name
    folder = model_folder(request.model)
    index = read_index(folder, name=name, unused=FAMILY.unused_parts)
    declared = str(index.get("_class_name"))
    if declared not in PIPELINES:
        raise ModelUnavailable(
            f"model {name}: {folder} holds a {declared}, not an LTX-2 model; "
            f"name its family right, or choose a folder of {' or '.join(PIPELINES)}"
        )
    if request.boundary is not None:
        raise ModelUnavailable(
            f"model {name} has one transformer, the recipe changes experts at "
            f"{request.boundary:g}; take `boundary` out"
        )
    transformer = dtype_named(request.precision, name=name)
    # NOTE: Gemma overflows in float16; bfloat16 has the range and the same size.
    text = torch.bfloat16 if transformer is torch.float16 else transformer
    vae = dtype_named(request.vae_precision, name=name)
    place = folder / "text_encoder"
    gemma = text_encoder_class(folder, index, name=name)
    pipe = load_pipeline(
        PIPELINES[declared],
        folder,
        request,
        dtypes={"default": transformer, "connectors": text, "vae": vae},
        # Unread: most of a night's texts come from the store.
        text_encoder=unread_encoder(gemma, place, dtype=text, name=name),
        **{part: None for part in FAMILY.unused_parts if part in index},
    )
    for component in ("transformer", "connectors", "vae"):
        check_weights(getattr(pipe, component), folder / component, name=name)
    read = partial(read_encoder, place=place, dtype=text, name=name)
    return Ltx2Model(pipe, request, read_text_encoder=read)


def text_encoder_class(folder: Path, index: Mapping[str, Any], *, name: str) -> Any:
    """The class of Gemma that a folder names. Raises ModelUnavailable for any other."""
    named = index.get("text_encoder")
    library, kind = named if isinstance(named, list) and len(named) == 2 else (None, None)
    if library != "transformers" or kind not in TEXT_ENCODERS:
        raise ModelUnavailable(
            f"model {name}: {folder} names {kind} of {library} as its text encoder; "
            f"an LTX-2 model has one of {', '.join(TEXT_ENCODERS)}"
        )
    return getattr(transformers, kind)
