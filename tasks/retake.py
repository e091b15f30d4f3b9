"""The retake policy: what follows a take that failed as a picture. Pure; no clock, no disk."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from manifests.remedy import Ranges, Remedy
from manifests.stage import Recipe
from qc.scorecard import FailureClass
from tasks.remedy_choice import NO_EVIDENCE, Tally, preferred, told
from tasks.retake_purse import Purse


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A take that failed as a picture, as the policy sees it."""

    recipe: Recipe
    failure: FailureClass
    remedies: tuple[str, ...] = ()
    """Names of the remedies that led to it from the take before; none for a first take, unless
    its preset was changed for the night."""


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
DIALS = ("cfg", "denoise", "steps")
"""Numbers of a stage that remedies turn."""


def decide(
    attempts: Sequence[Attempt],
    *,
    remedies: Mapping[str, Sequence[Remedy]],
    ranges: Ranges,
    max_takes: int,
    asked: Recipe | None = None,
    blamed: int | None = None,
    evidence: Mapping[str, Tally] = NO_EVIDENCE,
    purse: Purse | None = None,
) -> Retake | Hold:
    """What follows these failed attempts (at least one, in order).

    The remedies of the last failure's class are tried in their order, or in the order that
    `evidence` (remedy -> how it did before) prefers. Passed over is what was tried on this shot
    before, what would give a recipe that was rendered before, and what would take back a change
    made on the way here from `asked` (the sheet's own recipe; None: the first attempt's). Behind a
    new seed the rules of the table have their turn. When a class has none left a new seed is
    taken, unless no seed mends it. A class with an empty list is held at once.

    `blamed` is the stage (0-based) that was measured to break the picture: the remedy then changes
    this stage alone, or takes a new seed. `purse` is what the night has left for retakes.
    """
    last, take = attempts[-1], len(attempts) + 1
    spoken = _spoken(last.failure)
    if take > max_takes:
        return Hold(words=f"all {max_takes} takes failed")
    listed = remedies.get(last.failure, (NEW_SEED,))
    if not listed:
        return Hold(words=f"{spoken} is nothing that another take mends")
    by_seed = () if last.failure in NOT_BY_SEED else (NEW_SEED,)
    history = [asked or attempts[0].recipe, *(attempt.recipe for attempt in attempts)]
    seen = {recipe.fingerprint for recipe in history}
    only = blamed if len(last.recipe.stages) > 1 else None
    offers: dict[str, tuple[Remedy, Recipe]] = {}
    for remedy in _in_turn((*listed, *by_seed), attempts, only=only):
        recipe = remedy.apply(last.recipe, ranges=ranges, take=take, only=only)
        if recipe.fingerprint not in seen and not undoes(history, recipe):
            offers.setdefault(remedy.name, (remedy, recipe))
    if not offers:
        assert not by_seed, "a new seed always gives a recipe that was not rendered before"
        return Hold(words=f"{spoken}: the recipe concedes nothing more")
    if purse is not None and (spent := purse.spent) is not None:
        return Hold(words=f"{spoken}: {spent}")
    key = f"{attempts[0].recipe.fingerprint}/{take}/{last.failure}"
    names = _choices(offers, attempts)
    name = preferred(names, evidence, key=key)
    remedy, recipe = offers[name]
    return Retake(
        recipe=recipe,
        remedy=remedy,
        words=f"{spoken}: {remedy.words}{difference(last.recipe, recipe)}"
        + _brought_in(last.recipe, recipe, ranges)
        + told(
            evidence,
            name,
            failure=spoken,
            preset=recipe.preset,
            passed=None if name == names[0] else offers[names[0]][0],
        ),
    )


def _choices(offers: Mapping[str, tuple[Remedy, Recipe]], attempts: Sequence[Attempt]) -> list[str]:
    """The offers to choose from. Directly behind a new seed only rules, if there is one."""
    names = list(offers)
    if _seed_was_new(attempts):
        return [name for name in names if offers[name][0].seed is None] or names
    return names


def _in_turn(
    listed: Sequence[Remedy], attempts: Sequence[Attempt], *, only: int | None
) -> Iterator[Remedy]:
    """The remedies that may be tried: not those that were, nor those aimed at another stage."""
    tried = {name for attempt in attempts for name in attempt.remedies}
    for remedy in listed:
        if remedy.name in tried and remedy.seed is None:
            continue
        if only is None or not remedy.change or remedy.reaches(only):
            yield remedy


def _seed_was_new(attempts: Sequence[Attempt]) -> bool:
    return len(attempts) > 1 and attempts[-1].recipe.seed != attempts[-2].recipe.seed


def undoes(history: Sequence[Recipe], after: Recipe) -> bool:
    """Whether `after` turns a dial of a stage back that was turned on the way through `history`."""
    turned = {turn for pair in itertools.pairwise(history) for turn in _turns(*pair)}
    return any((index, name, not up) in turned for index, name, up in _turns(history[-1], after))


def _brought_in(before: Recipe, after: Recipe, ranges: Ranges) -> str:
    """Words where a dial that the sheet put outside the preset's range was brought to its edge,
    which may be further than the remedy's own words say."""
    for index, name, up in _turns(before, after):
        edge = ranges[name][0 if up else 1] if name in ranges else None
        if edge is not None and getattr(after.stages[index], name) == edge:
            was = getattr(before.stages[index], name)
            if was < edge if up else was > edge:
                return ", to the edge of the preset's range"
    return ""


def _turns(before: Recipe, after: Recipe) -> Iterator[tuple[int, str, bool]]:
    """(stage, dial, whether it went up) for every dial that was turned."""
    for index, (old, new) in enumerate(zip(before.stages, after.stages, strict=False)):
        for name in DIALS:
            was, now = getattr(old, name), getattr(new, name)
            if was != now:
                yield index, name, now > was


def gives_up(recipe: Recipe, remedies: Mapping[str, Sequence[Remedy]]) -> bool:
    """Whether the recipe concedes anything of its format that a smaller take could be made of."""
    listed = remedies.get(FailureClass.MEMORY, ())
    return any(remedy.apply(recipe, ranges={}, take=0) != recipe for remedy in listed)


def _spoken(failure: FailureClass) -> str:
    return failure.value.replace("_", " ")


def difference(before: Recipe, after: Recipe) -> str:
    """What changed, in words behind a remedy's: ` (stage 2 denoise 0.45 -> 0.35)`; may be empty."""
    changes = []
    for index, (old, new) in enumerate(zip(before.stages, after.stages, strict=False), start=1):
        for name in DIALS:
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
