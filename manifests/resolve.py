"""From a row to a shot: studio < preset < manifest defaults < row, every value explicit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import ParamSpec, TypeVar

from manifests.deadline import passed_words
from manifests.families import family_named
from manifests.library import Library, Unusable
from manifests.models import Model
from manifests.preset import Preset
from manifests.refusal import Refusal
from manifests.row import ShotRow
from manifests.sequence import key_of
from manifests.shot import FinishSpec, Shot, last_frame_of
from manifests.size import (
    Fitted,
    check_fps,
    check_side,
    choose_size,
    crop_warning,
    fit_frames,
    other_side,
    snap_sides,
)
from manifests.stage import Lora, Recipe, Stage
from manifests.stage_words import stage_warnings

P = ParamSpec("P")
T = TypeVar("T")
_MANY_LORAS = 2


def derive_seed(*, manifest: str, shot: str) -> int:
    """The seed of a shot that names none: the same sheet gives the same takes, 0..2**32-1."""
    return int.from_bytes(hashlib.sha256(f"{manifest}/{shot}".encode()).digest()[:4], "big")


@dataclass
class Resolver:
    """Turns rows into shots; one for each row, so that it can hold the row's refusals."""

    library: Library
    manifest: str
    """Name of the manifest."""
    row: int
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Width and height of shots that may be started from, by `sheet/shot`."""
    refused: list[tuple[str, Refusal]] = field(default_factory=list)
    """(column, why), in the order in which they were met."""
    unusable: bool = False
    """A model or preset that the row needs is broken; the library holds the faults."""

    def shot(self, row: ShotRow) -> Shot | None:
        """The shot, or None where something was refused."""
        library = self.library
        model = self._model(row)
        preset = None if model is None else self._try("preset", self._preset, row, model)
        source = self._try("source", library.source, row.source) if row.source else None
        snippet = self._try("style", library.style, row.style) if row.style else None
        loras = [self._try("loras", library.lora, ref) for ref in row.loras or ()]
        finish = self._finish(row)
        if model is None or preset is None:
            return None
        self._try("start_from" if row.start_from else "source", _check_start, row, model)
        start = key_of(row.start_from, sheet=self.manifest) if row.start_from else None
        still = self.sizes.get(start or "") if source is None else (source.width, source.height)
        asked, fps = row.frames or preset.frames, row.fps or preset.fps
        frames = self._try("frames", fit_frames, asked, family=model.family)
        self._try("fps", check_fps, fps, frames=asked, family=model.family)
        size = self._size(row, preset, model, still)
        cut = self._try("preset", preset.stages_for, boundary=model.boundary, noise=model.noise)
        fits = self._fits(model, cut or (), [lora for lora in loras if lora is not None])
        if self.refused or self.unusable or frames is None or size is None or cut is None:
            return None
        added = [lora for lora in loras if lora is not None]
        licence = self.library.licence_warning(model)
        stages = tuple(_with_loras(stage, added) for stage in cut)
        picture = None if source is None else source.sha256
        picture = picture if start is None else last_frame_of(start)
        return Shot(
            id=row.shot,
            row=self.row,
            recipe=self._recipe(row, model, preset, stages, picture, frames[0], size, snippet),
            source=source,
            finish=finish,
            priority=row.priority or 0,
            deadline=self._deadline(row),
            after=self._after(row),
            start_from=start,
            gpus=row.gpus or 1,
            title=row.prompt or "",
            style=row.style or None,
            notes=row.notes or "",
            snaps=frames[1] + size.snaps,
            warnings=(
                *_warnings(stages, still, size, added),
                *self._order_warnings(row, still),
                *fits,
                *(() if licence is None else (licence,)),
            ),
        )

    def _deadline(self, row: ShotRow) -> datetime | None:
        return None if row.deadline is None else row.deadline.at(self.library.studio.zone)

    def _after(self, row: ShotRow) -> tuple[str, ...]:
        refs = (*([row.start_from] if row.start_from else []), *(row.after or ()))
        return tuple(dict.fromkeys(key_of(ref, sheet=self.manifest) for ref in refs))

    def _order_warnings(self, row: ShotRow, still: tuple[int, int] | None) -> list[str]:
        """What looks odd about when it is rendered, and from what."""
        deadline, zone = self._deadline(row), self.library.studio.zone
        passed = deadline and passed_words(deadline, now=datetime.now(UTC), zone=zone)
        said = [passed] if passed else []
        foreign = row.start_from and not key_of(row.start_from, sheet=self.manifest).startswith(
            f"{self.manifest}/"
        )
        if foreign and still is None and None in (row.width, row.height):
            said.append(
                f"{row.start_from} is in another sheet, so the size is the preset's: "
                "write width and height if it has another"
            )
        return said

    def _try(
        self, column: str, read: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T | None:
        try:
            return read(*args, **kwargs)
        except Refusal as refusal:
            self.refused.append((column, refusal))
        except Unusable:
            self.unusable = True
        return None

    def _fits(self, model: Model, cut: tuple[Stage, ...], added: list[Lora]) -> list[str]:
        """Hold every LoRA against the model; what a person should know of those that fit."""
        said = []
        for column, loras in (
            ("preset", dict.fromkeys(lora for stage in cut for lora in stage.loras)),
            ("loras", dict.fromkeys(added)),
        ):
            for lora in loras:
                fit = self._try(column, self.library.lora_fit, lora, model)
                if fit is not None and fit.words is not None:
                    said.append(f"LoRA {Path(lora.path).name}: {fit.words}")
        return said

    def _model(self, row: ShotRow) -> Model | None:
        name = row.model or self._try("preset", self._model_for, row)
        if name is None:
            return None
        model = self._try("model", self.library.model, name, row=self.row)
        if model is None:
            # The preset's faults are told with the model's, not after those are mended.
            spec = self.library.studio.models.get(name)
            if spec is None:
                self._try("preset", self.library.check_preset_name, self._preset_name(row))
            else:
                self._try("preset", self._preset_of, row, family=spec.family, model=name)
        return model

    def _preset_name(self, row: ShotRow) -> str:
        return row.preset or self.library.studio.default_preset

    def _model_for(self, row: ShotRow) -> str:
        """The model of a row that names none: its preset's, or the studio's for that family."""
        if row.preset is None:
            return self.library.by_default_preset(lambda: self._model_by_preset(row), row=self.row)
        return self._model_by_preset(row)

    def _model_by_preset(self, row: ShotRow) -> str:
        studio = self.library.studio
        family, _, name = self._preset_name(row).rpartition("/")
        family = family or studio.models[studio.default_model].family
        preset = self.library.preset(family, name, row=self.row)
        return preset.model or self._model_of(family)

    def _model_of(self, family: str) -> str:
        """The studio's model for a family: the default one, else the first."""
        studio = self.library.studio
        names = [name for name, spec in studio.models.items() if spec.family == family]
        if studio.default_model in names:
            return studio.default_model
        if not names:
            raise Refusal(
                f"the studio has no model of the family {family}",
                "add one under models: in studio.yaml",
            )
        return names[0]

    def _preset_of(self, row: ShotRow, *, family: str, model: str) -> Preset:
        """The row's preset, for the family that its model is of."""
        given = self._preset_name(row)
        said, _, name = given.rpartition("/")
        if said and said != family:
            family_named(said)
            raise Refusal(
                f"{given!r} is a preset for {said}, and {model!r} is of {family}",
                f"choose a preset for {family}, or another model",
            )
        return self.library.preset(family, name, row=self.row)

    def _preset(self, row: ShotRow, model: Model) -> Preset:
        preset = self._preset_of(row, family=model.family.name, model=model.name)
        if preset.needs_experts and model.boundary is None:
            raise Refusal(
                f"{preset.qualified_name} needs two experts, and {model.name!r} has one",
                "choose another preset, or a model with transformer_2 (a hub model: add boundary:)",
            )
        return preset

    def _finish(self, row: ShotRow) -> FinishSpec:
        library = self.library
        grade = upscale = None
        if row.grade is not None:
            grade = self._try("grade", library.grade, row.grade, shot=row.shot)
        if row.upscale is not None:
            upscale = self._try("upscale", library.upscale, row.upscale)
        return FinishSpec(grade=grade, upscale=upscale, crf=library.studio.crf)

    def _size(
        self, row: ShotRow, preset: Preset, model: Model, still: tuple[int, int] | None
    ) -> Fitted | None:
        family, multiple = model.family, model.size_multiple
        for column, side in (("width", row.width), ("height", row.height)):
            if side is not None:
                self._try(column, check_side, side, family=family)
        if any(column in ("width", "height") for column, _ in self.refused):
            return None
        asked = (preset.width, preset.height)
        shape = asked if still is None else still
        if row.width is not None and row.height is not None:
            return snap_sides(row.width, row.height, family=family, multiple=multiple)
        if row.width is not None:
            width, height, snaps = other_side(
                row.width,
                aspect=shape[1] / shape[0],
                names=("width", "height"),
                family=family,
                multiple=multiple,
            )
            return Fitted(width, height, snaps)
        if row.height is not None:
            height, width, snaps = other_side(
                row.height,
                aspect=shape[0] / shape[1],
                names=("height", "width"),
                family=family,
                multiple=multiple,
            )
            return Fitted(width, height, snaps)
        if still is None:
            return snap_sides(*asked, family=family, multiple=multiple)
        return choose_size(preset=asked, source=shape, family=family, multiple=multiple)

    def _recipe(
        self,
        row: ShotRow,
        model: Model,
        preset: Preset,
        stages: tuple[Stage, ...],
        picture: str | None,
        frames: int,
        size: Fitted,
        snippet: str | None,
    ) -> Recipe:
        derived = derive_seed(manifest=self.manifest, shot=row.shot)
        return Recipe(
            preset=preset.qualified_name,
            family=model.family.name,
            model=model.name,
            model_id=model.model_id,
            prompt=_with_style(row.prompt or "", snippet),
            negative=preset.negative if row.negative is None else row.negative,
            width=size.width,
            height=size.height,
            frames=frames,
            fps=row.fps or preset.fps,
            seed=derived if row.seed is None else row.seed,
            stages=stages,
            source_sha256=picture,
            precision=model.precision,
            vae_precision=model.vae_precision,
            boundary=model.boundary,
            speed=preset.speed,
            concessions=preset.concessions,
            candidates=preset.candidates,
        )


