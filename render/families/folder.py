"""A model's folder, checked before anything is built from it: whole, safe to read, complete."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import nn

from render.errors import ModelUnavailable
from render.order import ModelRef

HUB_PATTERNS = ["*.json", "*.safetensors", "*.model", "*.txt"]
"""What is fetched of a hub repository: settings, safe weights, tokenizers; no pickles, no code."""


def model_folder(model: ModelRef) -> Path:
    """The folder that `model` lies in, downloaded first where the reference allows it.

    Raises ModelUnavailable when it is not on this machine.
    """
    folder = Path(model.location)
    if folder.is_dir():
        return folder
    if folder.is_absolute() or model.location.count("/") != 1:
        raise ModelUnavailable(
            f"model {model.name}: no folder {model.location}; correct its path in the studio's "
            "settings, or download the model to it"
        )
    return _hub_folder(model)


def _hub_folder(model: ModelRef) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        found = snapshot_download(
            model.location,
            revision=model.revision,
            local_files_only=model.offline,
            allow_patterns=HUB_PATTERNS,
        )
    except (OSError, ValueError, HfHubHTTPError) as error:
        remedy = (
            "download it on this machine first, or allow downloads for it"
            if model.offline
            else "check its name, its revision and the network"
        )
        raise ModelUnavailable(
            f"model {model.name}: {model.location} is not here ({_first_line(error)}); {remedy}"
        ) from error
    return Path(found)


def read_index(folder: Path, *, name: str, unused: Collection[str] = ()) -> dict[str, Any]:
    """The folder's model_index.json, with every weight file behind it opened once.

    `unused` components need not be there.

    Raises ModelUnavailable, naming the first file that is missing or damaged.
    """
    path = folder / "model_index.json"
    try:
        index: dict[str, Any] = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ModelUnavailable(
            f"model {name}: cannot read {path} ({_first_line(error)}); "
            "the folder must be a diffusers model: download or copy it again"
        ) from error
    for component, kind in index.items():
        if isinstance(kind, list) and kind and kind[0] is not None and component not in unused:
            _check_component(folder / component, name=name)
    return index


def _check_component(folder: Path, *, name: str) -> None:
    if not folder.is_dir():
        raise ModelUnavailable(
            f"model {name}: {folder} is missing, though model_index.json names it; "
            "download or copy the model again"
        )
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise ModelUnavailable(
                f"model {name}: {file} is damaged ({_first_line(error)}); "
                "download or copy this file again"
            ) from error


def check_weights(
    module: nn.Module,
    folder: Path,
    *,
    name: str,
    more: Sequence[Path] = (),
    alias: Callable[[str], str] = str,
) -> None:
    """Raise ModelUnavailable when a weight of `module` was in no file of `folder`.

    Args:
        module: as it was loaded.
        folder: of its weights.
        name: of the model.
        more: further folders whose weights it holds.
        alias: from a name in the files to today's.

    NOTE: diffusers fills a missing weight with random numbers and only logs a warning.
    """
    if getattr(module, "hf_quantizer", None) is not None:
        return  # a quantised module names its weights in its own way
    stored: set[str] = set()
    for place in (folder, *more):
        for file in place.glob("*.safetensors"):
            with safe_open(file, framework="pt") as handle:
                stored.update(map(alias, handle.keys()))
    missing = sorted(set(module.state_dict()) - stored)
    if missing:
        raise ModelUnavailable(
            f"model {name}: {folder} lacks {len(missing)} weights ({', '.join(missing[:3])} ...); "
            "download or copy the model again"
        )


def number(config: Mapping[str, Any], key: str) -> float | None:
    """A number of a model's settings, or None where it is null."""
    value = config.get(key)
    return None if value is None else float(value)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
