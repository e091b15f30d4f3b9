"""The library of one sheet: models, presets, styles and files, each looked at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from manifests.errors import BadInput, Fault
from manifests.families import FAMILIES, family_named
from manifests.grade import GradeRef, find_grade
from manifests.licence import is_non_commercial, non_commercial_words
from manifests.lora_file import LoraFit, check_fit, read_lora
from manifests.loras import LoraRef, find_lora, hash_safetensors
from manifests.model_layers import layers_of
from manifests.models import Model, check_model
from manifests.paths import Roots
from manifests.preset import Preset, load_preset, preset_names
from manifests.refusal import Refusal
from manifests.settings import Studio
from manifests.shot import Grade, Source, Upscale
from manifests.source import FORMATS, check_source
from manifests.stage import Lora
from manifests.text import suggest
from manifests.upscale import UpscaleRef
from manifests.yaml_text import read_yaml

_STYLES = Path(__file__).parent / "styles.yaml"
_LANCZOS = "lanczos"
T = TypeVar("T")


def resolve_model(name: str, *, studio: Studio) -> Model:
    """The studio's model of that name, found and checked. Raises BadInput."""
    if name not in studio.models:
        refusal = Refusal(f"there is no model {name!r}", suggest(name, studio.models))
        raise BadInput([refusal.at(studio.settings_file, column="models", value=name)])
    spec = studio.models[name]
    try:
        return check_model(name, spec)
    except Refusal as refusal:
        fault = refusal.at(studio.settings_file, column=f"models.{name}", value=spec.location)
        raise BadInput([replace(fault, problem=f"model {name!r}: {fault.problem}")]) from None


@cache
def bundled_styles() -> dict[str, str]:
    """The style snippets that come with Rushes, by name."""
    root = read_yaml(_STYLES.read_text(encoding="utf-8"))
    return {} if root is None else dict(root.plain())


def _still(name: str, path: Path) -> Source:
    """The still there, which the sheet calls `name`: a refusal says of which one it speaks."""
    try:
        return check_source(path)
    except Refusal as refusal:
        raise Refusal(f"{name!r} {refusal.problem}", refusal.remedy) from None


class Unusable(Exception):
    """A model or preset that rows share is broken: one fault, not one for each row."""


