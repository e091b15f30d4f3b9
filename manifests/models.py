"""Models: how the studio names them, and the check that one can be loaded tonight."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from manifests.families import FAMILIES, Family, family_named
from manifests.refusal import Refusal

POCKET = "pocket-wan"
"""The model that comes with Rushes."""

POCKET_FOLDER = Path(__file__).parents[1] / "render" / "pocket" / "model"

Precision = Literal["float32", "bfloat16", "float16"]
Task = Literal["i2v", "t2v", "ti2v"]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_UNSAFE = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".msgpack", ".h5"})
_KEPT = frozenset({".json", ".safetensors", ".model", ".txt"})
"""Suffixes of the files that decide what a model renders."""
_HASHED_WHOLE = 256 * 2**20
_SAMPLE = 2**20
_FETCH = "download the model again, in the diffusers layout"


class ModelSpec(BaseModel):
    """A model in the studio's list."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    family: Annotated[str, AfterValidator(lambda name: family_named(name).name)]
    """`pocket` or `wan`."""
    location: Annotated[str, Field(min_length=1)]
    """A diffusers folder (relative to studio.yaml) or a hub id with `revision`."""
    revision: str | None = None
    """Hub commit, 40 hex digits. With it, `location` is a hub id."""
    precision: Precision | None = None
    """Of the transformer; None: as usual for the family."""
    vae_precision: Precision = "float32"
    boundary: Annotated[float | None, Field(gt=0, lt=1)] = None
    """Noise level at which two experts change; None: as the model says, else its task."""
    task: Task | None = None
    """What it starts from: a still, text, or either; None: as its pipeline class says."""
    size_multiple: Annotated[int | None, Field(ge=8, le=128)] = None
    """Of width and height in pixels; None: as usual for the family (Wan 2.2 5B needs 32)."""
    licence: str | None = None

    @property
    def is_hub(self) -> bool:
        """`location` is a hub id, not a folder."""
        return self.revision is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model that was found and checked."""

    name: str
    family: Family
    location: str
    """Absolute folder or hub id."""
    revision: str | None
    model_id: str
    """`hub/id@commit`, or `sha256:...` over the folder's files."""
    precision: str
    vae_precision: str
    boundary: float | None
    """None for a model with one transformer."""
    task: Task | None
    size_multiple: int
    licence: str | None

    @property
    def needs_source(self) -> bool:
        """It renders from a still only."""
        return self.task == "i2v"


def builtin_models() -> dict[str, ModelSpec]:
    """The models that come with Rushes."""
    return {
        POCKET: ModelSpec(
            family="pocket", location=str(POCKET_FOLDER), task="i2v", licence="Apache-2.0"
        )
    }


def check_model(name: str, spec: ModelSpec) -> Model:
    """The model, its folder looked through and hashed. Raises Refusal."""
    return _Check(name, spec).model()


