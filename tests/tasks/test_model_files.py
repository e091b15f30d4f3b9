"""From studio.yaml to the worker: a transformer in a file of its own, named once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from manifests.load import load_manifest
from manifests.models import POCKET_FOLDER
from manifests.settings import load_studio
from manifests.wan_names import original_name
from render.order import RenderOrder
from tasks.model_ref import model_ref

WEIGHTS = POCKET_FOLDER / "transformer" / "diffusion_pytorch_model.safetensors"


@pytest.mark.slow
def test_a_file_of_the_studio_is_what_the_worker_loads(tmp_path: Path) -> None:
    """The recipe names it by its hash, and other weights in it make another take."""
    from safetensors.torch import load_file, save_file

    from render.diffusers_backend import DiffusersBackend

    weights = {original_name(name): weight for name, weight in load_file(WEIGHTS).items()}
    save_file(weights, tmp_path / "one.safetensors")
    save_file(
        {**weights, "head.head.bias": weights["head.head.bias"] + 0.5},
        tmp_path / "two.safetensors",
    )
    (tmp_path / "studio.yaml").write_text(
        "models:\n"
        f"  one: {{family: pocket, location: {POCKET_FOLDER}, transformer: one.safetensors}}\n"
        f"  two: {{family: pocket, location: {POCKET_FOLDER}, transformer: two.safetensors}}\n"
    )
    Image.linear_gradient("L").resize((96, 96)).convert("RGB").save(tmp_path / "a.png")
    sheet = tmp_path / "shots.csv"
    sheet.write_text(
        "shot,source,prompt,model,preset,width,height,frames\n"
        "1,a.png,pan left,one,single,64,64,5\n2,a.png,pan left,two,single,64,64,5\n"
    )
    studio = load_studio(tmp_path)
    manifest = load_manifest(sheet, studio=studio)
    assert manifest.faults == ()
    backend, found = DiffusersBackend(), []
    for shot in manifest.shots:
        recipe = replace(
            shot.recipe, seed=1, stages=tuple(replace(s, steps=2) for s in shot.recipe.stages)
        )
        assert "+transformer:sha256:" in recipe.model_id
        order = RenderOrder(
            take_id=f"shots/{shot.id}/t1",
            shot=shot.id,
            take=1,
            recipe=recipe,
            model=model_ref(recipe.model, studio.models[recipe.model]),
            source=tmp_path / "a.png",
            folder=tmp_path / "takes" / shot.id,
        )
        found.append(backend.render(order, tell=lambda progress: None).clip_sha256)
    assert found[0] != found[1]
