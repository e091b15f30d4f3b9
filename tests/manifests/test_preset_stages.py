"""Stages of presets: where they restart, where a schedule is cut, and what is refused or said."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import examples

from manifests.cut import BOUNDARY, Cut, lay_out
from manifests.errors import BadInput
from manifests.preset import list_presets, load_preset
from manifests.preset_text import PresetText, StageText
from manifests.refusal import Refusal
from manifests.schedules import end_sigma, sigmas, stage_sigmas, start_sigma
from manifests.settings import load_studio
from manifests.stage import Expert, Noise, Sampler, Schedule, Stage, StageKind
from manifests.stage_words import stage_warnings

EXPERTS = ("wan22-experts", "three-sampler", "lightning")
HEAD = """\
title: Mine
family: wan
width: 128
height: 128
frames: 17
fps: 16
stages:
"""
ONE = "  - {kind: renoise, steps: 10, cfg: 3, shift: 5"
HIGH = "  - {kind: split, steps: 10, cfg: 3, shift: 5, expert: high, end_sigma: boundary}\n"
LOW = "  - {kind: split, steps: 10, cfg: 3, shift: 5, expert: low, start_sigma: boundary}\n"


def test_later_stages_of_flow_presets_restart_where_there_is_work(studio):
    """Every bundled re-noise stage behind the first restarts at sigma 0.3 to 0.9 on a flow model:
    below it refines nothing, above it throws the stages before away."""
    starts = {
        f"{preset.qualified_name} stage {index + 1}": start_sigma(stage)
        for preset in list_presets(studio)
        for index, stage in enumerate(preset.stages)
        if index and stage.kind is StageKind.RENOISE and stage.noise is Noise.FLOW
    }
    assert len(starts) >= 6
    assert {where: sigma for where, sigma in starts.items() if not 0.3 <= sigma <= 0.9} == {}


def test_no_remedy_takes_a_stage_of_a_flow_preset_out_of_its_levels(studio):
    """Also at the ends of what retakes may set denoise and steps to, it restarts at 0.3 to 0.9."""
    for preset in list_presets(studio):
        for stage in preset.stages[1:]:
            if stage.kind is StageKind.RENOISE and stage.noise is Noise.FLOW:
                for denoise, steps in product(preset.ranges["denoise"], preset.ranges["steps"]):
                    at_end = replace(stage, denoise=denoise, steps=int(steps))
                    assert 0.3 <= start_sigma(at_end) <= 0.9, (preset.qualified_name, at_end)


@pytest.mark.parametrize("name", EXPERTS)
@pytest.mark.parametrize("boundary", [0.875, 0.900])
def test_the_experts_change_at_the_models_boundary(studio, name, boundary):
    """At whichever boundary, the high-noise expert has every step that starts at or above it."""
    preset = load_preset("wan", name, studio, with_loras=False)
    assert preset.needs_experts
    stages = preset.stages_for(boundary=boundary, noise=Noise.FLOW)
    for stage in stages:
        for sigma in stage_sigmas(stage)[:-1]:
            assert stage.expert is (Expert.HIGH if sigma >= boundary else Expert.LOW)
    for before, stage in pairwise(stages):
        assert end_sigma(before) == start_sigma(stage)
        assert (before.leftover_noise, stage.add_noise) == (True, False)
    assert (start_sigma(stages[0]), end_sigma(stages[-1])) == (1.0, 0.0)
    assert sum(len(stage_sigmas(stage)) - 1 for stage in stages) == stages[0].steps


def test_three_samplers_guide_the_bare_expert_alone(studio):
    """CFG 3.5 without a LoRA, then CFG 1 with the one of the expert that runs."""
    preset = load_preset("wan", "three-sampler", studio, with_loras=False)
    used = [
        (stage.expert, stage.cfg, [lora.file for lora in loras])
        for stage, loras in zip(preset.stages, preset.loras, strict=True)
    ]
    assert used == [
        (Expert.HIGH, 3.5, []),
        (Expert.HIGH, 1.0, ["loras/wan22-lightning-high.safetensors"]),
        (Expert.LOW, 1.0, ["loras/wan22-lightning-low.safetensors"]),
    ]


def test_the_loras_of_a_bundled_preset_are_the_studios(studio, tensors):
    """They are wanted under the root, each by name and folder, and used from there."""
    with pytest.raises(BadInput) as caught:
        load_preset("wan", "lightning", studio)
    assert [fault.column for fault in caught.value.faults] == ["stages.1.loras", "stages.2.loras"]
    assert caught.value.faults[0].problem == (
        "'loras/wan22-lightning-high.safetensors' is not there"
    )
    assert caught.value.faults[0].remedy == f"make the folder {studio.root}/loras and put it there"
    files = [
        tensors(studio.root / "loras" / f"wan22-lightning-{end}.safetensors")
        for end in ("high", "low")
    ]
    stages = load_preset("wan", "lightning", studio).stages
    assert [stage.loras[0].path for stage in stages] == [str(file) for file in files]


@pytest.mark.parametrize(
    ("pipeline", "steps"), [("WanImageToVideoPipeline", 11), ("WanPipeline", 13)]
)
def test_a_sheet_cuts_at_the_boundary_of_its_model(sheet, tmp_path, model_folder, pipeline, steps):
    """A model for stills changes experts at 0.900, one for text at 0.875: 11 and 13 of 30 steps."""
    location = str(model_folder("a14b", pipeline=pipeline, experts=2))
    used = load_studio(tmp_path / "root", models={"a14b": {"family": "wan", "location": location}})
    cells = "a.png," if "Image" in pipeline else ",a bird"
    text = f"shot,source,prompt,preset,model\na,{cells},wan22-experts,a14b\n"
    manifest = sheet(text, studio=used)
    assert manifest.faults == ()
    high, low = manifest.shots[0].recipe.stages
    assert high.end_step == low.start_step == steps


def test_a_model_whose_boundary_leaves_a_stage_no_step_is_refused(
    sheet, tmp_path, model_folder, own
):
    """A cut that suits the usual model may not suit this one: said when the sheet is checked."""
    own(HEAD + HIGH.replace("end_sigma", "start_step: 0, end_sigma") + LOW, family="wan")
    location = str(model_folder("odd", experts=2, boundary_ratio=0.3))
    used = load_studio(
        tmp_path / "root",
        models={"odd": {"family": "wan", "location": location}},
        presets_dir=tmp_path / "presets",
    )
    manifest = sheet("shot,source,preset,model\na,a.png,mine,odd\n", studio=used)
    assert [(fault.column, fault.problem) for fault in manifest.faults] == [
        (
            "preset",
            "stage 1 of wan/mine is cut at sigma 0.3, and the steps of its schedule start at "
            "1.000 to 0.357: none on one side",
        )
    ]


def test_windows_that_meet_for_the_usual_model_only_are_refused(own):
    """A window that ends at a step and one that starts at the boundary: held for each model."""
    preset = own(HEAD + HIGH.replace("end_sigma: boundary", "end_step: 4") + LOW, family="wan")
    assert preset.stages_for(boundary=0.9, noise=Noise.FLOW) == preset.stages
    with pytest.raises(Refusal, match="stage 2 of wan/mine starts at step 5, the one before ends"):
        preset.stages_for(boundary=0.875, noise=Noise.FLOW)


@given(
    schedule=st.sampled_from(list(Schedule)),
    sampler=st.sampled_from(list(Sampler)),
    steps=st.integers(3, 40),
    shift=st.floats(1.0, 12.0),
    level=st.floats(0.05, 0.98),
)
@settings(deadline=None, max_examples=examples(60))
def test_a_cut_divides_the_steps_by_their_level(schedule, sampler, steps, shift, level):
    """Before the cut no step starts below the level, behind it none above; or it is refused."""
    common = {"kind": StageKind.SPLIT, "cfg": 1.0, "schedule": schedule, "sampler": sampler}
    stage = Stage(steps=steps, shift=shift, **common)
    whole = sigmas(schedule=schedule, steps=steps, shift=shift, sampler=sampler)
    above = sum(sigma >= level for sigma in whole)
    try:
        first = lay_out(stage, Cut(end=level), boundary=None)
        rest = lay_out(stage, Cut(start=BOUNDARY), boundary=level)
    except Refusal:
        assert above in (0, len(whole) - 1)
        return
    assert first.end_step == rest.start_step == above


@pytest.mark.parametrize(
    ("stages", "column", "problem", "remedy"),
    [
        (ONE + ", cfg_interval: [0.8, 0.2]}\n", "stages.1.cfg_interval", "[0.8, 0.2] is", "write"),
        (ONE + ", cfg_interval: [0, 1.5]}\n", "stages.1.cfg_interval", "[0, 1.5] is", "write"),
        (ONE + ", cfg_interval: [0.5]}\n", "stages.1.cfg_interval", "is no interval", "write"),
        (
            ONE + ", carry_history: false}\n",
            "stages.1.carry_history",
            "'carry_history' belongs to a split stage and this is a renoise stage",
            "remove 'carry_history'",
        ),
        (
            ONE + ", end_sigma: 0.9}\n",
            "stages.1.end_sigma",
            "'end_sigma' belongs to a split stage",
            "remove 'end_sigma'",
        ),
        (HIGH.replace("boundary", "9e9") + LOW, "stages.1.end_sigma", "'9e9'", "write"),
        (HIGH.replace("boundary", "0") + LOW, "stages.1.end_sigma", "0 is no noise level", "write"),
        (HIGH.replace("boundary", "bondary") + LOW, "stages.1.end_sigma", "'bondary'", "write"),
        (
            HIGH.replace("boundary", "boundary, end_step: 3") + LOW,
            "stages.1",
            "has end_sigma and end_step",
            "remove one",
        ),
        (
            HIGH.replace("boundary", "0.01") + LOW,
            "stages.1",
            "is cut at sigma 0.01, and the steps of its schedule start at 1.000 to 0.357",
            "use more steps",
        ),
        (
            HIGH + LOW.replace("boundary", "0.6"),
            "stages.2",
            "starts at step 8, the one before ends at 4",
            "write start_step: 4",
        ),
        (
            HIGH + LOW.replace("steps: 10", "steps: 30").replace("boundary", "0.6"),
            "stages.2",
            "starts at sigma 0.556, and the noise that the stage before leaves is that of sigma ",
            "cut both",
        ),
        (
            ONE + "}\n" + ONE + ", denoise: 0.4, seed_offset: 0}\n",
            "stages.2.seed_offset",
            "has the seed_offset 0 of stage 1",
            "write seed_offset: 1; the same noise in two stages burns",
        ),
        (
            ONE + "}\n" + ONE.replace("10", "200") + ", denoise: 0.1}\n",
            "stages.2",
            "denoise 0.1 with 200 steps lays out 2000 steps",
            "use fewer steps",
        ),
        (ONE + ", denoise: -0.1}\n", "stages.1.denoise", "'-0.1' is refused", "write more than 0"),
        (ONE + ", sampler: unipc}\n", "stages.1.sampler", "there is no", "did you mean 'uni_pc'"),
    ],
)  # fmt: skip
def test_stages_that_cannot_be_meant_are_refused(own, stages, column, problem, remedy):
    """Each mistake is told at check time with its stage, what is wrong and what to write."""
    with pytest.raises(BadInput) as caught:
        own(HEAD + stages, family="wan")
    told = {fault.column: fault for fault in caught.value.faults}
    assert column in told, told
    assert told[column].problem.startswith(problem)
    assert told[column].remedy.startswith(remedy)
    assert told[column].row is not None


@pytest.mark.parametrize(
    ("key", "problem"),
    [("expert: high", "and no high expert"), ("end_sigma: boundary", "and no boundary")],
)
def test_a_family_without_experts_has_no_boundary(own, key, problem):
    """A preset of a one-expert family that names an expert or the boundary is refused."""
    text = HEAD.replace("wan", "pocket").replace("fps: 16", "fps: 8")
    stage = f"  - {{kind: split, steps: 10, cfg: 2, shift: 3, {key}}}\n"
    with pytest.raises(BadInput) as caught:
        own(text + stage)
    key = key.partition(":")[0]
    fault = next(fault for fault in caught.value.faults if fault.column == f"stages.1.{key}")
    assert fault.problem == f"models of Pocket Wan have one transformer, {problem}"


def test_a_one_expert_model_is_refused_the_boundary(sheet, tmp_path, model_folder):
    """Wan 2.1 has no boundary: the row says which preset wants one and what would do."""
    location = str(model_folder("w21"))
    used = load_studio(tmp_path / "root", models={"w21": {"family": "wan", "location": location}})
    manifest = sheet("shot,source,preset,model\na,a.png,wan22-experts,w21\n", studio=used)
    assert [fault.column for fault in manifest.faults] == ["preset"]
    assert "needs two experts, and 'w21' has one" in manifest.faults[0].problem


def test_what_a_preset_says_of_a_stage_is_in_the_recipe(own, sheet, studio, tmp_path):
    """Interval, history, sampler and levels come through to the take."""
    text = HEAD.replace("wan", "pocket").replace("fps: 16", "fps: 8")
    split = "  - {kind: split, steps: 10, cfg: 2, shift: 3, sampler: dpmpp_2m, "
    own(
        text
        + split
        + "end_sigma: 0.7, cfg_interval: [0.2, 0.8]}\n"
        + split
        + "start_sigma: 0.7, carry_history: false}\n"
    )
    used = studio.model_copy(update={"presets_dir": tmp_path / "presets"})
    first, second = sheet("shot,source,preset\na,a.png,mine\n", studio=used).shots[0].recipe.stages
    assert (first.cfg_interval, first.carry_history) == ((0.2, 0.8), True)
    assert (second.cfg_interval, second.carry_history) == ((0.0, 1.0), False)
    assert first.end_step == second.start_step == 6
    assert (first.leftover_noise, second.leftover_noise, second.add_noise) == (True, False, False)
    assert (first.seed_offset, second.seed_offset) == (0, 1)


def _stage(**changes):
    common = {"kind": StageKind.RENOISE, "steps": 10, "cfg": 3.0, "shift": 5.0}
    return Stage(**{**common, **changes})


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ((_stage(), _stage(denoise=0.35)), []),
        ((_stage(), _stage()), ["stage 2 has denoise 1: it throws the stages before away"]),
        (
            (_stage(sampler=Sampler.LCM),),
            [
                "stage 1 has sampler lcm with CFG 3: distilled models want 1 to 2",
                "stage 1 has sampler lcm and no LoRA: it is right for a distilled model alone",
            ],
        ),
        (
            (_stage(cfg_interval=(0.94, 0.95)),),
            ["stage 1 is never guided: none of its noise levels lies in cfg_interval [0.94, 0.95]"],
        ),
        ((_stage(cfg=1.0, cfg_interval=(0.94, 0.95)),), []),
        (
            (
                _stage(kind=StageKind.SPLIT, end_step=5, leftover_noise=True),
                _stage(kind=StageKind.SPLIT, steps=12, start_step=6, add_noise=False, shift=5.2),
            ),
            ["stage 2 starts at sigma 0.839 with the noise that stage 1 left at 0.833"],
        ),
    ],
)
def test_what_can_run_and_is_odd_is_said(stages, said):
    """A warning for what rarely is meant, none for what is."""
    actual = stage_warnings(stages)
    assert len(actual) == len(said)
    assert all(words.startswith(start) for words, start in zip(actual, said, strict=True))


def test_a_warning_reaches_the_shot(own, sheet, studio, tmp_path):
    """What is odd about its stages stands at the shot in the plan."""
    text = HEAD.replace("wan", "pocket").replace("fps: 16", "fps: 8")
    own(text + ONE.replace("cfg: 3", "cfg: 2.5") + ", sampler: lcm}\n")
    used = studio.model_copy(update={"presets_dir": tmp_path / "presets"})
    warnings = sheet("shot,source,preset,width\na,a.png,mine,64\n", studio=used).shots[0].warnings
    assert [words.partition(":")[0] for words in warnings] == [
        "stage 1 has sampler lcm with CFG 2.5",
        "stage 1 has sampler lcm and no LoRA",
    ]


PAGE = (Path(__file__).parents[2] / "docs" / "presets.md").read_text(encoding="utf-8")


def test_every_key_is_documented():
    """A key that a preset may have stands in a table of the page, and none that it may not."""
    written = {
        name
        for cell in re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", PAGE, re.M)
        for name in re.findall(r"`(\w+)`", cell)
    }
    known = {*PresetText.model_fields, *StageText.model_fields}
    assert known <= written
    assert written - known == {"single", "draft"}


def test_every_bundled_preset_is_documented(studio):
    """The page names each by itself, or by the name it has in several families."""
    named = set(re.findall(r"`(?:\w+/)?([\w-]+)`", PAGE.partition("## The bundled ones")[2]))
    assert {preset.name for preset in list_presets(studio)} <= named


def test_the_example_of_the_page_is_a_preset(own):
    """What the page shows loads, and restarts where it says."""
    example = re.search(r"```yaml\n(.*?)```", PAGE, re.S)
    assert example is not None
    preset = own(example[1], family="wan")
    assert f"{start_sigma(preset.stages[2]):.2f}" == "0.73"
    assert "noise level 0.73" in preset.description
