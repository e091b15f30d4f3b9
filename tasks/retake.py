"""The retake policy: what follows a take that failed as a picture. Pure; no clock, no disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from manifests.remedy import Ranges, Remedy
from manifests.stage import Recipe
from qc.scorecard import FailureClass


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A take that failed as a picture, as the policy sees it."""

    recipe: Recipe
    failure: FailureClass
    remedy: str | None
    """Name of the remedy that led to it; None for the first take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retake:
    """Make another take, so."""

    recipe: Recipe
    remedy: Remedy
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Make no other take: a person decides."""

    words: str


NOT_BY_SEED = frozenset({FailureClass.MEMORY})
"""Classes that no other seed mends: the same recipe with it needs the same."""
NEW_SEED = Remedy(name="new-seed", words="a new seed", seed="new")


def decide(
    attempts: Sequence[Attempt],
    *,
    remedies: Mapping[str, Sequence[Remedy]],
    ranges: Ranges,
    max_takes: int,
) -> Retake | Hold:
    """What follows these failed attempts (at least one, in order).

    The remedies of the last failure's class are tried in their order; one that was tried on
    this shot before, or that would give a recipe that was rendered before, is passed over.
    When the class has none left, a new seed is taken, unless no seed mends it. A class with an
    empty list is one that no recipe can mend, and is held at once.
    """
    last, take = attempts[-1], len(attempts) + 1
    if take > max_takes:
        return Hold(words=f"all {max_takes} takes failed")
    listed = remedies.get(last.failure, (NEW_SEED,))
    if not listed:
        return Hold(words=f"{_spoken(last.failure)} is nothing that another take mends")
    tried = {attempt.remedy for attempt in attempts}
    seen = {attempt.recipe.fingerprint for attempt in attempts}
    by_seed = () if last.failure in NOT_BY_SEED else (NEW_SEED,)
    for remedy in (*listed, *by_seed):
        if remedy.name in tried and remedy.seed is None:
            continue
        recipe = remedy.apply(last.recipe, ranges=ranges, take=take)
        if recipe.fingerprint not in seen:
            return Retake(
                recipe=recipe,
                remedy=remedy,
                words=f"{_spoken(last.failure)}: {remedy.words}{_difference(last.recipe, recipe)}",
            )
    assert not by_seed, "a new seed always gives a recipe that was not rendered before"
    return Hold(words=f"{_spoken(last.failure)}: the recipe concedes nothing more")


def gives_up(recipe: Recipe, remedies: Mapping[str, Sequence[Remedy]]) -> bool:
    """Whether the recipe concedes anything of its format that a smaller take could be made of."""
    listed = remedies.get(FailureClass.MEMORY, ())
    return any(remedy.apply(recipe, ranges={}, take=0) != recipe for remedy in listed)


def _spoken(failure: FailureClass) -> str:
    return failure.value.replace("_", " ")


def _difference(before: Recipe, after: Recipe) -> str:
    changes = []
    for index, (old, new) in enumerate(zip(before.stages, after.stages, strict=False), start=1):
        for name in ("cfg", "denoise", "steps"):
            was, now = getattr(old, name), getattr(new, name)
            if was != now:
                changes.append(f"stage {index} {name} {was:g} -> {now:g}")
    if (before.width, before.height) != (after.width, after.height):
        changes.append(f"{before.width}x{before.height} -> {after.width}x{after.height}")
    if before.frames != after.frames:
        changes.append(f"frames {before.frames} -> {after.frames}")
    if len(before.stages) != len(after.stages):
        changes.append(f"stages {len(before.stages)} -> {len(after.stages)}")
    for name in ("precision", "vae_precision"):
        was, now = getattr(before, name), getattr(after, name)
        if was != now:
            changes.append(f"{name} {was} -> {now}".replace("_", " ").replace("vae", "VAE"))
    if before.seed != after.seed:
        changes.append(f"seed {before.seed} -> {after.seed}")
    return f" ({'; '.join(changes)})" if changes else ""
