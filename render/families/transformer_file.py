"""A Wan transformer from one file, safetensors or GGUF; its settings from the base folder.

Nothing is asked of the hub: without `config` diffusers would guess the model and download it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import GGUFQuantizationConfig, WanTransformer3DModel
from safetensors import safe_open
from torch import nn

from manifests.refusal import Refusal
from manifests.transformer_file import check_transformer_file
from manifests.wan_names import diffusers_name
from render.errors import ModelUnavailable
from render.families.base import LoadRequest
from render.families.pipeline import dtype_named, not_loadable
from render.memory import is_out_of_memory

_LOUD = ("diffusers.models.modeling_utils", "diffusers.quantizers.gguf.gguf_quantizer")


def transformers_from_files(request: LoadRequest, *, base: Path) -> dict[str, nn.Module]:
    """Each transformer that has a file of its own, by its name in the pipeline.

    Raises ModelUnavailable, naming the file and what to do.
    """
    model = request.model
    dtype = dtype_named(request.precision, name=model.name)
    named = {"transformer": model.transformer, "transformer_2": model.transformer_2}
    return {
        part: _read(Path(file), base=base, part=part, dtype=dtype, name=model.name)
        for part, file in named.items()
        if file is not None
    }


def _read(file: Path, *, base: Path, part: str, dtype: torch.dtype, name: str) -> nn.Module:
    try:
        # Again, though the sheet's check did: the file may have changed, and diffusers leaves a
        # missing weight empty and an unknown one out, with a line in a log.
        found = check_transformer_file(file, base=base, part=part)
    except Refusal as refusal:
        raise ModelUnavailable(f"model {name}: {refusal.problem}; {refusal.remedy}") from None
    packed: dict[str, Any] = {}
    if found.is_gguf:
        packed["quantization_config"] = GGUFQuantizationConfig(compute_dtype=dtype)
    try:
        with _without_alarm():
            net: Any = WanTransformer3DModel.from_single_file(
                str(file),
                config=str(base),
                subfolder=part,
                local_files_only=True,
                dtype=dtype,
                **packed,
            )
    except Exception as error:  # every library beneath has its own; all mean: not loadable here
        if is_out_of_memory(error):
            raise
        raise not_loadable(error, file, name=name) from error
    empty = [weight for weight, tensor in net.state_dict().items() if tensor.is_meta]
    if empty:
        raise ModelUnavailable(
            f"model {name}: {len(empty)} weights were not read from {file} "
            f"({', '.join(empty[:3])} ...); use a file in Wan's own or in diffusers' naming"
        )
    if not found.is_gguf:
        _keep_wide(net, file)
    module: nn.Module = net.requires_grad_(False).eval()
    return module


@contextmanager
def _without_alarm() -> Iterator[None]:
    """No warnings about weights that must stay in float32: they do, by `_keep_wide`."""

    def is_news(record: logging.LogRecord) -> bool:
        said = record.getMessage()
        return "kept in float32" not in said and "remain in FP32" not in said

    logs = [logging.getLogger(name) for name in _LOUD]
    for log in logs:
        log.addFilter(is_news)
    try:
        yield
    finally:
        for log in logs:
            log.removeFilter(is_news)


def _keep_wide(net: Any, file: Path) -> None:
    """Give `net` in float32 what a folder's loader keeps in float32 (norms, times, modulation).

    NOTE: loaded from one file all of it is narrowed. Packed models keep it wide by themselves.
    """
    kept = set(net._keep_in_fp32_modules or ())
    weights = net.state_dict()
    with safe_open(file, framework="pt") as handle:
        for name in handle.keys():  # noqa: SIM118 - it is no mapping
            ours = diffusers_name(name)
            if kept & set(ours.split(".")) and weights[ours].dtype is not torch.float32:
                net.get_parameter(ours).data = handle.get_tensor(name).float()
