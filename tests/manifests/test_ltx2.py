"""LTX-2 in a sheet: one model for text and stills, told the frame rate, sound left aside."""

from __future__ import annotations

import pytest

from manifests.errors import BadInput
from manifests.families import FAMILIES
from manifests.load import load_manifest
from manifests.models import ModelSpec, check_model
from manifests.preset import load_preset
from manifests.refusal import Refusal
from manifests.settings import load_studio


def ltx2(folder, **more):
    return ModelSpec(family="ltx2", location=str(folder), **more)


@pytest.mark.parametrize("pipeline", ["LTX2Pipeline", "LTX2ImageToVideoPipeline"])
def test_a_folder_serves_both_tasks(pipeline, model_folder):
    """Whatever class it names; what makes sound, prompts and lengths need not be there."""
    unused = {part: ["diffusers", "X"] for part in FAMILIES["ltx2"].unused_parts}
    model = check_model("x", ltx2(model_folder(pipeline=pipeline, **unused)))
    assert (model.task, model.precision, model.size_multiple) == ("ti2v", "bfloat16", 32)
    assert model.boundary is None


def test_its_task_is_not_for_the_studio_to_say(model_folder):
    """A task that narrows what the weights do is refused."""
    with pytest.raises(Refusal, match="task i2v is none of LTX-2, which renders from text or a"):
        check_model("x", ltx2(model_folder(pipeline="LTX2Pipeline"), task="i2v"))


def test_rates_lengths_and_sizes_are_fitted_or_refused(tmp_path, model_folder, still):
    """8n+1 frames, sides in multiples of 32, at most 60 frames a second and 20 seconds."""
    folder = model_folder(pipeline="LTX2Pipeline")
    studio = load_studio(
        tmp_path / "root", models={"ltx": {"family": "ltx2", "location": str(folder)}}
    )
    sheet = tmp_path / "root" / "shots.csv"
    still(sheet.parent / "fox.png", size=(1200, 800))
    sheet.write_text(
        "shot,prompt,source,model,preset,frames,fps\n"
        "010,a fox runs,,ltx,single,,\n"
        "020,a fox runs,fox.png,ltx,two-stage,100,25\n"
        "030,a fox runs,,ltx,draft,,96\n"
        "040,a fox runs,,ltx,draft,481,23.976\n"
        "050,a fox runs,,ltx,draft,481,24\n"
    )
    manifest = load_manifest(sheet, studio=studio)
    fast, long = manifest.faults
    assert (fast.row, fast.column) == (4, "fps")
    assert fast.problem == "96 frames a second are more than the 60 that LTX-2 knows motion at"
    assert fast.remedy == "write 60 or less"
    assert (long.row, long.column) == (5, "fps")
    assert long.problem == "481 frames at 23.976 a second last 20.02 seconds, and LTX-2 knows 20"
    assert long.remedy == "write at least 24, or fewer frames"
    text, film, _ = (shot.recipe for shot in manifest.shots)
    assert (text.frames, text.fps, text.source_sha256) == (121, 24.0, None)
    assert (film.frames, film.fps) == (105, 25.0)
    assert (film.width % 32, film.height % 32) == (0, 0)


def test_a_preset_keeps_to_the_rates_its_family_knows(tmp_path):
    """A preset of 120 frames a second is a fault with its remedy."""
    own = tmp_path / "presets" / "ltx2" / "fast.yaml"
    own.parent.mkdir(parents=True)
    own.write_text(
        "title: Fast\nfamily: ltx2\nwidth: 768\nheight: 512\nframes: 121\nfps: 120\n"
        "stages: [{kind: renoise, steps: 8, cfg: 4, shift: 7.77}]\n"
    )
    studio = load_studio(tmp_path / "root", presets_dir=own.parents[1])
    with pytest.raises(BadInput) as wrong:
        load_preset("ltx2", "fast", studio)
    [fault] = wrong.value.faults
    assert (fault.column, fault.remedy) == ("fps", "write 60 or less")
