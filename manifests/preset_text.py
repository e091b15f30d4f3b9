"""A preset's file as written: keys and values checked one by one, each fault with its line."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
)

from manifests.candidates import MOST_CANDIDATES
from manifests.cut import BOUNDARY, Cut, Level
from manifests.errors import BadInput, Fault
from manifests.loras import LoraRef, read_loras
from manifests.numbers import float_of
from manifests.refusal import Refusal, quoted
from manifests.stage import Concession, Expert, Sampler, Schedule, Speed, StageKind
from manifests.text import suggest
from manifests.wanted import wanted
from manifests.yaml_mapping import read_mapping
from manifests.yaml_text import Node

MAX_BYTES = 2**20
_MOST_NOISE = 100.0
"""No model has a higher noise level."""
RENOISE_KEYS = frozenset({"denoise"})
SPLIT_KEYS = frozenset(
    {
        "start_step",
        "end_step",
        "start_sigma",
        "end_sigma",
        "leftover_noise",
        "add_noise",
        "carry_history",
    }
)
KINDS = (
    "renoise adds noise up to `denoise` and removes all of it; "
    "split runs steps start_step..end_step of one schedule"
)
E = TypeVar("E", bound=StrEnum)


def _one_of(kind: type[E], what: str) -> Callable[[Any], E]:
    """A reader of the members of `kind` that knows what was meant."""

    def read(value: Any) -> E:
        members = [member.value for member in kind]
        if value not in members:
            remedy = suggest(value if isinstance(value, str) else "", members)
            raise Refusal(f"there is no {what} {quoted(value)}", remedy)
        return kind(value)

    return read


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise Refusal(f"{pair[0]:g} is greater than {pair[1]:g}", "write [least, most]")
    return pair


def _interval(value: Any) -> tuple[float, float]:
    remedy = "write [low, high], two shares of noise in 0..1, such as [0.2, 0.8]"
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise Refusal("is no interval of noise", remedy)
    low, high = (_number(end, remedy) for end in value)
    if not 0.0 <= low < high <= 1.0:
        raise Refusal(f"[{low:g}, {high:g}] is no interval of noise", remedy)
    return low, high


def _level(value: Any) -> Level | None:
    if value is None or value == BOUNDARY:
        return value  # type: ignore[no-any-return]
    remedy = "write a noise level such as 0.9, or boundary"
    level = _number(value, remedy)
    if not 0.0 < level < _MOST_NOISE:
        raise Refusal(f"{level:g} is no noise level", remedy)
    return level


def _number(value: Any, remedy: str) -> float:
    try:
        return float_of(value, example="0.9")
    except Refusal as refusal:
        raise Refusal(refusal.problem, remedy) from None


def _lora_refs(value: Any) -> tuple[LoraRef, ...]:
    return read_loras(value) or ()


class StageText(BaseModel):
    """One stage as written."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: Annotated[StageKind, BeforeValidator(_one_of(StageKind, "kind of stage"))]
    steps: Annotated[int, Field(ge=1, le=200)]
    cfg: Annotated[float, Field(ge=1, le=30)]
    shift: Annotated[float | None, Field(ge=0.1, le=100)] = None
    """None: the family has none."""
    sampler: Annotated[Sampler, BeforeValidator(_one_of(Sampler, "sampler"))] = Sampler.EULER
    schedule: Annotated[Schedule, BeforeValidator(_one_of(Schedule, "schedule"))] = Schedule.SIMPLE
    denoise: Annotated[float, Field(gt=0, le=1)] = 1.0
    start_step: Annotated[int, Field(ge=0)] = 0
    end_step: Annotated[int | None, Field(ge=1)] = None
    start_sigma: Annotated[Level | None, PlainValidator(_level)] = None
    """In the place of start_step: the first step that starts below this noise level."""
    end_sigma: Annotated[Level | None, PlainValidator(_level)] = None
    """In the place of end_step: the same, for the step that begins the next stage."""
    leftover_noise: bool | None = None
    """None: as the window asks, true where it ends before the schedule."""
    add_noise: bool | None = None
    """None: as the window asks, true where it starts at step 0."""
    expert: Annotated[Expert, BeforeValidator(_one_of(Expert, "expert"))] = Expert.AUTO
    loras: Annotated[tuple[LoraRef, ...], PlainValidator(_lora_refs)] = ()
    seed_offset: Annotated[int | None, Field(ge=0, le=10**6)] = None
    cfg_interval: Annotated[tuple[float, float], PlainValidator(_interval)] = (0.0, 1.0)
    carry_history: bool = True

    @property
    def cut(self) -> Cut:
        """The ends of its window that are noise levels."""
        return Cut(start=self.start_sigma, end=self.end_sigma)

    @property
    def leaves_noise(self) -> bool:
        """Whether latents go on with noise in them."""
        if self.kind is StageKind.RENOISE:
            return False
        if self.leftover_noise is None:
            return self.end_sigma is not None or (
                self.end_step is not None and self.end_step < self.steps
            )
        return self.leftover_noise

    @property
    def adds_noise(self) -> bool:
        """Whether fresh noise is added at its start."""
        if self.add_noise is None:
            return self.start_step == 0 and self.start_sigma is None
        return self.add_noise


