"""Remedy: the change that turns one recipe into the next. Read from a table, applied purely."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from manifests.families import FAMILIES
from manifests.stage import Concession, Recipe, Stage, StageKind

Ranges = Mapping[str, tuple[float, float]]
"""Field -> (least, most) that a preset allows its remedies: `cfg`, `denoise`, `steps`."""

Field_ = Literal["cfg", "denoise", "steps"]


class _Change(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    add: float | None = None
    scale: float | None = None
    set_: Annotated[float | None, Field(alias="set")] = None

    def apply(self, value: float) -> float:
        if self.set_ is not None:
            return self.set_
        return value * (self.scale if self.scale is not None else 1.0) + (self.add or 0.0)


class Remedy(BaseModel):
    """One change of a recipe, by name, with the words that a person reads."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """Short and stable: outcomes are recorded under it."""
    words: str
    """For a person: `CFG down by a third in every stage`."""
    stages: Literal["all", "first", "later", "last"] = "all"
    change: dict[Field_, _Change] = {}
    drop: Literal["last"] | None = None
    frames: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the frames that is kept, down to the family's next count (4n+1)."""
    size: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of width and height that is kept, down to the next size the model can make."""
    needs: Concession | None = None
    """What the recipe must concede for it; without that the remedy changes nothing."""
    seed: Literal["new"] | None = None
    precision: Literal["float32"] | None = None
    """Of everything, the VAE included."""
    vae_precision: Literal["float32"] | None = None
    """Of the VAE alone: its decode is cheap, and overflows first."""

    def reaches(self, only: int) -> bool:
        """Whether it may be aimed at stage `only` (0-based): what is meant for the first stage
        changes no other, and what is meant for later ones leaves the first."""
        return self.stages == "all" or (self.stages == "first") == (only == 0)

    def apply(
        self, recipe: Recipe, *, ranges: Ranges, take: int, only: int | None = None
    ) -> Recipe:
        """The recipe of take number `take`, every value that is turned clamped to `ranges`.

        With `only` its dials are turned in that stage (0-based), if it reaches it, and those of
        the stages before stay; what is meant for all stages is turned in the later ones too, which
        are sampled anew in any case. Returns an equal recipe where the remedy changes nothing.
        """
        if self.needs is not None and self.needs not in recipe.concessions:
            return recipe
        stages = tuple(
            self._changed(stage, ranges)
            if self._meant(index, len(recipe.stages), only=only)
            else stage
            for index, stage in enumerate(recipe.stages)
        )
        # The last part of a split schedule takes the noise out: it cannot be left out.
        if self.drop == "last" and len(stages) > 1 and stages[-1].kind is StageKind.RENOISE:
            stages = stages[:-1]
        recipe = replace(recipe, stages=stages)
        if self.frames is not None:
            recipe = fewer_frames(recipe, self.frames)
        if self.size is not None:
            recipe = smaller(recipe, self.size)
        if self.precision is not None:
            recipe = replace(recipe, precision=self.precision, vae_precision=self.precision)
        if self.vae_precision is not None:
            recipe = replace(recipe, vae_precision=self.vae_precision)
        if self.seed == "new":
            recipe = recipe.with_seed(next_seed(recipe.seed, take))
        return recipe

    def _meant(self, index: int, count: int, *, only: int | None) -> bool:
        if only is not None:
            return (index == only and self.reaches(only)) or (index > only and self.stages == "all")
        match self.stages:
            case "all":
                return True
            case "first":
                return index == 0
            case "later":
                return index > 0
            case "last":
                return index == count - 1

    def _changed(self, stage: Stage, ranges: Ranges) -> Stage:
        cfg, denoise, steps = stage.cfg, stage.denoise, float(stage.steps)
        if (change := self.change.get("cfg")) and stage.cfg != 1.0:
            # CFG 1 means distilled: such a model has no guidance to turn.
            cfg = _clamp(round(change.apply(cfg), 3), ranges.get("cfg"), cfg)
        if stage.kind is StageKind.RENOISE and stage.denoise < 1.0 and "denoise" in self.change:
            wanted = round(self.change["denoise"].apply(denoise), 3)
            denoise = _clamp(wanted, ranges.get("denoise"), denoise)
        # NOTE: the steps of a split stage are those of a schedule that several stages share.
        if stage.kind is StageKind.RENOISE and "steps" in self.change:
            wanted = round(self.change["steps"].apply(steps))
            steps = _clamp(wanted, ranges.get("steps"), steps)
        return replace(stage, cfg=cfg, denoise=denoise, steps=int(steps))


def fewer_frames(recipe: Recipe, share: float) -> Recipe:
    """The recipe with at most `share` of its frames, a count that its family renders; the same
    where that would be fewer than the family's least."""
    family = FAMILIES[recipe.family]
    most = int(recipe.frames * share)
    counts = range(most, family.min_frames - 1, -1)
    frames = next((n for n in counts if family.snap_frames(n) == n), recipe.frames)
    return replace(recipe, frames=frames)


def smaller(recipe: Recipe, share: float) -> Recipe:
    """The recipe with at most `share` of its width and height, nearly of the same shape; the
    same where a side would be less than the family's least."""
    family = FAMILIES[recipe.family]
    # What divides both sides is a multiple that the model was asked for before, so it can.
    multiple = max(math.gcd(recipe.width, recipe.height, _SIZE_STEP), family.size_multiple)
    width, height = (
        int(side * share) // multiple * multiple for side in (recipe.width, recipe.height)
    )
    if min(width, height) < family.min_size:
        return recipe
    return replace(recipe, width=width, height=height)


_SIZE_STEP = 32
"""Sizes go down in steps of at most this many pixels."""


def next_seed(seed: int, take: int) -> int:
    """Another seed, always the same one for the same seed and take: nights can be repeated."""
    digest = hashlib.sha256(f"{seed}/{take}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@cache
def load_remedies() -> Mapping[str, tuple[Remedy, ...]]:
    """The bundled table: class of failure -> remedies in order."""
    text = (Path(__file__).parent / "remedies.yaml").read_text(encoding="utf-8")
    return TypeAdapter(dict[str, tuple[Remedy, ...]]).validate_python(yaml.safe_load(text))


def _clamp(value: float, limits: tuple[float, float] | None, before: float) -> float:
    """`value` inside `limits`; where `before` lies outside of them, never further out than it was.

    A sheet may ask for more than the preset's range (CFG 25 where 9 is the most). A remedy that
    turns it down ends at 9 at the latest: a step at a time (25, 16.7, 8.3) the shot's takes are
    used up before it is anywhere near. One that would turn it up leaves it.
    """
    if limits is None:
        return value
    least, most = limits
    if (before > most and value >= before) or (before < least and value <= before):
        return before
    return min(max(value, least), most)
