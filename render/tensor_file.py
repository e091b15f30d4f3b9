"""Tensors on disk, with what is told about them: safetensors, whole or not there, with a hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from manifests.files import write_atomic
from render.errors import TensorFileDamaged
from render.keys import sha256_json


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorFile:
    """What was read back."""

    tensors: dict[str, Tensor]
    """On the CPU, bit for bit as they were written."""
    told: dict[str, Any]
    """Plain data."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor], told: Mapping[str, Any]) -> None:
    """Write tensors and plain data durably to `path`, or leave it as it was. Raises OSError."""
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    about = {"rushes": json.dumps(told), "sha256": _sha256(kept, told)}
    write_atomic(path, save(kept, metadata=about))


def read_tensors(path: Path) -> TensorFile:
    """Read what `write_tensors` wrote, every bit of it checked against its hash.

    Raises:
        OSError: the file is not there or cannot be read.
        TensorFileDamaged: it is no such file, or its hash differs; the message names it.
    """
    # NOTE: read whole and never mapped: a mapped file that is cut meanwhile kills the process.
    data = path.read_bytes()
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        told = json.loads(header["__metadata__"]["rushes"])
        sha256 = header["__metadata__"]["sha256"]
        tensors = load(data)
    except (SafetensorError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise TensorFileDamaged(f"{path.name} is damaged ({error})") from error
    if not isinstance(told, dict) or _sha256(tensors, told) != sha256:
        raise TensorFileDamaged(f"{path.name} is damaged (its hash differs)")
    return TensorFile(tensors=tensors, told=told)


def tensor_sha256(x: Tensor) -> str:
    """SHA-256 over a tensor's values (little-endian, row by row), hex."""
    flat = x.detach().cpu().contiguous().reshape(-1)
    return hashlib.sha256(flat.view(torch.uint8).numpy().data).hexdigest()


def _sha256(tensors: Mapping[str, Tensor], told: Mapping[str, Any]) -> str:
    shapes = {name: [list(tensor.shape), str(tensor.dtype)] for name, tensor in tensors.items()}
    hashes = {name: tensor_sha256(tensor) for name, tensor in tensors.items()}
    return sha256_json({"told": told, "shapes": shapes, "hashes": hashes})
