"""A sheet that names AnimateDiff, from studio.yaml to the clip: checked, planned, rendered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flows.show import stage_words
from manifests.load import load_manifest
from manifests.settings import load_studio
from render.clip import clip_info
from render.order import RenderOrder
from tasks.footprints import footprint_order
from tasks.model_ref import model_ref
from tasks.plan import make_plan

STUDIO = """\
default_model: toon
models:
  toon: {family: animatediff, location: models/image, motion_adapter: models/motion,
         precision: float32}
"""


@pytest.mark.slow
def test_a_sheet_is_checked_planned_and_rendered(tmp_path: Path) -> None:
    """Paths are the studio's, levels the motion modules', and what was planned is rendered."""
    from tiny_animatediff import build_tiny_animatediff

    from render.diffusers_backend import DiffusersBackend
    from render.families.registry import measure_footprint

    build_tiny_animatediff(tmp_path / "models")
    (tmp_path / "studio.yaml").write_text(STUDIO)
    sheet = tmp_path / "shots.csv"
    sheet.write_text("shot,prompt,preset,width,height,frames\n010,a fox runs,two-stage,256,256,8\n")
    studio = load_studio(tmp_path)
    manifest = load_manifest(sheet, studio=studio)
    assert not manifest.faults

    plan = make_plan([manifest], studio=studio, ledger=None)
    (line,) = plan.lines
    assert not line.warnings
    first, second = line.to_dict()["stages"]
    assert first["start_sigma"] == pytest.approx(25.146, abs=1e-3)
    assert second["start_sigma"] == pytest.approx(1.314, abs=1e-3)
    assert second["start_share"] == pytest.approx(0.796, abs=1e-3)
    assert stage_words(line)[1] == (
        "2 renoise 25 steps cfg 7.5 denoise 0.45 dpmpp_2m/karras from σ 1.314 (80 % noise)"
    )

    recipe = line.shot.recipe
    needs = measure_footprint(footprint_order(recipe, studio.models))
    assert needs is not None
    assert set(needs.parts) == {"unet", "text_encoder", "vae"}

    quick = tuple(replace(stage, steps=2) for stage in recipe.stages)
    order = RenderOrder(
        take_id="shots/010/t1",
        shot="010",
        take=1,
        recipe=replace(recipe, stages=quick),
        model=model_ref("toon", studio.models["toon"]),
        source=None,
        folder=tmp_path / "take",
    )
    receipt = DiffusersBackend().render(order, tell=lambda progress: None)
    info = clip_info(receipt.clip)
    assert (info.frames, info.width, info.height) == (8, 256, 256)
