"""Presets: the bundled ones are sound, and every way to get one wrong is told."""

from __future__ import annotations

import pytest

from manifests.errors import BadInput
from manifests.models import ModelSpec
from manifests.preset import list_presets, load_preset
from manifests.stage import Concession, Noise, Schedule, Speed, StageKind

GOOD = """\
title: Mine
family: pocket
width: 128
height: 128
frames: 17
fps: 8
stages:
  - {kind: renoise, steps: 12, cfg: 3, shift: 3}
  - {kind: renoise, steps: 10, cfg: 3, shift: 3, denoise: 0.4}
ranges:
  cfg: [2, 4]
"""


def test_every_bundled_preset_loads(studio):
    """Each family has a draft, a single pass, two and three stages; Wan has its experts."""
    names = {preset.qualified_name for preset in list_presets(studio)}
    common = ("draft", "single", "two-stage", "three-stage")
    assert names >= {
        *(f"{family}/{name}" for family in ("pocket", "wan") for name in common),
        *(f"wan/{name}" for name in ("wan22-experts", "three-sampler", "lightning")),
        *(f"animatediff/{name}" for name in ("draft", "anime-clip", "two-stage", "three-stage")),
        *(f"ltx2/{name}" for name in ("draft", "single", "two-stage", "distilled")),
    }


def test_bundled_presets_are_written_for_their_models(studio):
    """No karras on a flow, whole sentences, no two stages with one seed, remedies have room."""
    for preset in list_presets(studio):
        assert preset.title
        assert preset.description.endswith(".")
        for stage in preset.stages:
            assert stage.noise is not Noise.FLOW or stage.schedule is not Schedule.KARRAS
        offsets = [stage.seed_offset for stage in preset.stages]
        assert len(set(offsets)) == len(offsets)
        # A distilled model has neither guidance nor other levels to try.
        distilled = all(stage.cfg == 1.0 for stage in preset.stages)
        assert distilled or preset.ranges["cfg"][0] < preset.ranges["cfg"][1]
        if len(preset.stages) > 1 and preset.stages[0].kind is StageKind.RENOISE:
            assert preset.ranges["denoise"][0] < preset.ranges["denoise"][1] < 1


def test_the_studios_preset_wins_over_the_bundled_one(own):
    """A file of the same name in presets_dir is used."""
    assert own(GOOD, "two-stage").title == "Mine"
    assert own(GOOD).ranges == {"cfg": (2.0, 4.0)}


def test_a_preset_may_end_in_yml(studio, tmp_path):
    """Sheets may, too; else the bundled one of that name would be rendered."""
    (tmp_path / "presets" / "pocket").mkdir(parents=True)
    (tmp_path / "presets" / "pocket" / "two-stage.yml").write_text(GOOD)
    used = studio.model_copy(update={"presets_dir": tmp_path / "presets"})
    assert load_preset("pocket", "two-stage", used).title == "Mine"


def test_a_preset_says_what_may_be_given_up(own, sheet, studio, tmp_path):
    """Speed and concessions come into the recipe; without the keys nothing may be given up."""
    plain = own(GOOD)
    assert (plain.speed, plain.concessions) == (Speed.EXACT, ())
    own(GOOD + "speed: fast\nmemory: {allow: [tiling, stages]}\n")
    used = studio.model_copy(update={"presets_dir": tmp_path / "presets"})
    recipe = sheet("shot,source,preset\na,a.png,mine\n", studio=used).shots[0].recipe
    assert recipe.speed is Speed.FAST
    assert recipe.concessions == (Concession.TILING, Concession.STAGES)


def test_an_unknown_preset_is_answered(studio):
    """Did you mean, and where it does exist."""
    with pytest.raises(BadInput, match="did you mean 'two-stage'"):
        load_preset("pocket", "two_stage", studio)
    with pytest.raises(BadInput, match="choose a model of the family wan"):
        load_preset("pocket", "wan22-experts", studio)
    with pytest.raises(BadInput, match="did you mean 'wan'"):
        load_preset("wam", "single", studio)
    with pytest.raises(BadInput, match="there is no preset"):
        load_preset("pocket", "../wan/single", studio)


RENOISE = "  - {kind: renoise, steps: 10, cfg: 3, shift: 3, denoise: 0.4}\n"


