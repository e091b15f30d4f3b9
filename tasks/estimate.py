"""How long a take will take and how much it will write: from history where there is some."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from manifests.noise import level_words, share_of_noise
from manifests.schedules import model_calls, stage_sigmas
from manifests.stage import Recipe, Stage, StageKind
from reports.ledger_reads import LedgerReads

HISTORY = 30
"""The latest steps that an estimate looks at."""

LEAST_SHARE, MOST_SHARE = 0.2, 0.95
"""Of noise, where a later stage restarts: below it refines nothing, above it begins anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Seconds of one take, with where the figure comes from."""

    seconds: float
    basis: str
    """`history (30 stages)` or `guess (...)`."""


def estimate(recipe: Recipe, *, ledger: LedgerReads | None) -> Estimate:
    """Seconds of one take of this recipe on this machine, model load excluded."""
    stages = _stages_run(recipe)
    steps = sum(len(stage_sigmas(stage)) - 1 for stage in stages)
    if ledger is not None:
        seen = ledger.step_seconds(
            model_id=recipe.model_id,
            width=recipe.width,
            height=recipe.height,
            frames=recipe.frames,
        )[-HISTORY:]
        if seen:
            # A tenth more for prompt, decode and writing.
            basis = f"history ({len(seen)} stages)"
            return Estimate(seconds=1.1 * steps * median(seen), basis=basis)
    calls = sum(model_calls(stage) for stage in stages)
    seconds, basis = _guess(recipe)
    return Estimate(seconds=1.1 * calls * seconds, basis=basis)


def _stages_run(recipe: Recipe) -> tuple[Stage, ...]:
    """Every stage as often as it runs: the first one for each candidate."""
    return (*recipe.stages[:1] * recipe.candidates, *recipe.stages[1:])


def tokens(recipe: Recipe) -> int:
    """Tokens of the transformer: latent frames x patches of 16x16 pixels."""
    return ((recipe.frames - 1) // 4 + 1) * (recipe.width // 16) * (recipe.height // 16)


def disk_bytes(recipe: Recipe) -> int:
    """At most so many bytes for one take: raw 16-bit frames and float32 latents of each stage."""
    pixels = recipe.width * recipe.height * recipe.frames
    latents = ((recipe.frames - 1) // 4 + 1) * (recipe.width // 8) * (recipe.height // 8) * 32 * 4
    return 6 * pixels + latents * len(_stages_run(recipe)) + pixels


def _guess(recipe: Recipe) -> tuple[float, str]:
    count = tokens(recipe)
    if recipe.family == "pocket":
        return count * 8.0e-4, "guess (pocket model on 2 cores)"
    if recipe.family == "animatediff":
        # Counted, not measured: 2.7e-4 TFLOP for each latent pixel (17.7 for 16 frames of
        # 512x512), at 300 TFLOP a second.
        pixels = recipe.frames * (recipe.width // 8) * (recipe.height // 8)
        return pixels * 2.7e-4 / 300, "guess (arithmetic at a third of one H200)"
    if recipe.family == "ltx2":
        # Counted, not measured: TFLOP of one call of LTX-2.0 (19B), from 1,008 to 24,576 tokens.
        count = ((recipe.frames - 1) // 8 + 1) * (recipe.width // 32) * (recipe.height // 32)
        work = 4.7 + 0.0267 * count + 7.86e-7 * count**2
        return work / 300, "guess (arithmetic at a third of one H200)"
    # One forward of a 14B Wan on one H200, bf16: a fit through 5,120, 20,280 and 32,760 tokens.
    return count * (5.76e-5 + 1.26e-9 * count), "guess (14B on one H200; other cards are slower)"


def start_words(stage: Stage, index: int, start: float) -> str | None:
    """A warning where a later stage restarts at a noise level that makes no sense.

    Levels of all kinds of model are held against one scale, the share of noise.
    """
    if index == 0 or stage.kind is StageKind.SPLIT:
        return None
    share = share_of_noise(start, stage.noise)
    level = level_words(start, stage.noise)
    if share < LEAST_SHARE:
        return (
            f"stage {index + 1} restarts at sigma {level}: it refines almost nothing; "
            f"use schedule simple, or a higher denoise than {stage.denoise:g}"
        )
    if share > MOST_SHARE:
        return (
            f"stage {index + 1} restarts at sigma {level}: it throws away what the stages "
            "before it made; use a lower denoise"
        )
    return None
