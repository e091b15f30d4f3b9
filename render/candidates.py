"""Several first stages of one take, of which the best is gone on with.

Each candidate is the plain take of its own seed (`manifests.candidates`), with its stage 1 in a
folder `candidate-<n>` of the take's folder. When all have been looked at, the choice is written
down in `candidates.json`, the chosen stage becomes the take's own, and the others are let go (the
store still has them). A kill before that costs at most the candidate at work; after it, nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from manifests.candidates import candidate_seeds
from manifests.door import remove_through
from manifests.files import link_or_copy, remove_leftovers, write_atomic
from manifests.schedules import stage_sigmas
from manifests.stage import Recipe
from render.checkpoint import checkpoint_path
from render.errors import TakeDoomed
from render.look import Opinion
from render.looking import look_receipt
from render.order import LookReceipt, StageReceipt
from render.take import Take

NAME = "candidates.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One first stage, computed and looked at."""

    take: Take
    receipt: StageReceipt
    opinion: Opinion


FirstStage = Callable[[Take], tuple[StageReceipt, Opinion | None]]
"""Renders stage 1 of a take, or finds it, and looks at it."""


def choose(take: Take, first_stage: FirstStage, plan: Callable[[Take], str]) -> StageReceipt | None:
    """Settle which candidate `take` goes on with; the receipt of its stage 1 if it ran just now.

    `plan` gives the key of a take's stage 1. Where candidates cannot be told apart the first one
    is taken, and the receipt says why.

    Raises:
        TakeDoomed: every one of them is lost; of the class of the least bad.
    """
    recipe = take.order.recipe
    why = _why_not(take)
    seeds = candidate_seeds(recipe.seed, 1 if why else recipe.candidates)
    take.chosen = _plain(recipe, seeds[0])
    if why:
        take.notes.append(f"candidates {recipe.candidates}: only the first ({why})")
        return None
    subs = [_candidate(take, number, seed) for number, seed in enumerate(seeds, start=1)]
    plans = [plan(sub) for sub in subs]
    looks = _kept(take.order.folder, plans)
    if looks is None:
        return _choose(take, subs, plans, first_stage)
    take.looks = looks
    take.chosen = _plain(recipe, next(look.seed for look in looks if look.chosen))
    return None


def _choose(
    take: Take, subs: Sequence[Take], plans: Sequence[str], first_stage: FirstStage
) -> StageReceipt | None:
    """Render and look at all of them, take the best and write the choice down."""
    found: list[Candidate] = []
    for sub in subs:
        receipt, opinion = first_stage(sub)
        sub.previews.finish(())
        take.notes += [note for note in sub.notes if note not in take.notes]
        take.reused += [what for what in sub.reused if what not in take.reused]
        if opinion is None:
            take.notes.append(f"candidates {len(subs)}: only the first (they cannot be looked at)")
            return _adopt(take, subs[0])
        found.append(Candidate(take=sub, receipt=receipt, opinion=opinion))
    best = min(found, key=lambda one: (one.opinion.failure is not None, one.opinion.rank))
    take.looks = tuple(
        look_receipt(one.take, 0, one.opinion, chosen=one is best, seconds=one.receipt.seconds)
        for one in found
    )
    if best.opinion.failure is not None:
        raise TakeDoomed(
            f"all {len(found)} candidates stopped after stage 1; the least bad one "
            f"(seed {best.take.recipe.seed}): {best.opinion.words}",
            failure=best.opinion.failure,
            told=best.opinion.told,
        )
    _adopt(take, best.take)
    _write(take.order.folder, plans, take.looks)
    for one in found:
        remove_through(checkpoint_path(one.take.order.folder, 0))
    return None if best.receipt.resumed else best.receipt


def _adopt(take: Take, sub: Take) -> StageReceipt | None:
    """Make the candidate's stage 1 the take's own."""
    take.chosen = _plain(take.order.recipe, sub.recipe.seed)
    here, there = checkpoint_path(sub.order.folder, 0), checkpoint_path(take.order.folder, 0)
    link_or_copy(here, there)
    return None


def _why_not(take: Take) -> str:
    """Why its candidates cannot be told apart; empty when they can."""
    if take.look is None:
        return "nobody looks at them"
    if stage_sigmas(take.order.recipe.stages[0])[-1] > 0:
        return "stage 1 leaves noise, which hides what it made"
    return ""


def _plain(recipe: Recipe, seed: int) -> Recipe:
    return replace(recipe, seed=seed, candidates=1)


def _candidate(take: Take, number: int, seed: int) -> Take:
    """A take of its own in a folder of its own, on the take's time and with its store."""
    folder = take.order.folder / f"candidate-{number}"
    folder.mkdir(exist_ok=True)
    remove_leftovers(folder)
    order = replace(take.order, recipe=_plain(take.order.recipe, seed), folder=folder)
    sub = Take(order, take.tell, take.device, take.source_sha256, look=take.look)
    sub.in_force, sub.speed, sub.timeline = take.in_force, take.speed, take.timeline
    sub.store, sub.cadence = take.store, take.cadence
    return sub


def _write(folder: Path, plans: Sequence[str], looks: Sequence[LookReceipt]) -> None:
    plain = [
        {**asdict(look), "preview": None if look.preview is None else str(look.preview)}
        for look in looks
    ]
    text = json.dumps({"plans": list(plans), "looks": plain}, indent=2)
    write_atomic(folder / NAME, text + "\n")


def _kept(folder: Path, plans: Sequence[str]) -> tuple[LookReceipt, ...] | None:
    """The choice that was written down for these very candidates; None: choose anew."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        told: dict[str, Any] = json.loads((folder / NAME).read_text(encoding="utf-8"))
        if told["plans"] == list(plans):
            looks = tuple(
                LookReceipt(**{**look, "preview": Path(look["preview"])}) for look in told["looks"]
            )
            return looks if any(look.chosen for look in looks) else None
    return None
