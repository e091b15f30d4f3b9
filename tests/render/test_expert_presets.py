"""The presets for two experts, from the sheet to the clip, on a tiny model that has two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from plain_render import render, write_lora

from manifests.load import load_manifest
from manifests.settings import Studio, load_studio
from manifests.stage import Expert, Recipe, Stage, StageKind
from render.order import ModelRef, Receipt, RenderOrder

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
LORAS = ("wan22-lightning-high", "wan22-lightning-low")


@pytest.fixture
def studio(tmp_path: Path, tiny_wan: Callable[[str], Path]) -> Studio:
    """A studio with a text-to-video model of two experts that change at 0.8, and two LoRAs."""
    (tmp_path / "loras").mkdir()
    for seed, name in enumerate(LORAS):
        path = tmp_path / "loras" / f"{name}.safetensors"
        write_lora(path, "transformer.blocks.0.attn1.to_q", width=24, seed=seed)
    spec = {"family": "wan", "location": str(tiny_wan("t2v-2.2")), "precision": "float32"}
    return load_studio(tmp_path, models={"tiny": spec}, default_model="tiny")


def _recipe(studio: Studio, preset: str) -> Recipe:
    sheet = studio.root / "shots.csv"
    sheet.write_text(f"shot,prompt,preset,width,height,frames\n010,pan left,{preset},128,128,5\n")
    manifest = load_manifest(sheet, studio=studio)
    assert manifest.faults == ()
    return manifest.shots[0].recipe


def _render(studio: Studio, recipe: Recipe, folder: str) -> Receipt:
    order = RenderOrder(
        take_id="shots/010/t1",
        shot="010",
        take=1,
        recipe=recipe,
        model=ModelRef(name="tiny", family="wan", location=studio.models["tiny"].location),
        source=None,
        folder=studio.root / folder,
    )
    return render(order)


def test_one_schedule_over_two_experts_is_the_model_left_to_itself(studio: Studio) -> None:
    """wan22-experts ends bit for bit where one stage ends that changes experts by noise level."""
    recipe = _recipe(studio, "wan22-experts")
    high, low = recipe.stages
    whole: Stage = replace(
        high, kind=StageKind.RENOISE, end_step=None, leftover_noise=False, expert=Expert.AUTO
    )
    parts = _render(studio, recipe, "parts")
    one = _render(studio, replace(recipe, stages=(whole,)), "one")
    assert [stage.steps for stage in parts.stages] == [high.end_step, 30 - low.start_step]
    assert parts.stages[0].steps > 0
    assert parts.stages[-1].latents_sha256 == one.stages[-1].latents_sha256
    assert parts.clip_sha256 == one.clip_sha256


@pytest.mark.parametrize(("preset", "steps"), [("three-sampler", [2, 4, 2]), ("lightning", [3, 1])])
def test_a_preset_with_the_studios_loras_renders(
    studio: Studio, preset: str, steps: list[int]
) -> None:
    """Cut at this model's boundary, each LoRA on in its own stages: without one it is another."""
    recipe = _recipe(studio, preset)
    with_loras = _render(studio, recipe, "with")
    assert [stage.steps for stage in with_loras.stages] == steps
    bare = replace(recipe, stages=tuple(replace(stage, loras=()) for stage in recipe.stages))
    without = _render(studio, bare, "without")
    for stage, one, other in zip(recipe.stages, with_loras.stages, without.stages, strict=True):
        assert (one.latents_sha256 == other.latents_sha256) == (not stage.loras)