@pytest.mark.parametrize(
    ("old", "new", "row", "column", "problem", "remedy"),
    [
        (
            "denoise: 0.4",
            "denoise: 0",
            9,
            "stages.2.denoise",
            "'0' is refused",
            "write more than 0",
        ),
        (
            "denoise: 0.4",
            "denoise: 1.2",
            9,
            "stages.2.denoise",
            "'1.2' is refused",
            "write 1 or less",
        ),
        (
            "denoise: 0.4",
            "denoise: nan",
            9,
            "stages.2.denoise",
            "'nan' is refused",
            "write a finite",
        ),
        ("steps: 12", "steps: 0", 8, "stages.1.steps", "'0' is refused", "write 1 or more"),
        ("title: Mine", "title: ''", 1, "title", "'' is refused", "write text of 1 or more"),
        ("title: Mine", f"title: {'x' * 81}", 1, "title", "'xxx", "write text of 80 or fewer"),
        ("cfg: 3, shift: 3}", "shift: 3}", 8, "stages.1.cfg", "'cfg' is missing", "add it"),
        (
            "steps: 12",
            "stepps: 12",
            8,
            "stages.1.stepps",
            "there is no",
            "did you mean 'steps'",
        ),
        (
            "steps: 12",
            "sampler: dpmp_2m, steps: 12",
            8,
            "stages.1.sampler",
            "there is no sampler 'dpmp_2m'",
            "did you mean 'dpmpp_2m'?",
        ),
        (
            "steps: 12",
            "schedule: simpel, steps: 12",
            8,
            "stages.1.schedule",
            "there is no schedule 'simpel'",
            "did you mean 'simple'?",
        ),
        (
            "steps: 10",
            "start_step: 4, steps: 10",
            9,
            "stages.2.start_step",
            "'start_step' belongs to a split stage and this is a renoise stage (renoise adds noise",
            "remove 'start_step' or write kind: split",
        ),
        (
            "renoise, steps: 10",
            "split, steps: 10",
            9,
            "stages.2.denoise",
            "'denoise' belongs to a renoise stage and this is a split stage",
            "remove 'denoise' or write kind: renoise",
        ),
        (
            RENOISE,
            "  - {kind: split, steps: 10, cfg: 3, shift: 3, end_step: 11}\n",
            9,
            "stages.2",
            "ends at step 11 of a schedule of 10",
            "write end_step: 10 or less",
        ),
        (
            RENOISE,
            "  - {kind: split, steps: 10, cfg: 3, shift: 3, start_step: 5, end_step: 5}\n",
            9,
            "stages.2",
            "runs from step 5 to 5: nothing",
            "write a start_step",
        ),
        (
            RENOISE,
            "  - {kind: split, steps: 10, cfg: 3, shift: 3, start_step: 5}\n",
            9,
            "stages.2",
            "the stage before hands on no noise",
            "write leftover_noise",
        ),
        (
            RENOISE,
            "  - {kind: split, steps: 10, cfg: 3, shift: 3, end_step: 5}\n",
            9,
            "stages.2",
            "the last stage would leave noise in the clip",
            "run it to the end: end_step 10",
        ),
        (
            "steps: 12, cfg: 3",
            "steps: 12, cfg: 3, denoise: 0.5",
            8,
            "stages.1",
            "the first stage has no latents to go on from",
            "start it from pure noise",
        ),
        ("frames: 17", "frames: 16", None, "frames", "16 frames are not 4n+1", "write 17"),
        ("width: 128", "width: 130", None, "width", "width 130 is no multiple of 16", "write 128"),
        ("width: 128", "width: 1280", None, "width", "width 1280 is no multiple", "write 256"),
        ("family: pocket", "family: wan", None, "family", "family 'wan' lies in", "write pocket"),
        ("[2, 4]", "[4, 2]", 11, "ranges.cfg", "4 is greater than 2", "write [least, most]"),
        ("[2, 4]", "[4, 5]", 8, "stages.1.cfg", "cfg 3 is outside ranges.cfg 4..5", "widen"),
        ("  cfg: [", "  shift: [", 11, "ranges.shift", "'shift' is refused", "use one of: cfg"),
        (
            "shift: 3}",
            "shift: 3, loras: ['x.safetensors:2.5']}",
            8,
            "stages.1.loras",
            "strength 2.5 is not in -2..2",
            "write 0.8",
        ),
        (
            "shift: 3}",
            "shift: 3, loras: ['x.safetensors']}",
            8,
            "stages.1.loras",
            "'x.safetensors' is not there",
            "put it into",
        ),
        ("[2, 4]", "[2, 4]\nspeed: fats", 12, "speed", "there is no speed 'fats'", "did you mean"),
        (
            "[2, 4]",
            "[2, 4]\nmemory: {allow: [size, fp16]}",
            12,
            "memory.allow.2",
            "there is no concession 'fp16'",
            "use one of: fp8, frames",
        ),
        (
            "[2, 4]",
            "[2, 4]\nmemory: {alow: [size]}",
            12,
            "memory.alow",
            "there is no key 'alow'",
            "did you mean 'allow'?",
        ),
        ("title: Mine", "title: Mine\ntitle: Me", 2, None, "the key 'title' stands twice", "keep"),
        (GOOD, "", None, None, "is no mapping", "write `title:`"),
        (GOOD, "\t", 1, None, "is not valid YAML", "mend the line"),
    ],
)
def test_a_wrong_preset_is_told_with_its_line(own, old, new, row, column, problem, remedy):
    """Each mistake names the file, the line, the key, what is wrong and what to write."""
    assert old in GOOD
    with pytest.raises(BadInput) as caught:
        own(GOOD.replace(old, new, 1))
    fault = next((f for f in caught.value.faults if f.column == column), caught.value.faults[0])
    assert (fault.file.name, fault.row, fault.column) == ("mine.yaml", row, column)
    assert fault.problem.startswith(problem)
    assert fault.remedy.startswith(remedy)


