"""A model's folder as it lies on the disk: safe to load, whole, and known by its contents."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from manifests.refusal import Refusal

FETCH = "download the model again, in the diffusers layout"

_UNSAFE = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".msgpack", ".h5"})
_KEPT = frozenset({".json", ".safetensors", ".model", ".txt"})
"""Suffixes of the files that decide what a model renders."""
_HASHED_WHOLE = 256 * 2**20
_SAMPLE = 2**20


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a model. Raises Refusal."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise Refusal(f"{path.parent} holds no {path.name}", FETCH) from None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise Refusal(f"{path} cannot be read ({error})", FETCH) from None


def check_safe(folder: Path) -> None:
    """Raise Refusal where a file of `folder` could run code when it is loaded."""
    unsafe = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in _UNSAFE)
    if unsafe:
        raise Refusal(
            f"{folder.name}/{unsafe[0]} can run code when it is loaded",
            "safetensors only: convert it, and remove that file",
        )


def check_weights(folder: Path) -> None:
    """Raise Refusal unless every weight file that `folder` names is there."""
    present = {path.name for path in folder.glob("*.safetensors")}
    for index in folder.glob("*.safetensors.index.json"):
        try:
            wanted = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise Refusal(f"{index} cannot be read ({error})", FETCH) from None
        if missing := sorted(wanted - present):
            raise Refusal(f"{folder.name}/{missing[0]} is missing", FETCH)
    if not present:
        raise Refusal(f"{folder.name} holds no .safetensors weights", FETCH)
    if all("." in name.removesuffix(".safetensors") for name in present):
        first = min(present)
        base = first.partition(".")[0]
        raise Refusal(
            f"{folder.name} holds a variant of its weights alone ({first})",
            f"name it {base}.safetensors",
        )


def folder_id(folder: Path, *, without: Iterable[str] = ()) -> str:
    """`sha256:...` over names and contents of what decides its pictures.

    `without`: sub-folders that no picture depends on.

    NOTE: above 256 MiB the ends of each file stand for the whole: 60 GB take minutes to read.
    """
    left_out = set(without)
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix in _KEPT
        and not (top := path.relative_to(folder).parts[0]).startswith(".")
        and top not in left_out
    )
    whole = sum(path.stat().st_size for path in files) <= _HASHED_WHOLE
    digest = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()}\0{size}\0".encode())
        with path.open("rb") as file:
            if whole or size <= 2 * _SAMPLE:
                digest.update(file.read())
            else:
                digest.update(file.read(_SAMPLE))
                file.seek(-_SAMPLE, 2)
                digest.update(file.read())
    return f"{'sha256' if whole else 'sha256-of-ends'}:{digest.hexdigest()}"
