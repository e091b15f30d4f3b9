"""YAML sheets: text stays text, lines are known, hostile files are bounded."""

from __future__ import annotations

import pytest

from manifests.models import ModelSpec


def test_scalars_stay_as_typed(sheet):
    """001, 1e3, yes and 010_020 are names, not numbers; `prompt: no` is the word."""
    names = ["001", "1e3", "yes", "010_020", "0x1F", "2026-11-21"]
    text = "".join(f"- {{shot: {name}, source: a.png, prompt: no}}\n" for name in names)
    manifest = sheet(text, "night.yaml")
    assert manifest.faults == ()
    assert [shot.id for shot in manifest.shots] == names
    assert {shot.title for shot in manifest.shots} == {"no"}


def test_a_row_wins_over_defaults_and_none_takes_them_back(sheet):
    """`defaults:` hold where the row is silent; `none` clears; null is silence."""
    manifest = sheet(
        """
defaults: {source: a.png, style: cinematic, upscale: 2x, seed: 7, negative: blurry}
shots:
  - shot: a
    prompt: x
  - shot: b
    prompt: x
    style: none
    upscale: none
    negative: none
    seed: 8
  - shot: c
    prompt: x
    seed: ~
    style:
""",
        "night.yaml",
    )
    assert manifest.faults == ()
    a, b, c = manifest.shots
    assert (a.style, a.recipe.seed, a.finish.upscale.factor) == ("cinematic", 7, 2.0)
    assert (b.style, b.recipe.seed, b.finish.upscale) == (None, 8, None)
    assert (a.recipe.negative, b.recipe.negative) == ("blurry", "")
    assert (c.style, c.recipe.seed) == ("cinematic", 7)
    assert b.recipe.prompt == "x"


@pytest.mark.parametrize(
    ("text", "row", "problem"),
    [
        ("- shot: a\n  prompt: x\n  prompt: y\n", 3, "the key 'prompt' stands twice"),
        ("- shot: a\n  prompt: x: y\n", 2, "is not valid YAML"),
        ("- shot: a\n---\n- shot: b\n", 2, "holds a second document"),
        ("- shot: !!python/object/apply:os.system [ls]\n", 1, "the tag "),
        ("- shot: *nothing\n", 1, "'*nothing' stands for nothing"),
        ("- &a [*a]\n", 1, "'*a' stands for nothing"),
        ("- {<<: text, shot: a}\n", 1, "'<<' takes mappings alone"),
        ("- ? [a]\n  : b\n", 1, "a key is not text"),
        ("[" * 50_000, 1, "is nested too deep"),
        ("", None, "is empty"),
        ("hello", 1, "holds no list of shots"),
        ("defaults: {}\n", 1, "holds no list of shots"),
        ("shot: a\nprompt: x\n", 1, "there is no key 'shot'"),
        ("defaults: {shot: a}\nshots: []\n", 1, "`defaults:` names a shot"),
        ("defaults: {fps: x}\nshots: [{shot: a, prompt: x}]\n", 1, "'x' is not a number"),
        ("defaults: {promt: x}\nshots: [{shot: a}]\n", 1, "there is no column 'promt'"),
        ("shots: []\n", None, "holds no shots"),
    ],
)
def test_a_broken_file_is_one_fault_with_its_line(sheet, text, row, problem):
    """What makes a file unreadable or ambiguous is named with the line."""
    manifest = sheet(text, "night.yaml")
    assert manifest.shots == ()
    assert manifest.faults[0].row == row
    assert manifest.faults[0].problem.startswith(problem)


def test_shots_share_values_by_merge_keys(sheet):
    """What a shot says itself wins, then the first that it names; `x-` keys hold what is shared."""
    manifest = sheet(
        """
x-cat: &cat {source: a.png, prompt: a cat, seed: 7}
shots:
  - &first
    <<: *cat
    shot: "001"
    seed: 8
  - <<: [*first, *cat]
    shot: "002"
""",
        "night.yaml",
    )
    assert manifest.faults == ()
    assert [(shot.id, shot.title, shot.recipe.seed) for shot in manifest.shots] == [
        ("001", "a cat", 8),
        ("002", "a cat", 8),
    ]