def test_all_faults_of_a_preset_come_at_once(own):
    """Three mistakes, three faults."""
    with pytest.raises(BadInput) as caught:
        own(
            GOOD.replace("fps: 8", "fps: fast").replace("steps: 12", "steps: a").replace("0.4", "7")
        )
    assert {fault.column for fault in caught.value.faults} == {
        "fps",
        "stages.1.steps",
        "stages.2.denoise",
    }


def test_what_the_form_of_a_preset_has_wrong_comes_with_the_rest(own):
    """A key that stands twice and a tag hide no value that is wrong; each with its line."""
    text = GOOD.replace("title: Mine", "title: Mine\ntitle: Me").replace("fps: 8", "fps: fast")
    with pytest.raises(BadInput) as caught:
        own(text.replace("0.4", "!own 0.4"))
    told = [(fault.row, fault.problem) for fault in caught.value.faults]
    assert told[0][1] == "the key 'title' stands twice (line 1 before)"
    assert {"'fast' is refused", "the tag '!own' is not read"} <= {problem for _, problem in told}
    assert [row for row, _ in told] == sorted(row for row, _ in told)


def test_a_broken_preset_is_told_once_for_all_its_rows(own, sheet, studio, tmp_path):
    """Two rows that want it make one fault that says so; the row with another preset is good."""
    with pytest.raises(BadInput):
        own(GOOD.replace("fps: 8", "fps: fast"))
    used = studio.model_copy(update={"presets_dir": tmp_path / "presets"})
    manifest = sheet(
        "shot,source,preset\na,a.png,mine\nb,a.png,mine\nc,a.png,single\n", studio=used
    )
    assert [(fault.file.name, fault.column) for fault in manifest.faults] == [("mine.yaml", "fps")]
    assert "(wanted by row 2 and 1 more)" in manifest.faults[0].problem
    assert [shot.id for shot in manifest.shots] == ["c"]


def test_a_broken_preset_is_told_with_the_broken_model(own, sheet, studio, tmp_path):
    """Who mends the model does not meet the preset's faults only then."""
    with pytest.raises(BadInput):
        own("title: Mine\n")
    models = {**studio.models, "gone": ModelSpec(family="pocket", location=str(tmp_path / "no"))}
    here = studio.model_copy(update={"presets_dir": tmp_path / "presets", "models": models})
    manifest = sheet("shot,source,preset,model\na,a.png,mine,gone\n", studio=here)
    assert {fault.file.name for fault in manifest.faults} == {"studio.yaml", "mine.yaml"}
    assert {fault.column for fault in manifest.faults} >= {"models.gone", "stages"}


@pytest.mark.parametrize("model", ["", "pocket-wan", "gone", "nobody"])
def test_a_preset_of_no_family_is_answered_with_the_families(sheet, studio, tmp_path, model):
    """Whether the row names a model or none, a whole or a broken one, or one there is not."""
    models = {**studio.models, "gone": ModelSpec(family="pocket", location=str(tmp_path / "no"))}
    here = studio.model_copy(update={"models": models})
    manifest = sheet(f"shot,source,preset,model\na,a.png,wann/single,{model}\n", studio=here)
    found = next(fault for fault in manifest.faults if fault.column == "preset")
    assert found.problem == "there is no model family 'wann'"
    assert found.remedy == "did you mean 'wan'?"


def test_a_wrong_default_preset_is_told_once_of_the_studio(sheet, studio):
    """No cell names it: rows that name neither preset nor model want it, and another is good."""
    here = studio.model_copy(update={"default_preset": "twostage"})
    manifest = sheet("shot,source,preset\na,a.png,\nb,a.png,\nc,a.png,single\n", studio=here)
    (fault,) = manifest.faults
    assert (fault.file.name, fault.column, fault.value) == (
        "studio.yaml",
        "default_preset",
        "twostage",
    )
    assert fault.problem.endswith("'twostage' for pocket (wanted by row 2 and 1 more)")
    assert fault.remedy == "did you mean 'two-stage'?"
    assert [shot.id for shot in manifest.shots] == ["c"]


def test_a_default_preset_that_a_row_s_model_has_not_is_told_of_the_row(sheet, studio, tmp_path):
    """The row chose the model, so it is the row that is to name a preset."""
    models = {**studio.models, "toon": ModelSpec(family="animatediff", location=str(tmp_path))}
    here = studio.model_copy(update={"default_preset": "single", "models": models})
    (*_, fault) = sheet("shot,prompt,model\na,x,toon\n", studio=here).faults
    assert (fault.file.name, fault.row, fault.column) == ("night.csv", 2, "preset")


def test_a_later_stage_from_pure_noise_is_warned_of(own, sheet, studio, tmp_path):
    """Denoise 1 in stage 2 runs, and the shot says what it does."""
    own(GOOD.replace("denoise: 0.4", "denoise: 1"))
    used = studio.model_copy(update={"presets_dir": tmp_path / "presets"})
    manifest = sheet("shot,source,preset,width\na,a.png,mine,64\n", studio=used)
    assert manifest.shots[0].warnings == (
        "stage 2 has denoise 1: it throws the stages before away",
    )