class MemoryText(BaseModel):
    """What may be done when memory is short, as written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    allow: tuple[
        Annotated[Concession, BeforeValidator(_one_of(Concession, "concession"))], ...
    ] = ()


class PresetText(BaseModel):
    """A preset as written."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    title: Annotated[str, Field(min_length=1, max_length=80)]
    description: Annotated[str, Field(max_length=1000)] = ""
    family: str
    model: str | None = None
    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]
    frames: Annotated[int, Field(ge=1)]
    fps: Annotated[float, Field(ge=1, le=240)]
    negative: Annotated[str, Field(max_length=8000)] = ""
    speed: Annotated[Speed, BeforeValidator(_one_of(Speed, "speed"))] = Speed.EXACT
    memory: MemoryText = MemoryText()
    early: bool = True
    """Whether a take that is certainly lost is stopped after its first stage."""
    candidates: Annotated[int, Field(ge=1, le=MOST_CANDIDATES)] = 1
    stages: Annotated[tuple[StageText, ...], Field(min_length=1, max_length=8)]
    ranges: dict[
        Literal["cfg", "denoise", "steps"], Annotated[tuple[float, float], AfterValidator(_ordered)]
    ] = {}


def read_preset_text(path: Path) -> tuple[PresetText, Node]:
    """The preset in `path` and its lines. Raises BadInput with every fault of single values."""
    node, faults = _read(path)
    plain = node.plain()
    faults += [
        refusal.at(path, row=line, column=f"stages.{index + 1}.{key}")
        for index, stage in enumerate(_stage_nodes(node))
        if isinstance(stage.value, dict)
        for key, line, refusal in _foreign_keys(stage.value)
    ]
    try:
        text = PresetText.model_validate(plain)
    except ValidationError as error:
        faults += [_fault(item, path, node) for item in error.errors() if not _echo(item, plain)]
        raise BadInput(sorted(faults, key=lambda fault: fault.row or 0)) from None
    faults += [
        refusal.at(path, row=stage.line, column=f"stages.{index + 1}")
        for index, stage in enumerate(_stage_nodes(node))
        if (refusal := _window(text.stages[index]))
    ]
    if faults:
        raise BadInput(sorted(faults, key=lambda fault: fault.row or 0))
    return text, node


def _foreign_keys(stage: dict[str, Node]) -> list[tuple[str, int, Refusal]]:
    """Keys of one kind of stage in a stage of the other."""
    kind = stage["kind"].value if "kind" in stage else None
    foreign, other = {
        StageKind.RENOISE.value: (SPLIT_KEYS, StageKind.SPLIT),
        StageKind.SPLIT.value: (RENOISE_KEYS, StageKind.RENOISE),
    }.get(kind if isinstance(kind, str) else "", (frozenset(), StageKind.SPLIT))
    return [
        (
            key,
            node.line,
            Refusal(
                f"{key!r} belongs to a {other} stage and this is a {kind} stage ({KINDS})",
                f"remove {key!r} or write kind: {other}",
            ),
        )
        for key, node in stage.items()
        if key in foreign
    ]


def _read(path: Path) -> tuple[Node, list[Fault]]:
    form = "write `title:`, `stages:`, ..."
    try:
        node, faults = read_mapping(path, form=form, most_bytes=MAX_BYTES)
    except FileNotFoundError:
        refusal = Refusal("is not there any more", "put it back, or name another preset")
        raise BadInput([refusal.at(path)]) from None
    if node is None:
        raise BadInput([*faults, Refusal("is no mapping", form).at(path)])
    return node, faults


def _stage_nodes(node: Node) -> list[Node]:
    stages = node.value.get("stages") if isinstance(node.value, dict) else None
    return stages.value if stages is not None and isinstance(stages.value, list) else []


def _window(stage: StageText) -> Refusal | None:
    if stage.kind is StageKind.RENOISE:
        return None
    for word, sigma, step in (
        ("start", stage.start_sigma, stage.start_step or None),
        ("end", stage.end_sigma, stage.end_step),
    ):
        if sigma is not None and step is not None:
            return Refusal(
                f"has {word}_sigma and {word}_step, which may say different things",
                "remove one of them",
            )
    end = stage.steps if stage.end_step is None else stage.end_step
    if end > stage.steps:
        return Refusal(
            f"ends at step {end} of a schedule of {stage.steps}",
            f"write end_step: {stage.steps} or less",
        )
    if stage.start_step >= end:
        return Refusal(
            f"runs from step {stage.start_step} to {end}: nothing",
            "write a start_step below end_step",
        )
    return None


def _fault(item: Any, path: Path, node: Node) -> Fault:
    loc = [part for part in item["loc"] if part != "[key]"]
    column = ".".join(str(part + 1 if isinstance(part, int) else part) for part in loc)
    value = None if item["type"] == "missing" else item["input"]
    return _refusal(item, loc).at(path, row=_line(node, loc), column=column, value=value)


_FIELDS: dict[str, type[BaseModel]] = {"stages": StageText, "memory": MemoryText}


def _refusal(item: Any, loc: list[Any]) -> Refusal:
    error = item.get("ctx", {}).get("error")
    if isinstance(error, Refusal):
        return error
    if item["type"] == "extra_forbidden":
        fields = _FIELDS.get(str(loc[0]) if len(loc) > 1 else "", PresetText).model_fields
        return Refusal(f"there is no key {loc[-1]!r}", suggest(str(loc[-1]), fields))
    if item["type"] == "missing":
        return Refusal(f"{loc[-1]!r} is missing", "add it")
    return Refusal(f"{quoted(item['input'])} is refused", wanted(item))


def _echo(item: Any, plain: Any) -> bool:
    """Pydantic calls a list too short when its items are wrong, which they say themselves."""
    return item["type"] == "too_short" and item["loc"] == ("stages",) and bool(plain["stages"])


def _line(node: Node, loc: list[Any]) -> int | None:
    line = node.line
    for part in loc:
        inner = node.inner(part)
        if inner is None:
            break
        node, line = inner, inner.line
    return line
