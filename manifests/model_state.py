"""What is known of each model in the studio's list, broken ones included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from manifests.hub import hub_folder
from manifests.licence import is_non_commercial, licence_in
from manifests.models import ModelSpec, check_model
from manifests.motion import HUB_ADAPTER
from manifests.refusal import Refusal

UNKNOWN_LICENCE = "unknown: ask before delivering"


class Reference(StrEnum):
    """How the studio names a model."""

    FOLDER = "folder"
    """A folder in the diffusers layout."""
    HUB = "hub"
    """A commit on the hub, in the cache of this machine."""
    FILE = "file"
    """A transformer in a safetensors file over one of the two above."""
    GGUF = "gguf"
    """The same, packed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """One model of the list."""

    name: str
    family: str
    task: str | None
    """`i2v`, `t2v`, `ti2v`; None where it is not known."""
    reference: Reference
    location: str
    """Folder, or `owner/name@commit`."""
    files: tuple[str, ...]
    """Transformers that come from files of their own."""
    precision: str
    """Of the transformer while it computes."""
    size: int
    """Bytes on the disk, every file counted once."""
    licence: str
    non_commercial: bool
    """The licence's own name forbids commercial use."""
    problem: str | None = None
    """Why it cannot be loaded tonight; None: it can."""
    remedy: str | None = None

    @property
    def well(self) -> bool:
        """All its files are here and whole."""
        return self.problem is None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for `--json`."""
        return {**asdict(self), "reference": self.reference.value, "well": self.well}


def model_states(models: Mapping[str, ModelSpec]) -> list[ModelState]:
    """A look at every model; nothing is loaded, and no weight is read but for its hash."""
    return [model_state(name, spec) for name, spec in models.items()]


def model_state(name: str, spec: ModelSpec) -> ModelState:
    """One look at a model, also at one that is broken."""
    task, refused = spec.task, None
    precision: str | None = spec.precision
    try:
        model = check_model(name, spec)
        task, precision = model.task, model.precision
    except Refusal as refusal:
        refused = refusal
    folder = _folder(spec)
    licence = spec.licence or (None if folder is None else licence_in(folder))
    return ModelState(
        name=name,
        family=spec.family,
        task=task,
        reference=_reference(spec),
        location=f"{spec.location}@{spec.revision}" if spec.is_hub else spec.location,
        files=tuple(map(str, spec.files.values())),
        precision=precision or "?",
        size=_size(folder, spec),
        licence=licence or UNKNOWN_LICENCE,
        non_commercial=is_non_commercial(licence),
        problem=None if refused is None else refused.problem,
        remedy=None if refused is None else refused.remedy,
    )


def _reference(spec: ModelSpec) -> Reference:
    suffixes = {file.suffix for file in spec.files.values()}
    if ".gguf" in suffixes:
        return Reference.GGUF
    if suffixes:
        return Reference.FILE
    return Reference.HUB if spec.is_hub else Reference.FOLDER


def _folder(spec: ModelSpec) -> Path | None:
    if spec.revision is None:
        return Path(spec.location) if Path(spec.location).is_dir() else None
    try:
        return hub_folder(spec.location, revision=spec.revision)
    except Refusal:
        return None


def _size(folder: Path | None, spec: ModelSpec) -> int:
    """Bytes of all that it is loaded from; links into the hub's cache count for their files."""
    places = [] if folder is None else [folder]
    if spec.motion_adapter is not None and not HUB_ADAPTER.fullmatch(spec.motion_adapter):
        places.append(Path(spec.motion_adapter))
    found = {path.resolve() for place in places for path in place.rglob("*") if path.is_file()}
    found |= {file.resolve() for file in spec.files.values() if file.is_file()}
    return sum(path.stat().st_size for path in found)