def test_faults_of_the_yaml_come_with_those_of_the_rows(sheet, told):
    """A key that stands twice, a tag, an unknown anchor and a bad cell are told at once."""
    manifest = sheet(
        "- shot: a\n  source: a.png\n  source: b.png\n- {shot: !x b, source: a.png, fps: z}\n"
        "- {shot: c, source: *d}\n",
        "night.yaml",
    )
    assert [(row, problem[:12]) for row, _, problem in told(manifest)] == [
        (3, "the key 'sou"),
        (4, "the tag '!x'"),
        (5, "'*d' stands "),
        (4, "'z' is not a"),
        (5, "has neither "),
    ]


def test_an_alias_bomb_is_refused_at_once(sheet):
    """Nine levels of ten aliases stand for a milliard values and cost nothing."""
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    manifest = sheet("\n".join(lines), "bomb.yaml")
    assert manifest.faults[0].problem == "holds too many values"


def test_an_unknown_key_or_a_list_is_a_fault_of_its_shot(sheet, told):
    """One bad shot leaves the others good."""
    manifest = sheet(
        "- {shot: a, source: a.png, promt: x}\n- {shot: b, source: [a.png]}\n- hello\n"
        "- {shot: c, source: a.png}\n",
        "night.yaml",
    )
    assert told(manifest) == [
        (1, "promt", "there is no column 'promt'"),
        (2, "source", "is a list"),
        (3, None, "a shot is no mapping"),
    ]
    assert [shot.id for shot in manifest.shots] == ["c"]


def test_a_grade_may_be_a_mapping_and_loras_a_list(sheet, lora, tmp_path):
    """YAML may spell out what a cell packs into one line."""
    lora(tmp_path / "sheets" / "look.safetensors")
    manifest = sheet(
        """
- shot: a
  source: a.png
  grade: {slope: [1.1, 1, 0.9], saturation: 0.9}
  loras: ["look.safetensors:0.8"]
- {shot: b, source: a.png, grade: "slope=1.1,1,0.9 sat=0.9", loras: "look.safetensors:0.8"}
""",
        "night.yaml",
    )
    assert manifest.faults == ()
    a, b = manifest.shots
    assert a.finish.grade == b.finish.grade
    assert a.finish.grade.slope == (1.1, 1.0, 0.9)
    assert a.recipe.stages == b.recipe.stages
    assert [each.strength for stage in a.recipe.stages for each in stage.loras] == [0.8, 0.8]


def test_a_wrong_default_is_told_once_where_it_stands(sheet):
    """Two shots take preset and style from the defaults: each is one fault of these; the shot that
    has cells of its own is good."""
    manifest = sheet(
        "defaults:\n  source: a.png\n  preset: twostage\n  style: neon\n"
        "shots:\n- shot: a\n- shot: b\n- {shot: c, preset: single, style: none}\n",
        "night.yaml",
    )
    assert [(fault.row, fault.column, fault.value) for fault in manifest.faults] == [
        (2, "defaults.preset", "twostage"),
        (2, "defaults.style", "neon"),
    ]
    assert manifest.faults[0].problem.endswith("for pocket (wanted by row 6 and 1 more)")
    assert manifest.faults[0].remedy == "did you mean 'two-stage'?"
    assert [shot.id for shot in manifest.shots] == ["c"]


def test_a_default_that_is_good_for_one_row_is_not_at_fault(sheet, studio, tmp_path):
    """A preset that the model of one row alone has not: that row is told, and the other is good."""
    models = {**studio.models, "toon": ModelSpec(family="animatediff", location=str(tmp_path))}
    manifest = sheet(
        "defaults: {prompt: x, source: a.png, preset: single}\n"
        "shots:\n- shot: a\n- {shot: b, model: toon, source: none}\n",
        "night.yaml",
        studio=studio.model_copy(update={"models": models}),
    )
    assert [(f.row, f.column) for f in manifest.faults if f.row] == [(4, "preset")]
    assert [shot.id for shot in manifest.shots] == ["a"]