def _check_start(row: ShotRow, model: Model) -> None:
    if model.task == "i2v" and not (row.source or row.start_from):
        raise Refusal(f"{model.name!r} films a still, and none is given", "name one in `source`")
    if model.task == "t2v" and (row.source or row.start_from):
        raise Refusal(
            f"{model.name!r} renders from text alone", "clear the cell, or choose an i2v model"
        )


def _with_style(prompt: str, snippet: str | None) -> str:
    if snippet is None:
        return prompt
    return f"{prompt.rstrip(' ,.;')}, {snippet}" if prompt else snippet


def _with_loras(stage: Stage, loras: list[Lora]) -> Stage:
    """The stage with the row's LoRAs after its own; for the same file the row's strength holds."""
    named = {lora.path for lora in loras}
    kept = tuple(lora for lora in stage.loras if lora.path not in named)
    return replace(stage, loras=kept + tuple(loras))


def _warnings(
    stages: tuple[Stage, ...], still: tuple[int, int] | None, size: Fitted, loras: list[Lora]
) -> list[str]:
    said = []
    if still is not None:
        frame = (size.width, size.height)
        crop = crop_warning(size=frame, source=still)
        if crop is not None:
            said.append(crop)
        if still[0] < frame[0] or still[1] < frame[1]:
            said.append(f"the source ({still[0]}x{still[1]}) is enlarged to {frame[0]}x{frame[1]}")
    said += stage_warnings(stages)
    if len(loras) > _MANY_LORAS:
        said.append(f"{len(loras)} LoRAs at once: more than {_MANY_LORAS} often conflict")
    return said
