"""What is wrong in a preset between values that are each fine alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from manifests.families import Family
from manifests.preset_text import PresetText, StageText
from manifests.refusal import Refusal
from manifests.schedules import end_sigma, stage_sigmas, start_sigma
from manifests.size import check_fps
from manifests.stage import Expert, Noise, Stage, StageKind
from manifests.text import suggest

Wrong = tuple[int | None, str, Refusal]
"""Index of the stage (None: the preset as a whole), key in it, what is wrong and what to do."""

_NEAR = 0.05
"""Noise levels further apart than this do not meet."""


def wrong_frame(text: PresetText, family: Family, *, models: Iterable[str]) -> Iterator[Wrong]:
    """What the family, or the studio with these models, cannot do."""
    if text.family != family.name:
        yield (
            None,
            "family",
            Refusal(
                f"family {text.family!r} lies in the folder of {family.name}",
                f"write {family.name} or move the file",
            ),
        )
    if text.model is not None and text.model not in (known := set(models)):
        problem = f"there is no model {text.model!r}"
        yield None, "model", Refusal(problem, suggest(text.model, known))
    if not family.min_frames <= text.frames <= family.max_frames or (
        family.snap_frames(text.frames) != text.frames
    ):
        limits = f"{family.frame_rule} in {family.min_frames}..{family.max_frames}"
        near = family.snap_frames(min(max(text.frames, family.min_frames), family.max_frames))
        problem = f"{text.frames} frames are not {limits}"
        yield None, "frames", Refusal(problem, f"write {near}")
    try:
        check_fps(text.fps, frames=text.frames, family=family)
    except Refusal as refusal:
        yield None, "fps", refusal
    for key, value in (("width", text.width), ("height", text.height)):
        near = family.snap_size(value, multiple=family.size_multiple)
        if near != value:
            limits = f"in {family.min_size}..{family.max_size}"
            problem = f"{key} {value} is no multiple of {family.size_multiple} {limits}"
            yield None, key, Refusal(problem, f"write {near}")


def wrong_stages(text: PresetText, family: Family) -> Iterator[Wrong]:
    """What single stages ask of a family that has none of it, and values outside `ranges`."""
    for index, stage in enumerate(text.stages):
        yield from ((index, key, refusal) for key, refusal in _wrong_stage(stage, family))
        for key, (low, high) in text.ranges.items():
            value = getattr(stage, key)
            free = stage.kind is StageKind.SPLIT or (key == "denoise" and value == 1.0)
            if (key == "cfg" or not free) and not low <= value <= high:
                problem = f"{key} {value:g} is outside ranges.{key} {low:g}..{high:g}"
                yield index, key, Refusal(problem, "widen the range or change the value")


def wrong_candidates(text: PresetText) -> Iterator[Wrong]:
    """Candidates that cannot be looked at after stage 1, or spare nothing."""
    if text.candidates == 1:
        return
    asked = f"candidates {text.candidates} are chosen after stage 1"
    if len(text.stages) == 1:
        yield (
            None,
            "candidates",
            Refusal(f"{asked}, and no stage follows it", "remove 'candidates' or add a stage"),
        )
    elif text.stages[0].leaves_noise:
        yield (
            None,
            "candidates",
            Refusal(
                f"{asked}, which leaves noise in the picture",
                "remove 'candidates' or let stage 1 run to its end",
            ),
        )


def _wrong_stage(stage: StageText, family: Family) -> Iterator[tuple[str, Refusal]]:
    flow = family.noise is Noise.FLOW
    if flow and stage.shift is None:
        yield "shift", Refusal("'shift' is missing", "add it")
    if not flow and stage.shift is not None:
        problem = f"{family.title} has no shift: its noise levels are those it was trained at"
        yield "shift", Refusal(problem, "remove 'shift'")
    if family.may_have_experts:
        return
    alone = f"models of {family.title} have one transformer"
    if stage.expert is not Expert.AUTO:
        yield "expert", Refusal(f"{alone}, and no {stage.expert} expert", "remove 'expert'")
    if stage.cut.at_boundary:
        key = "start_sigma" if stage.cut.start == "boundary" else "end_sigma"
        yield key, Refusal(f"{alone}, and no boundary", "write a noise level or a step")


def wrong_chain(stages: Sequence[Stage]) -> Iterator[Wrong]:
    """Stages that cannot be laid out, or do not follow from the one before them."""
    offsets = [stage.seed_offset for stage in stages]
    for index, stage in enumerate(stages):
        try:
            stage_sigmas(stage)
        except ValueError as error:
            problem, _, remedy = str(error).partition("; ")
            yield index, "", Refusal(problem, remedy or "change steps, denoise or shift")
            return
        if offsets.index(stage.seed_offset) != index:
            first = offsets.index(stage.seed_offset) + 1
            problem = f"has the seed_offset {stage.seed_offset} of stage {first}"
            free = next(n for n in range(len(stages)) if n not in offsets)
            remedy = f"write seed_offset: {free}; the same noise in two stages burns into the clip"
            yield index, "seed_offset", Refusal(problem, remedy)
    yield from _wrong_ends(stages)
    for index, (before, stage) in enumerate(pairwise(stages), start=1):
        yield from ((index, "", refusal) for refusal in _wrong_pair(before, stage))


def _wrong_ends(stages: Sequence[Stage]) -> Iterator[Wrong]:
    first, last = stages[0], stages[-1]
    if first.start_step or not first.add_noise or first.denoise < 1.0:
        yield (
            0,
            "",
            Refusal(
                "the first stage has no latents to go on from",
                "start it from pure noise: denoise 1, or start_step 0 with add_noise",
            ),
        )
    if last.leftover_noise:
        yield (
            len(stages) - 1,
            "",
            Refusal(
                "the last stage would leave noise in the clip",
                f"run it to the end: end_step {last.steps}",
            ),
        )


def _wrong_pair(before: Stage, stage: Stage) -> Iterator[Refusal]:
    split = stage.kind is StageKind.SPLIT
    adds = stage.add_noise or not split
    if before.leftover_noise and adds:
        yield Refusal(
            "the stage before hands on noise, and this one would add more",
            "make it a split stage with add_noise: false, or drop leftover_noise above",
        )
        return
    if not before.leftover_noise and not adds:
        yield Refusal(
            "the stage before hands on no noise, and this one adds none",
            "write leftover_noise: true in the stage before",
        )
    if not before.leftover_noise:
        return
    if before.steps == stage.steps and before.end_step != stage.start_step:
        yield Refusal(
            f"starts at step {stage.start_step}, the one before ends at {before.end_step}",
            f"write start_step: {before.end_step}",
        )
    elif abs(end_sigma(before) - start_sigma(stage)) > _NEAR:
        yield Refusal(
            f"starts at sigma {start_sigma(stage):.3f}, and the noise that the stage before "
            f"leaves is that of sigma {end_sigma(before):.3f}",
            "cut both at the same end_sigma and start_sigma, with the same shift and schedule",
        )
