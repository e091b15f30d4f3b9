"""A model's folder as it lies on the disk: safe to load, whole, and known by its contents."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from manifests.refusal import Refusal
from manifests.text import listed
from manifests.weight_file import WeightFile, read_weight_file

FETCH = "download the model again, in the diffusers layout"
INDEX = "model_index.json"
"""What makes a folder one of the diffusers layout."""

_UNSAFE = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".msgpack", ".h5"})
_KEPT = frozenset({".json", ".safetensors", ".model", ".txt"})
"""Suffixes of the files that decide what a model renders."""
_SINGLE = frozenset({".safetensors", ".gguf"})
"""Suffixes of checkpoints in one file, as other programs keep them."""
_HASHED_WHOLE = 256 * 2**20
_SAMPLE = 2**20


def check_whole(location: Path, *, single_files: bool) -> None:
    """Raise Refusal where `location` is no folder in the diffusers layout, with what it is instead.

    `single_files`: of this family a transformer may lie in a file of its own.
    """
    if not location.is_dir():
        raise _no_folder(location, single_files=single_files)
    if (location / INDEX).exists():
        return
    within = sorted(path.parent.name for path in location.glob(f"*/{INDEX}"))
    files = sorted(path.name for path in location.iterdir() if path.suffix.lower() in _SINGLE)
    if within:
        problem, remedy = "", f"the model may be in {listed(within)}: correct location:"
    elif files:
        problem, remedy = f", but single files ({listed(files)})", _over_a_base(single_files)
    else:
        problem, remedy = "", FETCH
    raise Refusal(f"{location} holds no {INDEX}{problem}", remedy)


def _no_folder(location: Path, *, single_files: bool) -> Refusal:
    if location.is_file():
        problem = f"{str(location)!r} is a file, and a model is a folder in the diffusers layout"
        return Refusal(problem, _over_a_base(single_files))
    remedy = "correct location: in studio.yaml"
    # A hub id without its revision was taken for a path, and then its owner is no folder either.
    if not location.parent.is_dir():
        name = "/".join(location.parts[-2:])
        remedy += f", or, if {name} is meant on the hub, add revision: and its commit"
    return Refusal(f"the folder {str(location)!r} is not there", remedy)


def _over_a_base(single_files: bool) -> str:
    if single_files:
        return "name a folder in that layout in location:, and the file in transformer:"
    return "of this family single files are not read: name a folder in that layout"


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


def check_weights(folder: Path) -> tuple[WeightFile, ...]:
    """The headers of the weights in `folder`, every file that it names there and whole.

    Raises Refusal.
    """
    files = {path.name: read_weight_file(path) for path in sorted(folder.glob("*.safetensors"))}
    for index in folder.glob("*.safetensors.index.json"):
        _check_shards(index, files)
    if not files:
        raise Refusal(f"{folder.name} holds no .safetensors weights", FETCH)
    if all("." in name.removesuffix(".safetensors") for name in files):
        first = min(files)
        base = first.partition(".")[0]
        raise Refusal(
            f"{folder.name} holds a variant of its weights alone ({first})",
            f"name it {base}.safetensors",
        )
    return tuple(files.values())


def _check_shards(index: Path, files: Mapping[str, WeightFile]) -> None:
    """Every weight is in the file that the index says."""
    part = index.parent.name
    try:
        placed = dict(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refusal(f"{index} cannot be read ({error})", FETCH) from None
    if missing := sorted({str(name) for name in placed.values()} - set(files)):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        verb = "are" if more else "is"
        raise Refusal(f"{part}/{missing[0]}{more} {verb} missing", FETCH)
    for weight, name in placed.items():
        if weight not in files[name].tensors:
            raise Refusal(
                f"{part}/{name} does not hold {weight}, though {index.name} says so", FETCH
            )


def folder_id(
    folder: Path, *, without: Iterable[str] = (), without_weights: Iterable[str] = ()
) -> str:
    """`sha256:...` over names and contents of what decides its pictures.

    `without`: sub-folders that no picture depends on; `without_weights`: those whose settings
    count and whose weights do not, because they come from elsewhere.

    NOTE: above 256 MiB the ends of each file stand for the whole: 60 GB take minutes to read.
    """
    left_out, bare = set(without), set(without_weights)
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix in _KEPT
        and not (top := path.relative_to(folder).parts[0]).startswith(".")
        and top not in left_out
        and not (top in bare and ".safetensors" in path.name)
    )
    return _id({path.relative_to(folder).as_posix(): path for path in files})


def file_id(path: Path) -> str:
    """`sha256:...` of one file of weights, as `folder_id` tells a folder."""
    return _id({path.suffix: path})


def _id(files: Mapping[str, Path]) -> str:
    whole = sum(path.stat().st_size for path in files.values()) <= _HASHED_WHOLE
    digest = hashlib.sha256()
    for name, path in files.items():
        size = path.stat().st_size
        digest.update(f"{name}\0{size}\0".encode())
        with path.open("rb") as file:
            if whole or size <= 2 * _SAMPLE:
                digest.update(file.read())
            else:
                digest.update(file.read(_SAMPLE))
                file.seek(-_SAMPLE, 2)
                digest.update(file.read())
    return f"{'sha256' if whole else 'sha256-of-ends'}:{digest.hexdigest()}"
