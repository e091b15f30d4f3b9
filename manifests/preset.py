"""Presets: named recipes, read from YAML and checked; the studio's win over the bundled ones."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from manifests.errors import BadInput, Fault
from manifests.families import FAMILIES, Family, family_named
from manifests.loras import find_lora
from manifests.paths import Roots
from manifests.preset_text import PresetText, StageText, read_preset_text
from manifests.refusal import Refusal
from manifests.settings import Studio
from manifests.stage import Concession, Expert, Noise, Speed, Stage, StageKind
from manifests.text import suggest
from manifests.yaml_text import Node

BUNDLED = Path(__file__).parent / "presets"
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
    ranges: Mapping[str, tuple[float, float]]
    """Field -> (least, most) that a remedy may set it to: `cfg`, `denoise`, `steps`."""
    speed: Speed = Speed.EXACT
    concessions: tuple[Concession, ...] = ()
    """What may be given up when memory is short."""

    @property
    def qualified_name(self) -> str:
        """`pocket/two-stage`."""
        return f"{self.family}/{self.name}"

    @property
    def needs_experts(self) -> bool:
        """A stage names the expert that runs it, so the model must have two."""
        return any(stage.expert is not Expert.AUTO for stage in self.stages)


def load_preset(family: str, name: str, studio: Studio) -> Preset:
    """The preset of that name for that family. Raises BadInput with every fault of its file."""
    try:
        known = _paths(family_named(family).name, studio)
    except Refusal as refusal:
        raise BadInput([refusal.at(studio.settings_file, value=family)]) from None
    if name not in known:
        raise BadInput([_unknown(family, name, studio).at(BUNDLED / family, value=name)])
    return _load(known[name], family=FAMILIES[family], name=name, studio=studio)


def list_presets(studio: Studio) -> list[Preset]:
    """Every preset by family and name. Raises BadInput with the faults of all their files."""
    presets, faults = [], list[Fault]()
    for family in FAMILIES.values():
        for name, path in sorted(_paths(family.name, studio).items()):
            try:
                presets.append(_load(path, family=family, name=name, studio=studio))
            except BadInput as error:
                faults += error.faults
    if faults:
        raise BadInput(faults)
    return presets


def preset_names(family: str, studio: Studio) -> tuple[str, ...]:
    """Names of the presets for a family, whether or not their files are good."""
    return tuple(sorted(_paths(family, studio)))


def _paths(family: str, studio: Studio) -> dict[str, Path]:
    if family not in FAMILIES:
        return {}
    folders = [BUNDLED, *([studio.presets_dir] if studio.presets_dir else [])]
    return {
        path.stem: path
        for folder in folders
        for path in (folder / family).glob("*.yaml")
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


def _load(path: Path, *, family: Family, name: str, studio: Studio) -> Preset:
    text, node = read_preset_text(path)
    faults = _check(text, family, studio, path=path, node=node)
    roots = Roots.of(path.parent, *filter(None, (studio.presets_dir,)), *studio.source_roots)
    stages = []
    for index, stage in enumerate(text.stages):
        try:
            stages.append(_stage(stage, index, roots, noise=family.noise))
        except Refusal as refusal:
            faults.append(refusal.at(path, row=_line(node, index), column="loras"))
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
        ranges={str(key): limits for key, limits in text.ranges.items()},
        speed=text.speed,
        concessions=text.memory.allow,
    )


def _check(
    text: PresetText, family: Family, studio: Studio, *, path: Path, node: Node
) -> list[Fault]:
    """What is wrong between values that are each fine alone."""
    faults = [refusal.at(path, column=column) for column, refusal in _misfits(text, family, studio)]
    for index, refusal in _breaks(text.stages):
        faults.append(refusal.at(path, row=_line(node, index), column=f"stages.{index + 1}"))
    for index, refusal in _shifts(text.stages, family):
        faults.append(refusal.at(path, row=_line(node, index), column=f"stages.{index + 1}.shift"))
    for key, (low, high) in text.ranges.items():
        for index, stage in enumerate(text.stages):
            value = getattr(stage, key)
            free = stage.kind is StageKind.SPLIT or (key == "denoise" and value == 1.0)
            if (key == "cfg" or not free) and not low <= value <= high:
                faults.append(
                    Refusal(
                        f"{key} {value:g} is outside ranges.{key} {low:g}..{high:g}",
                        "widen the range or change the value",
                    ).at(path, row=_line(node, index), column=f"stages.{index + 1}.{key}")
                )
    return faults


def _misfits(text: PresetText, family: Family, studio: Studio) -> Iterable[tuple[str, Refusal]]:
    if text.family != family.name:
        yield (
            "family",
            Refusal(
                f"family {text.family!r} lies in the folder of {family.name}",
                f"write {family.name} or move the file",
            ),
        )
    if text.model is not None and text.model not in studio.models:
        problem = f"there is no model {text.model!r}"
        yield "model", Refusal(problem, suggest(text.model, studio.models))
    if not family.min_frames <= text.frames <= family.max_frames or (
        family.snap_frames(text.frames) != text.frames
    ):
        limits = f"{family.frame_rule} in {family.min_frames}..{family.max_frames}"
        near = family.snap_frames(min(max(text.frames, family.min_frames), family.max_frames))
        yield "frames", Refusal(f"{text.frames} frames are not {limits}", f"write {near}")
    for key, value in (("width", text.width), ("height", text.height)):
        near = family.snap_size(value, multiple=family.size_multiple)
        if near != value:
            limits = f"in {family.min_size}..{family.max_size}"
            problem = f"{key} {value} is no multiple of {family.size_multiple} {limits}"
            yield key, Refusal(problem, f"write {near}")


def _shifts(stages: tuple[StageText, ...], family: Family) -> Iterable[tuple[int, Refusal]]:
    """A shift where there is none, and none where there must be one."""
    flow = family.noise is Noise.FLOW
    for index, stage in enumerate(stages):
        if flow and stage.shift is None:
            yield index, Refusal("'shift' is missing", "add it")
        if not flow and stage.shift is not None:
            yield (
                index,
                Refusal(
                    f"{family.title} has no shift: its noise levels are those it was trained at",
                    "remove 'shift'",
                ),
            )


def _breaks(stages: tuple[StageText, ...]) -> Iterable[tuple[int, Refusal]]:
    """Where a stage does not follow from the one before it."""
    for index, stage in enumerate(stages):
        before = stages[index - 1] if index else None
        last = index == len(stages) - 1
        left_over = before is not None and before.leaves_noise
        split = stage.kind is StageKind.SPLIT
        if before is None and (stage.start_step or not stage.adds_noise or stage.denoise < 1.0):
            yield (
                index,
                Refusal(
                    "the first stage has no latents to go on from",
                    "start it from pure noise: denoise 1, or start_step 0 with add_noise",
                ),
            )
        if left_over and (not split or stage.adds_noise):
            yield (
                index,
                Refusal(
                    "the stage before hands on noise, and this one would add more",
                    "make it a split stage with add_noise: false, or drop leftover_noise above",
                ),
            )
        if split and before is not None and not left_over and not stage.adds_noise:
            yield (
                index,
                Refusal(
                    "the stage before hands on no noise, and this one adds none",
                    "write leftover_noise: true in the stage before",
                ),
            )
        joined = left_over and before is not None and before.steps == stage.steps
        if joined and before is not None and before.end_step != stage.start_step:
            yield (
                index,
                Refusal(
                    f"starts at step {stage.start_step}, the one before ends at {before.end_step}",
                    f"write start_step: {before.end_step}",
                ),
            )
        if last and stage.leaves_noise:
            yield (
                index,
                Refusal(
                    "the last stage would leave noise in the clip",
                    f"run it to the end: end_step {stage.steps}",
                ),
            )


def _stage(text: StageText, index: int, roots: Roots, *, noise: Noise) -> Stage:
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
        loras=tuple(find_lora(lora, roots=roots) for lora in text.loras),
        seed_offset=index if text.seed_offset is None else text.seed_offset,
        noise=noise,
    )


def _line(node: Node, index: int) -> int | None:
    """Line of a stage in its file."""
    stages = node.value["stages"].value if isinstance(node.value, dict) else None
    return stages[index].line if isinstance(stages, list) else None
