"""When many shots of a preset fail alike in a night, the preset is changed once, for the rest.

Re-seeding every shot would pay for the same mistake again and again. The rule is a pure function;
what it decided is an event in the ledger, and the first takes of shots not yet begun are made of
what the events say, before and after a crash.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from manifests.remedy import Ranges, Remedy, load_remedies
from manifests.stage import Recipe
from qc.scorecard import FailureClass
from reports.records import EventKind
from tasks.desk import Desk, Job
from tasks.retake import difference, undoes

LEAST_JUDGED = 6
"""Shots of a preset that a night must have judged before anything is said of them all."""
SHARE = 0.3
"""Of these, how many fail with one class where the preset is at fault and not the shot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PresetChange:
    """What is changed for all shots of a preset that are not yet begun, and why."""

    failure: FailureClass
    remedy: Remedy
    failed: int
    judged: int


def due_change(
    firsts: Sequence[FailureClass | None],
    *,
    recipe: Recipe,
    made: Sequence[tuple[str, Remedy]],
    remedies: Mapping[str, Sequence[Remedy]],
    ranges: Ranges,
) -> PresetChange | None:
    """The change that these first takes of a preset's shots ask for; None: none (yet).

    `firsts` is how each failed (None: approved), `made` the changes of this night by class, in
    order, `recipe` a shot's as the sheet asked for it. The class that fails most comes first.
    """
    if len(firsts) < LEAST_JUDGED:
        return None
    counts = Counter(failure for failure in firsts if failure is not None)
    done = {failure for failure, _ in made}
    for failure, failed in counts.most_common():
        if failed < SHARE * len(firsts) or failure in done:
            continue
        remedy = _first_that_changes(
            remedies.get(failure, ()), recipe, [each for _, each in made], ranges
        )
        if remedy is not None:
            return PresetChange(failure=failure, remedy=remedy, failed=failed, judged=len(firsts))
    return None


def changed(recipe: Recipe, changes: Sequence[Remedy], *, ranges: Ranges) -> Recipe:
    """The recipe under the night's changes of its preset; none of them takes another one back."""
    history = [recipe]
    for remedy in changes:
        after = remedy.apply(history[-1], ranges=ranges, take=1)
        if not undoes(history, after):
            history.append(after)
    return history[-1]


def _first_that_changes(
    listed: Sequence[Remedy], recipe: Recipe, made: Sequence[Remedy], ranges: Ranges
) -> Remedy | None:
    """The first remedy of a class that changes how a preset renders: no seed, no smaller format."""
    before = changed(recipe, made, ranges=ranges)
    for remedy in listed:
        of_the_shot = remedy.seed is not None or remedy.needs is not None
        names: Collection[str] = [each.name for each in made]
        if of_the_shot or remedy.drop is not None or remedy.name in names:
            continue
        if changed(recipe, [*made, remedy], ranges=ranges) != before:
            return remedy
    return None


def note_preset_change(night: Desk, job: Job) -> None:
    """After a verdict over a take of `job`: change its preset for the night, if that is due."""
    asked = job.shot.recipe
    found = due_change(
        night.ledger.first_failures(night=night.night_id, preset=asked.preset),
        recipe=asked,
        made=_made(night, asked.preset),
        remedies=load_remedies(),
        ranges=ranges_of(night, asked),
    )
    if found is None:
        return
    takes = night.ledger.takes_of(job.shot_id)
    spoken = found.failure.value.replace("_", " ")
    night.ledger.event(
        kind=EventKind.PRESET_CHANGED,
        words=f"{found.failed} of {found.judged} shots of {asked.preset} failed by {spoken}: "
        f"{found.remedy.words}, for those of its shots that were not yet begun",
        night=night.night_id,
        take_id=takes[-1].take_id,
        data={
            "preset": asked.preset,
            "failure": found.failure.value,
            "remedy": found.remedy.name,
            "failed": found.failed,
            "judged": found.judged,
        },
    )


def first_recipe(night: Desk, job: Job) -> tuple[Recipe, str, dict[str, Any] | None]:
    """Recipe, words and remedy of a shot's first take: the sheet's, as its preset is tonight."""
    asked = job.shot.recipe
    made = [remedy for _, remedy in _made(night, asked.preset)]
    recipe = changed(asked, made, ranges=ranges_of(night, asked)) if made else asked
    if recipe == asked:
        return asked, "", None
    words = ", ".join(remedy.words for remedy in made)
    names = [remedy.name for remedy in made]
    return (
        recipe,
        f"{asked.preset} is changed for this night: {words}{difference(asked, recipe)}",
        {"name": names[-1], "names": names, "preset": True},
    )


def ranges_of(night: Desk, recipe: Recipe) -> Ranges:
    """What the recipe's preset lets remedies do."""
    return night.presets[recipe.preset].ranges


def _made(night: Desk, preset: str) -> list[tuple[str, Remedy]]:
    """The night's changes of a preset in order, by class."""
    table = load_remedies()
    kind = EventKind.PRESET_CHANGED
    return [
        (event.data["failure"], remedy)
        for event in night.ledger.events_of(night=night.night_id, kind=kind)
        if event.data["preset"] == preset
        for remedy in table.get(event.data["failure"], ())
        if remedy.name == event.data["remedy"]
    ]