class _Check:
    """One look at a model."""

    def __init__(self, name: str, spec: ModelSpec) -> None:
        self.name = name
        self.spec = spec
        self.family = FAMILIES[spec.family]

    def model(self) -> Model:
        spec = self.spec
        return Model(
            name=self.name,
            family=self.family,
            location=spec.location,
            revision=spec.revision,
            model_id=self._hub_id() if spec.is_hub else self._folder_id(),
            precision=spec.precision or self.family.precision,
            vae_precision=spec.vae_precision,
            boundary=self._boundary(),
            task=self.task,
            size_multiple=spec.size_multiple or self.family.size_multiple,
            licence=spec.licence,
        )

    @cached_property
    def folder(self) -> Path:
        folder = Path(self.spec.location)
        if not folder.is_dir():
            hub = bool(_HUB_ID.fullmatch(self.spec.location))
            raise Refusal(
                f"the folder {str(folder)!r} is not there",
                "add its revision (a commit)" if hub else "correct location: in studio.yaml",
            )
        return folder

    @cached_property
    def index(self) -> dict[str, Any]:
        """`model_index.json` of a folder; empty for a hub id, which is not asked here."""
        return {} if self.spec.is_hub else self._read_index()

    @cached_property
    def task(self) -> Task | None:
        if self.spec.task is not None:
            return self.spec.task
        if self.index.get("expand_timesteps"):
            return "ti2v"
        match self.index.get("_class_name"):
            case "WanImageToVideoPipeline":
                return "i2v"
            case "WanPipeline":
                return "t2v"
        return None

    def _hub_id(self) -> str:
        if not _HUB_ID.fullmatch(self.spec.location):
            raise Refusal(
                f"{self.spec.location!r} is no hub id", "write owner/name, or drop revision:"
            )
        if not _COMMIT.fullmatch(self.spec.revision or ""):
            raise Refusal(
                f"revision {self.spec.revision!r} is no commit",
                "write the 40 hex digits of the commit; branches move overnight",
            )
        return f"{self.spec.location}@{self.spec.revision}"

    def _read_index(self) -> dict[str, Any]:
        path = self.folder / "model_index.json"
        try:
            index = json.loads(path.read_text(encoding="utf-8"))
            pipeline = index["_class_name"]
        except FileNotFoundError:
            raise Refusal(f"{self.folder} holds no model_index.json", _FETCH) from None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise Refusal(f"{path} cannot be read ({error})", _FETCH) from None
        if pipeline not in self.family.pipelines:
            raise Refusal(
                f"its pipeline {pipeline!r} is not of the family {self.family.name}",
                f"give a model with {' or '.join(self.family.pipelines)}, or correct family:",
            )
        return dict(index)

    def _boundary(self) -> float | None:
        if not self.family.may_have_experts:
            return None
        if self.spec.is_hub:
            return self.spec.boundary
        if self.index.get("transformer_2", [None])[0] is None:
            if self.spec.boundary is not None:
                raise Refusal("has a boundary but one transformer", "drop boundary:")
            return None
        named = self.spec.boundary or self.index.get("boundary_ratio")
        boundary = named or self.family.boundary(self.task)
        if not isinstance(boundary, float) or not 0 < boundary < 1:
            raise Refusal("has two experts and no boundary", "add boundary: 0.9 (i2v) or 0.875")
        return boundary

    def _folder_id(self) -> str:
        parts = [
            key
            for key, value in self.index.items()
            if isinstance(value, list) and value and value[0] is not None
        ]
        for part in parts:
            self._check_part(part)
        files = sorted(
            path
            for path in self.folder.rglob("*")
            if path.suffix in _KEPT and not path.relative_to(self.folder).parts[0].startswith(".")
        )
        return _hash_folder(self.folder, files)

    def _check_part(self, part: str) -> None:
        folder = self.folder / part
        if not folder.is_dir():
            raise Refusal(f"its part {part!r} has no folder", _FETCH)
        unsafe = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in _UNSAFE)
        if unsafe:
            raise Refusal(
                f"{part}/{unsafe[0]} can run code when it is loaded",
                "safetensors only: convert it, and remove that file",
            )
        if part.startswith(("transformer", "vae", "text_encoder")):
            self._check_weights(folder)

    def _check_weights(self, folder: Path) -> None:
        present = {path.name for path in folder.glob("*.safetensors")}
        for index in folder.glob("*.safetensors.index.json"):
            try:
                wanted = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise Refusal(f"{index} cannot be read ({error})", _FETCH) from None
            if missing := sorted(wanted - present):
                raise Refusal(f"{folder.name}/{missing[0]} is missing", _FETCH)
        if not present:
            raise Refusal(f"{folder.name} holds no .safetensors weights", _FETCH)


def _hash_folder(folder: Path, files: list[Path]) -> str:
    """SHA-256 over names and contents.

    NOTE: above 256 MiB the ends of each file stand for the whole: 60 GB take minutes to read.
    """
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
