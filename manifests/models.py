"""Models: how the studio names them, and the check that one can be loaded tonight."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from manifests.families import FAMILIES, Family, family_named
from manifests.hub import hub_folder
from manifests.licence import licence_in
from manifests.model_folder import (
    FETCH,
    check_safe,
    check_weights,
    check_whole,
    file_id,
    folder_id,
    read_json,
)
from manifests.motion import check_motion
from manifests.refusal import Refusal
from manifests.stage import Noise
from manifests.transformer_file import FAMILIES as WITH_FILES
from manifests.transformer_file import check_transformer_file

POCKET = "pocket-wan"
"""The model that comes with Rushes."""

POCKET_FOLDER = Path(__file__).parents[1] / "render" / "pocket" / "model"

Precision = Literal["float32", "bfloat16", "float16"]
Task = Literal["i2v", "t2v", "ti2v"]

WEIGHTED = ("transformer", "unet", "motion_adapter", "vae", "text_encoder")
"""Parts, by the start of their name, that hold weights."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class ModelSpec(BaseModel):
    """A model in the studio's list."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    family: Annotated[str, AfterValidator(lambda name: family_named(name).name)]
    """`wan`, `animatediff` ..."""
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
    transformer: str | None = None
    """A `.safetensors` or `.gguf` file (relative to studio.yaml) in place of that of `location`,
    which gives the rest."""
    transformer_2: str | None = None
    """The same for the low-noise expert of a model with two."""
    motion_adapter: str | None = None
    """AnimateDiff: folder of the motion adapter for a Stable Diffusion 1.5 model (relative to
    studio.yaml), or `owner/name@commit` on the hub."""
    betas: Literal["linear", "scaled_linear"] | None = None
    """AnimateDiff: what the noise levels follow from; None: as a whole AnimateDiff folder says,
    and `linear`, as motion modules are trained, for one with a motion adapter."""

    @property
    def is_hub(self) -> bool:
        """`location` is a hub id, not a folder."""
        return self.revision is not None

    @property
    def files(self) -> dict[str, Path]:
        """Parts that come from files of their own."""
        named = {"transformer": self.transformer, "transformer_2": self.transformer_2}
        return {part: Path(file) for part, file in named.items() if file is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model that was found and checked."""

    name: str
    family: Family
    location: str
    """Absolute folder or hub id."""
    revision: str | None
    model_id: str
    """`hub/id@commit`, or `sha256:...` over the folder's files; with a motion adapter or a
    transformer in a file of its own, the ids of all, joined by `+`."""
    precision: str
    vae_precision: str
    boundary: float | None
    """None for a model with one transformer."""
    task: Task | None
    size_multiple: int
    licence: str | None
    """As the studio says, else as the model's own files do; None: not known."""
    folder: Path
    """Where its files lie, also those of a hub model."""
    transformer: Path | None = None
    """File that the transformer comes from, where it is not the folder's."""
    transformer_2: Path | None = None
    motion_adapter: str | None = None
    """Absolute folder or `owner/name@commit`."""
    noise: Noise = Noise.FLOW


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
        if spec.is_hub:
            self._check_hub_id()
        self._check_parts()
        motion = check_motion(
            self.family,
            index=self.index,
            folder=self.folder,
            adapter=spec.motion_adapter,
            betas=spec.betas,
        )
        return Model(
            name=self.name,
            family=motion.family,
            location=spec.location,
            revision=spec.revision,
            model_id="+".join(filter(None, (*self._ids(), motion.adapter_id))),
            precision=spec.precision or self.family.precision,
            vae_precision=spec.vae_precision,
            boundary=self._boundary(),
            task=self.task,
            size_multiple=spec.size_multiple or self.family.size_multiple,
            licence=spec.licence or licence_in(self.folder),
            folder=self.folder,
            transformer=spec.files.get("transformer"),
            transformer_2=spec.files.get("transformer_2"),
            motion_adapter=spec.motion_adapter,
            noise=motion.noise,
        )

    @cached_property
    def folder(self) -> Path:
        if self.spec.revision is not None:
            return hub_folder(self.spec.location, revision=self.spec.revision)
        folder = Path(self.spec.location)
        check_whole(folder, single_files=self.family.name in WITH_FILES)
        return folder

    @cached_property
    def index(self) -> dict[str, Any]:
        """The folder's `model_index.json`."""
        return self._read_index()

    @cached_property
    def task(self) -> Task | None:
        if self.spec.task is not None:
            if self.family.task not in (None, self.spec.task):
                start = "text alone" if self.family.task == "t2v" else "text or a still"
                raise Refusal(
                    f"task {self.spec.task} is none of {self.family.title}, which renders from "
                    f"{start}",
                    "drop task:",
                )
            return self.spec.task
        if self.index.get("expand_timesteps"):
            return "ti2v"
        match self.index.get("_class_name"):
            case "WanImageToVideoPipeline":
                return "i2v"
            case "WanPipeline":
                return "t2v"
        return self.family.task

    def _check_hub_id(self) -> None:
        if not _HUB_ID.fullmatch(self.spec.location):
            raise Refusal(
                f"{self.spec.location!r} is no hub id", "write owner/name, or drop revision:"
            )
        if not _COMMIT.fullmatch(self.spec.revision or ""):
            raise Refusal(
                f"revision {self.spec.revision!r} is no commit",
                "write the 40 hex digits of the commit; branches move overnight",
            )

    def _ids(self) -> list[str]:
        """Of the base, then of each file that replaces a part of it."""
        if self.spec.is_hub:
            own = f"{self.spec.location}@{self.spec.revision}"
        else:
            own = folder_id(
                self.folder, without=self.family.unused_parts, without_weights=self.spec.files
            )
        return [own, *(f"{part}:{file_id(file)}" for part, file in self.spec.files.items())]

    def _read_index(self) -> dict[str, Any]:
        index = read_json(self.folder / "model_index.json")
        pipeline = index.get("_class_name")
        if pipeline is None:
            raise Refusal(f"{self.folder}/model_index.json cannot be read: no _class_name", FETCH)
        if pipeline not in self.family.pipelines:
            raise Refusal(
                f"its pipeline {pipeline!r} is not of the family {self.family.name}",
                f"give a model with {' or '.join(self.family.pipelines)}, or correct family:",
            )
        return index

    def _boundary(self) -> float | None:
        if not self.family.may_have_experts:
            return None
        if self.index.get("transformer_2", [None])[0] is None:
            if self.spec.boundary is not None:
                raise Refusal("has a boundary but one transformer", "drop boundary:")
            return None
        named = self.spec.boundary or self.index.get("boundary_ratio")
        boundary = named or self.family.boundary(self.task)
        if not isinstance(boundary, float) or not 0 < boundary < 1:
            raise Refusal("has two experts and no boundary", "add boundary: 0.9 (i2v) or 0.875")
        return boundary

    def _check_parts(self) -> None:
        parts = [
            key
            for key, value in self.index.items()
            if isinstance(value, list) and value and value[0] is not None
            if key not in self.family.unused_parts
        ]
        for part, file in self.spec.files.items():
            if self.family.name not in WITH_FILES:
                raise Refusal(
                    f"{part}: a file for it is read for {' and '.join(WITH_FILES)} alone, and this "
                    f"is a model of {self.family.name}",
                    f"drop {part}:, and give the whole model as a folder",
                )
            if part not in parts:
                raise Refusal(
                    f"{part}: is given, and the base {self.folder} has none to replace",
                    f"drop {part}:, or name a base folder with two experts",
                )
            check_transformer_file(file, base=self.folder, part=part)
        for part in parts:
            self._check_part(part)

    def _check_part(self, part: str) -> None:
        folder = self.folder / part
        if not folder.is_dir():
            raise Refusal(f"its part {part!r} has no folder", FETCH)
        check_safe(folder)
        module = self.index[part][0]
        if isinstance(module, str) and (folder / f"{module}.py").exists():
            raise Refusal(
                f"its part {part!r} brings code of its own ({module}.py), and none is run",
                "use a model that diffusers knows by itself",
            )
        if part.startswith(WEIGHTED) and part not in self.spec.files:
            check_weights(folder)
