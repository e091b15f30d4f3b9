"""Remedy: the change that turns one recipe into the next. Read from a table, applied purely."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from manifests.stage import Recipe, Stage, StageKind

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
    seed: Literal["new"] | None = None
    precision: Literal["float32"] | None = None
    """Of everything, the VAE included."""
    vae_precision: Literal["float32"] | None = None
    """Of the VAE alone: its decode is cheap, and overflows first."""

    def apply(self, recipe: Recipe, *, ranges: Ranges, take: int) -> Recipe:
        """The recipe of take number `take`, every value clamped to `ranges`.

        Returns an equal recipe where the remedy changes nothing.
        """
        stages = tuple(
            self._changed(stage, ranges) if self._meant(index, len(recipe.stages)) else stage
            for index, stage in enumerate(recipe.stages)
        )
        if self.drop == "last" and len(stages) > 1:
            stages = stages[:-1]
        recipe = replace(recipe, stages=stages)
        if self.precision is not None:
            recipe = replace(recipe, precision=self.precision, vae_precision=self.precision)
        if self.vae_precision is not None:
            recipe = replace(recipe, vae_precision=self.vae_precision)
        if self.seed == "new":
            recipe = recipe.with_seed(next_seed(recipe.seed, take))
        return recipe

    def _meant(self, index: int, count: int) -> bool:
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
    """`value` inside `limits`, never moved further from the limits than `before` was.

    A sheet may ask for more than the preset's range (CFG 9 where 5 is the most); a remedy
    then moves toward the range and is not thrown back to where it came from.
    """
    if limits is None:
        return value
    least, most = limits
    return min(max(value, min(least, before)), max(most, min(value, before)))
