"""One take's way down the memory ladder: which rungs it begins with, and which one is next."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from render.errors import OutOfMemory
from render.families.base import LoadedModel
from render.ladder import (
    RUNG_WORDS,
    Phase,
    Rung,
    allowed_rungs,
    known_rungs,
    next_rung,
    pixel_rungs,
    rung_words,
)
from render.memory import is_out_of_memory, release
from render.take import Take

Key = tuple[str, int, int, int]
"""Model, width, height, frames: what decides how much memory a take needs."""


class Rungs:
    """What takes of this process needed before, by model and size."""

    def __init__(self) -> None:
        self._learned: dict[Key, set[str]] = {}

    def known(self, take: Take) -> set[str]:
        """Names of the rungs that such a take needed."""
        return set(self._learned.get(_key(take), ()))

    def learn(self, take: Take, rung: Rung) -> None:
        """Remember it, so that the next take begins with it."""
        self._learned.setdefault(_key(take), set()).add(rung.value)


class Descent:
    """The rungs of one take."""

    def __init__(self, take: Take, learned: Rungs, *, card: str) -> None:
        self._take, self._learned = take, learned
        self._allowed = allowed_rungs(take.recipe.concessions, on_card=take.device.type == "cuda")
        gang = take.order.gang
        # A rank knows nothing of what the others learned: all keep to what they are told.
        names = (
            {*learned.known(take), *take.order.rungs.get(card, ())}
            if gang is None
            else set(gang.rungs)
        )
        self.taken = list(known_rungs(names, allowed=self._allowed))
        """In force, in the order in which they were taken."""
        self._begun_with = len(self.taken)

    def settle(self, model: LoadedModel) -> None:
        """Have the model keep to the rungs that are taken."""
        self._take.in_force |= set(pixel_rungs(self.taken))
        room = self._take.order.room
        parts = model.components.items()
        beside = {part: room[name] for name, part in parts if name in room}
        for residence in model.residences:
            residence.begin(self.taken, room=beside)

    @contextmanager
    def decoding(self, model: LoadedModel) -> Iterator[None]:
        """Decode in tiles inside the block, where that rung is taken."""
        if Rung.TILING not in self.taken:
            yield
            return
        model.tile_decode(on=True)
        try:
            yield
        finally:
            model.tile_decode(on=False)

    def step_down(self, error: Exception) -> None:
        """Take the next rung that eases what ran out of memory; raises where none is left.

        Raises:
            OutOfMemory: every rung that the recipe allows is taken; or the take has a gang, whose
                ranks can only step down together: who sends it does that.
            Exception: `error` itself, when it is another failure.
        """
        if not is_out_of_memory(error):
            raise error
        gang = self._take.order.gang
        words, doing = _first_line(error), _doing(self._take)
        if gang is not None and gang.rank > 0:
            doing = "stage"  # a rank that lends its card does nothing else
        # The frames hold the tensors that filled the memory: let them go before it is freed.
        traceback.clear_frames(error.__traceback__)
        error.__traceback__ = None
        release(self._take.device)
        self._take.count_shortages()
        phase = None if doing is None else _PHASES.get(doing.split()[0])
        rung = None if phase is None else next_rung(phase, self.taken, allowed=self._allowed)
        if rung is None or gang is not None:
            raise self._exhausted(words, doing, phase) from error
        self.taken.append(rung)
        self._learned.learn(self._take, rung)
        self._take.notes.append(f"out of memory in {doing}: {RUNG_WORDS[rung]} from there on")

    @property
    def forced(self) -> tuple[str, ...]:
        """Rungs that were taken because memory ran out, in the ladder's order."""
        forced = self.taken[self._begun_with :]
        return tuple(rung.value for rung in Rung if rung in forced)

    def in_force(self, model: LoadedModel) -> tuple[str, ...]:
        """Rungs that were taken, and those that short room brought about by itself."""
        used = {rung for residence in model.residences for rung in residence.used}
        return tuple(rung.value for rung in Rung if rung in used or rung in self.taken)

    def _exhausted(self, words: str, doing: str | None, phase: Phase | None) -> OutOfMemory:
        taken = [rung.value for rung in Rung if rung in self.taken]
        tried = f" with {rung_words(taken)}" if taken else ""
        return OutOfMemory(
            f"{self._take.order.take_id}: out of memory on {self._take.device} in "
            f"{doing or 'load'}{tried}: {words}; render fewer frames or a smaller size, let the "
            "preset concede more (concessions:), or close other programs",
            phase="" if phase is None else phase.value,
            rungs=tuple(taken),
        )


_PHASES = {"encode": Phase.ENCODE, "stage": Phase.SAMPLE, "decode": Phase.DECODE}


def _doing(take: Take) -> str | None:
    """What the take did on the card when it failed: the stretch of work that ended last."""
    spans = [span for span in list(take.timeline) if span.on_card]
    return max(spans, key=lambda span: span.ended).kind if spans else None


def _key(take: Take) -> Key:
    recipe = take.recipe
    return (recipe.model_id, recipe.width, recipe.height, recipe.frames)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
