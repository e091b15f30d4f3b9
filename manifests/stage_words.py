"""What is said about stages that can run, and hardly do what was meant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from manifests.noise import share_of_noise
from manifests.schedules import end_sigma, stage_sigmas, start_sigma
from manifests.stage import Sampler, Stage, StageKind

WHOLE_DENOISE = 0.999
"""From here on a later stage keeps nothing of the stages before it."""
LCM_MAX_CFG = 2.0
"""Distilled models have their guidance built in; more burns the picture."""
_MEET = 1e-6


def stage_warnings(stages: Sequence[Stage]) -> list[str]:
    """One sentence for each oddity, in the order of the stages (at least one)."""
    said = []
    for number, stage in enumerate(stages, start=1):
        said += [f"stage {number} {words}" for words in _oddities(stage, first=number == 1)]
    for number, (before, stage) in enumerate(pairwise(stages), start=2):
        if before.leftover_noise and abs(end_sigma(before) - start_sigma(stage)) > _MEET:
            said.append(
                f"stage {number} starts at sigma {start_sigma(stage):.3f} with the noise that "
                f"stage {number - 1} left at {end_sigma(before):.3f}"
            )
    return said


def _oddities(stage: Stage, *, first: bool) -> Iterator[str]:
    if not first and stage.kind is StageKind.RENOISE and stage.denoise >= WHOLE_DENOISE:
        yield f"has denoise {stage.denoise:g}: it throws the stages before away"
    if stage.sampler is Sampler.LCM:
        if stage.cfg > LCM_MAX_CFG:
            yield (
                f"has sampler lcm with CFG {stage.cfg:g}: distilled models want 1 to "
                f"{LCM_MAX_CFG:g}, more burns the picture"
            )
        if not stage.loras:
            yield (
                "has sampler lcm and no LoRA: it is right for a distilled model alone; for others "
                "name an LCM or lightning LoRA, or use euler_a"
            )
    if stage.cfg != 1.0 and not _is_guided(stage):
        low, high = stage.cfg_interval
        yield (
            f"is never guided: none of its noise levels lies in cfg_interval [{low:g}, {high:g}]; "
            "write cfg: 1, or a wider interval"
        )


def _is_guided(stage: Stage) -> bool:
    low, high = stage.cfg_interval
    levels = stage_sigmas(stage)[:-1]
    return any(low <= share_of_noise(sigma, stage.noise) <= high for sigma in levels)