class Library:
    """What the rows of one sheet may name. Methods raise Refusal, or Unusable for shared things."""

    def __init__(self, *, folder: Path, studio: Studio) -> None:
        self.studio = studio
        self._roots = Roots.of(folder, studio.root, *studio.source_roots)
        self._warned: set[str] = set()
        self._seen: dict[tuple[Any, ...], object] = {}
        self._broken: dict[tuple[Any, ...], tuple[tuple[Fault, ...], list[int]]] = {}

    def model(self, name: str, *, row: int) -> Model:
        """The model of that name."""
        if name not in self.studio.models:
            raise Refusal(f"there is no model {name!r}", suggest(name, self.studio.models))
        return self._shared(("model", name), row, lambda: resolve_model(name, studio=self.studio))

    def licence_warning(self, model: Model) -> str | None:
        """That its licence forbids commercial use, in words; said once for all rows of a sheet."""
        if model.name in self._warned or not is_non_commercial(model.licence):
            return None
        self._warned.add(model.name)
        return f"model {model.name!r}: {non_commercial_words(model.licence or '')}"

    def preset(self, family: str, name: str, *, row: int) -> Preset:
        """The preset of that name for that family."""
        family_named(family)
        if name not in self._names(family):
            others = [f for f in FAMILIES if name in self._names(f)]
            remedy = suggest(name, self._names(family))
            if others:
                remedy = f"choose a model of the family {others[0]}, or {remedy}"
            raise Refusal(f"there is no preset {name!r} for {family}", remedy)
        return self._shared(
            ("preset", family, name), row, lambda: load_preset(family, name, self.studio)
        )

    def by_default_preset(self, read: Callable[[], T], *, row: int) -> T:
        """What `read` makes of the studio's default preset, for rows that name neither preset nor
        model. A refusal of it is no cell's: one fault of studio.yaml for all of them.
        """

        def told() -> T:
            try:
                return read()
            except Refusal as refusal:
                value, file = self.studio.default_preset, self.studio.settings_file
                fault = refusal.at(file, column="default_preset", value=value)
                raise BadInput([fault]) from None

        return self._shared(("default_preset",), row, told)

    def check_preset_name(self, name: str) -> None:
        """Raise Refusal where no family has a preset of that name."""
        family, _, short = name.rpartition("/")
        if family:
            family_named(family)
        known = {preset for f in ([family] if family else FAMILIES) for preset in self._names(f)}
        if short not in known:
            raise Refusal(f"there is no preset {name!r}", suggest(short, known))

    def _names(self, family: str) -> tuple[str, ...]:
        return preset_names(family, self.studio)

    def style(self, name: str) -> str:
        """The snippet of that name."""
        styles = {**bundled_styles(), **self.studio.styles}
        if name not in styles:
            raise Refusal(f"there is no style {name!r}", suggest(name, styles))
        return styles[name]

    def source(self, name: str) -> Source:
        """The still of that name, opened and hashed."""
        path = self._roots.find(name, what="a still")
        if path.suffix.lower() in (".mp4", ".mov", ".mkv", ".exr", ".psd", ".heic"):
            raise Refusal(f"{name!r} is no still", f"export one as {', '.join(FORMATS[:1])} or PNG")
        return self._once(("source", path), lambda: _still(name, path))

    def lora(self, ref: LoraRef) -> Lora:
        """The LoRA's file, checked and hashed."""
        return self._once(("lora", ref), lambda: find_lora(ref, roots=self._roots))

    def lora_fit(self, lora: Lora, model: Model) -> LoraFit:
        """How a LoRA fits a model, by names and shapes."""
        path = Path(lora.path)
        layers = self._once(("layers", model.name), lambda: layers_of(model))
        return self._once(
            ("fit", lora.sha256, model.name),
            lambda: check_fit(self._once(("header", path), lambda: read_lora(path)), layers),
        )

    def grade(self, ref: GradeRef, *, shot: str) -> Grade | None:
        """The grade with its files checked and hashed."""
        key = ("grade", ref, shot if ref.cdl else "")
        return self._once(key, lambda: find_grade(ref, roots=self._roots, shot=shot))

    def upscale(self, ref: UpscaleRef) -> Upscale | None:
        """The upscale with its model checked and hashed; None for none."""
        if ref.factor == 1.0:
            return None
        path = self.studio.upscale_model
        if ref.model is not None:
            lanczos = ref.model.lower() == _LANCZOS
            path = (
                None
                if lanczos
                else self._roots.find(ref.model, what="an upscaler", suffixes=(".safetensors",))
            )
        if path is None:
            return Upscale(factor=ref.factor)
        sha256 = self._once(("upscaler", path), lambda: hash_safetensors(path))
        return Upscale(factor=ref.factor, model=path, model_sha256=sha256)

    def broken(self) -> list[Fault]:
        """Faults of shared things, each once, saying which rows wanted them."""
        found = []
        for faults, rows in self._broken.values():
            more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
            users = f" (wanted by row {rows[0]}{more})"
            found += [replace(fault, problem=fault.problem + users) for fault in faults]
        return found

    def _shared(self, key: tuple[Any, ...], row: int, read: Callable[[], T]) -> T:
        if key in self._broken:
            self._broken[key][1].append(row)
            raise Unusable
        try:
            return self._once(key, read)
        except BadInput as error:
            self._broken[key] = (error.faults, [row])
            raise Unusable from None

    def _once(self, key: tuple[Any, ...], read: Callable[[], T]) -> T:
        if key not in self._seen:
            try:
                self._seen[key] = read()
            except Refusal as refusal:
                self._seen[key] = refusal
        found: Any = self._seen[key]
        if isinstance(found, Refusal):
            raise Refusal(found.problem, found.remedy)
        return found  # type: ignore[no-any-return]
