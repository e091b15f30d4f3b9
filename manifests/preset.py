"""Presets: named recipes, read from YAML and checked; the studio's win over the bundled ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from manifests.cut import Cut, lay_out
from manifests.errors import BadInput, Fault
from manifests.families import FAMILIES, Family, family_named
from manifests.loras import LoraRef, find_lora
from manifests.paths import Roots
from manifests.preset_check import Wrong, wrong_candidates, wrong_chain, wrong_frame, wrong_stages
from manifests.preset_text import PresetText, StageText, read_preset_text
from manifests.refusal import Refusal
from manifests.settings import Studio
from manifests.stage import Concession, Expert, Lora, Noise, Speed, Stage
from manifests.text import suggest
from manifests.yaml_text import Node

BUNDLED = Path(__file__).parent / "presets"
SUFFIXES = (".yml", ".yaml")
"""Of presets; where a name has both, the last one's file is read."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A named recipe for one family of models."""

    family: str
    name: str
    title: str
    description: str
    path: Path
    """The file it was read from."""
    model: str | None
    """Name of the model it asks for; None leaves it to the studio."""
    width: int
    height: int
    frames: int
    fps: float
    negative: str
    stages: tuple[Stage, ...]
    """For a model as the family's usually are; `stages_for` lays them out for a given one."""
    cuts: tuple[Cut, ...]
    """Of each stage: the ends of its window that are noise levels."""
    loras: tuple[tuple[LoraRef, ...], ...]
    """Of each stage, as the file names them."""
    ranges: Mapping[str, tuple[float, float]]
    """Field -> (least, most) that a remedy may set it to: `cfg`, `denoise`, `steps`."""
    speed: Speed = Speed.EXACT
    concessions: tuple[Concession, ...] = ()
    """What may be given up when memory is short."""
    early: bool = True
    """Whether a take that is certainly lost is stopped after its first stage."""
    candidates: int = 1
    """First stages of a take, of which the best is gone on with."""

    @property
    def qualified_name(self) -> str:
        """`pocket/two-stage`."""
        return f"{self.family}/{self.name}"

    @property
    def needs_experts(self) -> bool:
        """A stage names an expert or the boundary between two, so the model must have two."""
        return any(stage.expert is not Expert.AUTO for stage in self.stages) or any(
            cut.at_boundary for cut in self.cuts
        )

    def stages_for(self, *, boundary: float | None, noise: Noise) -> tuple[Stage, ...]:
        """The stages for a model: levels of its kind, windows cut at its boundary.

        Raises Refusal, with the number of the stage, where that leaves a window without a step, or
        windows that do not meet.
        """
        laid_out = list[Stage]()
        for index, (stage, cut) in enumerate(zip(self.stages, self.cuts, strict=True)):
            try:
                laid_out.append(lay_out(replace(stage, noise=noise), cut, boundary=boundary))
            except Refusal as refusal:
                raise self._in_stage(index, refusal) from None
        # What follows for the usual model may not for this one: a step and the boundary meet.
        for number, _, wrong in wrong_chain(laid_out):
            raise self._in_stage(number or 0, wrong)
        return tuple(laid_out)

    def _in_stage(self, index: int, refusal: Refusal) -> Refusal:
        place = f"stage {index + 1} of {self.qualified_name}"
        return Refusal(f"{place} {refusal.problem}", refusal.remedy)


def load_preset(family: str, name: str, studio: Studio, *, with_loras: bool = True) -> Preset:
    """The preset of that name for that family. Raises BadInput with every fault of its file.

    Without `with_loras` the LoRA files of its stages are not looked for, and its stages have none.
    """
    try:
        known = _paths(family_named(family).name, studio)
    except Refusal as refusal:
        raise BadInput([refusal.at(studio.settings_file, value=family)]) from None
    if name not in known:
        raise BadInput([_unknown(family, name, studio).at(BUNDLED / family, value=name)])
    return _load(
        known[name], family=FAMILIES[family], name=name, studio=studio, with_loras=with_loras
    )


def list_presets(studio: Studio) -> list[Preset]:
    """Every preset by family and name, its LoRA files not looked for.

    Raises BadInput with the faults of all their files.
    """
    presets, faults = [], list[Fault]()
    for family in FAMILIES.values():
        for name, path in sorted(_paths(family.name, studio).items()):
            try:
                presets.append(
                    _load(path, family=family, name=name, studio=studio, with_loras=False)
                )
            except BadInput as error:
                faults += error.faults
    if faults:
        raise BadInput(faults)
    return presets


def preset_names(family: str, studio: Studio) -> tuple[str, ...]:
    """Names of the presets for a family, whether or not their files are good."""
    return tuple(sorted(_paths(family, studio)))


