"""A stock pipeline's components, read from a checked folder: safetensors only, on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from render.errors import ModelUnavailable
from render.families.base import LoadRequest
from render.memory import is_out_of_memory

DTYPES: MappingProxyType[str, torch.dtype] = MappingProxyType(
    {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
)


def dtype_named(precision: str, *, name: str) -> torch.dtype:
    """The dtype of a precision that a recipe names. Raises ModelUnavailable."""
    if precision not in DTYPES:
        raise ModelUnavailable(
            f"model {name}: precision {precision!r} is unknown; write {', '.join(DTYPES)}"
        )
    return DTYPES[precision]


def load_pipeline(
    pipeline: Any,
    folder: Path,
    request: LoadRequest,
    *,
    dtypes: Mapping[str, torch.dtype],
    **parts: Any,
) -> Any:
    """The `pipeline` class with its components from `folder`, frozen, in host memory.

    `dtypes` is by component, with a `default`. `parts` are components that are there already;
    None leaves one out.

    Raises:
        ModelUnavailable: a component cannot be loaded; the message names the folder.
    """
    try:
        pipe = pipeline.from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, dtype=dict(dtypes), **parts
        )
    except Exception as error:  # every library beneath has its own; all mean: not loadable here
        if is_out_of_memory(error):
            raise
        raise not_loadable(error, folder, name=request.model.name) from error
    for given, part in parts.items():
        # NOTE: the generic loader ignores what it is given for some classes, without a word.
        assert getattr(pipe, given) is part, f"{given} was loaded though it was given"
    if getattr(pipe, "transformer", pipe) is None:
        raise ModelUnavailable(
            f"model {request.model.name}: {folder} has no transformer; download the model again"
        )
    for module in pipe.components.values():
        if isinstance(module, nn.Module):
            module.requires_grad_(False).eval()
    return pipe


def load_encoder(kind: Any, place: Path, *, dtype: torch.dtype, name: str) -> Any:
    """An encoder of class `kind` from the folder `place`, with every weight it has.

    NOTE: transformers fills a missing weight with random numbers and only logs a warning.

    Raises ModelUnavailable.
    """
    try:
        encoder, found = kind.from_pretrained(
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


def not_loadable(error: Exception, folder: Path, *, name: str) -> ModelUnavailable:
    """The refusal of a folder whose weights could not be read."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
    return ModelUnavailable(
        f"model {name}: {folder} cannot be loaded ({reason}); download or copy the model again"
    )
