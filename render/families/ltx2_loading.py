"""Loading an LTX-2 model: the right class, from files on this machine, or a named refusal."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
import transformers
from diffusers import LTX2ImageToVideoPipeline, LTX2Pipeline

from render.errors import ModelUnavailable
from render.families.base import LoadRequest
from render.families.folder import check_weights, model_folder, read_index
from render.families.ltx2 import Ltx2Model
from render.families.pipeline import dtype_named, load_pipeline, not_loadable
from render.memory import is_out_of_memory

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

UNUSED = ("vocoder", "prompt_enhancer", "duration_head")
"""Components that a silent clip of a given length, from a given prompt, does not need."""


def load_ltx2(request: LoadRequest) -> Ltx2Model:
    """Load an LTX-2 model's folder, weights in host memory until they are used.

    Raises ModelUnavailable, naming the path and what to do.
    """
    name = request.model.name
    folder = model_folder(request.model)
    index = read_index(folder, name=name)
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
    pipe = load_pipeline(
        PIPELINES[declared],
        folder,
        request,
        dtypes={"default": transformer, "connectors": text, "vae": vae},
        text_encoder=_text_encoder(folder, index, text, name=name),
        **{part: None for part in UNUSED if part in index},
    )
    for component in ("transformer", "connectors", "vae"):
        check_weights(getattr(pipe, component), folder / component, name=name)
    return Ltx2Model(pipe, request)


def _text_encoder(folder: Path, index: dict[str, Any], dtype: torch.dtype, *, name: str) -> Any:
    """Gemma, whole: transformers too fills a missing weight with random numbers."""
    library, kind = index.get("text_encoder") or (None, None)
    if library != "transformers" or kind not in TEXT_ENCODERS:
        raise ModelUnavailable(
            f"model {name}: {folder} names {kind} of {library} as its text encoder; "
            f"an LTX-2 model has one of {', '.join(TEXT_ENCODERS)}"
        )
    place = folder / "text_encoder"
    try:
        encoder, found = getattr(transformers, kind).from_pretrained(
            str(place),
            local_files_only=True,
            use_safetensors=True,
            dtype=dtype,
            output_loading_info=True,
        )
    except Exception as error:  # every library beneath has its own; all mean: not loadable here
        if is_out_of_memory(error):
            raise
        raise not_loadable(error, place, name=name) from error
    missing = sorted(found["missing_keys"])
    if missing:
        raise ModelUnavailable(
            f"model {name}: {place} lacks {len(missing)} weights ({', '.join(missing[:3])} ...); "
            "download or copy the model again"
        )
    return encoder