def unread_files(studio: Studio) -> list[Path]:
    """YAML files in the studio's folder of presets that no preset is read from: their folder is no
    family's name, or their own is none."""
    if studio.presets_dir is None:
        return []
    read = {path for family in FAMILIES for path in _paths(family, studio).values()}
    found = (path for suffix in SUFFIXES for path in studio.presets_dir.rglob(f"*{suffix}"))
    return sorted(path for path in found if path not in read)


def _paths(family: str, studio: Studio) -> dict[str, Path]:
    if family not in FAMILIES:
        return {}
    folders = [BUNDLED, *([studio.presets_dir] if studio.presets_dir else [])]
    return {
        path.stem: path
        for folder in folders
        for suffix in SUFFIXES
        for path in (folder / family).glob(f"*{suffix}")
        if _NAME.fullmatch(path.stem)
    }


def _unknown(family: str, name: str, studio: Studio) -> Refusal:
    elsewhere = [other for other in FAMILIES if name in _paths(other, studio)]
    if elsewhere:
        return Refusal(
            f"there is no preset {name!r} for {family}",
            f"choose a model of the family {elsewhere[0]}, or "
            + suggest(name, _paths(family, studio)),
        )
    return Refusal(
        f"there is no preset {name!r} for {family}", suggest(name, _paths(family, studio))
    )


def _load(path: Path, *, family: Family, name: str, studio: Studio, with_loras: bool) -> Preset:
    text, node = read_preset_text(path)
    stages, wrong = _stages(text, family)
    found = [
        *wrong_frame(text, family, models=studio.models),
        *wrong,
        *wrong_stages(text, family),
        *wrong_candidates(text),
        *(() if wrong else wrong_chain(stages)),
    ]
    faults = [
        refusal.at(path, row=_line(node, index), column=_column(index, key))
        for index, key, refusal in found
    ]
    if with_loras:
        for index, stage in enumerate(text.stages):
            try:
                loras = tuple(_find(lora, path, studio) for lora in stage.loras)
                stages[index] = replace(stages[index], loras=loras)
            except Refusal as refusal:
                faults.append(
                    refusal.at(path, row=_line(node, index), column=_column(index, "loras"))
                )
    if faults:
        raise BadInput(faults)
    return Preset(
        family=family.name,
        name=name,
        title=text.title,
        description=" ".join(text.description.split()),
        path=path,
        model=text.model,
        width=text.width,
        height=text.height,
        frames=text.frames,
        fps=text.fps,
        negative=" ".join(text.negative.split()),
        stages=tuple(stages),
        cuts=tuple(stage.cut for stage in text.stages),
        loras=tuple(stage.loras for stage in text.stages),
        ranges={str(key): limits for key, limits in text.ranges.items()},
        speed=text.speed,
        concessions=text.memory.allow,
        early=text.early,
        candidates=text.candidates,
    )


def _stages(text: PresetText, family: Family) -> tuple[list[Stage], list[Wrong]]:
    """The stages, their LoRAs aside, for a usual model of the family; and what cannot be cut."""
    stages, wrong = list[Stage](), list[Wrong]()
    for index, written in enumerate(text.stages):
        stage = _stage(written, index, noise=family.noise)
        try:
            stage = lay_out(stage, written.cut, boundary=family.boundary("i2v"))
        except Refusal as refusal:
            wrong.append((index, "", refusal))
        stages.append(stage)
    return stages, wrong


def _stage(text: StageText, index: int, *, noise: Noise) -> Stage:
    return Stage(
        kind=text.kind,
        steps=text.steps,
        cfg=text.cfg,
        shift=1.0 if text.shift is None else text.shift,
        sampler=text.sampler,
        schedule=text.schedule,
        denoise=text.denoise,
        start_step=text.start_step,
        end_step=text.end_step,
        leftover_noise=text.leaves_noise,
        add_noise=text.adds_noise,
        expert=text.expert,
        seed_offset=index if text.seed_offset is None else text.seed_offset,
        cfg_interval=text.cfg_interval,
        carry_history=text.carry_history,
        noise=noise,
    )


def _find(lora: LoraRef, path: Path, studio: Studio) -> Lora:
    """The LoRA's file: beside a preset of the studio, else under its root or a source root.

    Raises Refusal, naming the folder it is wanted in.
    """
    own = () if path.is_relative_to(BUNDLED) else (path.parent,)
    bases = (*own, studio.root, *studio.source_roots)
    base = next((base for base in bases if (base / lora.file).exists()), bases[0])
    more = filter(None, (studio.presets_dir, *bases))
    return find_lora(lora, roots=Roots.of(base, *more))


def _column(index: int | None, key: str) -> str:
    return ".".join(filter(None, ("" if index is None else f"stages.{index + 1}", key)))


def _line(node: Node, index: int | None) -> int | None:
    """Line of a stage in its file."""
    if index is None:
        return None
    stages = node.value["stages"].value if isinstance(node.value, dict) else None
    return stages[index].line if isinstance(stages, list) else None
