"""A new family is one file and one line: docs/families.md followed, from a sheet to a clip."""

from __future__ import annotations

from pathlib import Path

import pytest
from plain_render import render
from toy_family import DESCRIBED, TOY, WEIGHTS, build_toy

from manifests.families import FAMILIES as DESCRIPTIONS
from manifests.load import load_manifest
from manifests.settings import Studio, load_studio
from qc.video import Video
from render.diffusers_backend import DiffusersBackend
from render.errors import ModelUnavailable
from render.families.registry import FAMILIES
from render.order import ModelRef, RenderOrder

pytestmark = pytest.mark.usefixtures("one_thread")

PRESET = """
title: Toy
description: Two stages of a toy.
family: toy
width: 32
height: 24
frames: 5
fps: 8
stages:
- {kind: renoise, steps: 3, cfg: 2.0, shift: 3.0}
- {kind: renoise, steps: 2, cfg: 1.0, shift: 3.0, denoise: 0.4, sampler: dpmpp_2m}
"""


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    """A studio with a toy, which sheets know by its line in the registry."""
    monkeypatch.setitem(DESCRIPTIONS, "toy", DESCRIBED)
    build_toy(tmp_path / "models" / "toy")
    (tmp_path / "presets" / "toy").mkdir(parents=True)
    (tmp_path / "presets" / "toy" / "two.yaml").write_text(PRESET)
    (tmp_path / "studio.yaml").write_text(
        "presets_dir: presets\nmodels: {toy-1: {family: toy, location: models/toy}}\n"
    )
    return load_studio(tmp_path)


def _order(studio: Studio, take: str) -> RenderOrder:
    sheet = studio.root / "shots.csv"
    sheet.write_text("shot,prompt,model,preset\n001,a red ball,toy-1,toy/two\n")
    manifest = load_manifest(sheet, studio=studio)
    assert manifest.faults == ()
    shot = manifest.shots[0]
    spec = studio.models[shot.recipe.model]
    return RenderOrder(
        take_id=f"shots/001/{take}",
        shot="001",
        take=1,
        recipe=shot.recipe,
        model=ModelRef(name="toy-1", family=spec.family, location=spec.location),
        source=None,
        folder=studio.root / "takes" / take,
        store=studio.store_dir,
    )


def test_a_family_of_ones_own_renders_from_a_sheet(studio: Studio) -> None:
    """Sheet, preset, stages, checkpoints, store, decode and clip; again, it is the same take."""
    backend = DiffusersBackend(families={**FAMILIES, "toy": TOY})
    first = render(_order(studio, "t1"), backend)
    assert [stage.steps for stage in first.stages] == [3, 2]
    with Video(first.clip) as clip:
        assert sum(1 for _ in clip.frames()) == 5
    again = render(_order(studio, "t2"), backend)
    assert again.clip_sha256 == first.clip_sha256
    assert len(again.reused) >= 2


def test_without_its_line_a_family_is_refused_by_name(studio: Studio) -> None:
    """The registry that ships does not know it, and says which it knows."""
    with pytest.raises(ModelUnavailable, match=r"no family 'toy'; write one of animatediff"):
        render(_order(studio, "t1"), DiffusersBackend())


def test_its_folder_is_checked_as_any_other(studio: Studio) -> None:
    """A missing weight file is found by the sheet's check, with no code of the family's own."""
    (studio.root / "models" / "toy" / "vae" / WEIGHTS).unlink()
    sheet = studio.root / "shots.csv"
    sheet.write_text("shot,prompt,model,preset\n001,a red ball,toy-1,toy/two\n")
    faults = load_manifest(sheet, studio=studio).faults
    assert "vae holds no .safetensors weights" in faults[0].problem
