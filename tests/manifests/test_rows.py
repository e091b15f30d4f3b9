"""Rows: every bad cell is told with its place, value and remedy; sizes and lengths are fitted."""

from __future__ import annotations

from pathlib import Path

import pytest

HEADER = "shot,source,prompt,preset,model,frames,fps,width,height,seed,priority,style,loras,upscale"


def one(sheet, **cells):
    """A sheet of one row that has only these cells."""
    cells = {"shot": "a", "source": "a.png", **cells}
    return sheet(
        ",".join(cells)
        + "\n"
        + ",".join('"' + cell.replace('"', '""') + '"' for cell in cells.values())
    )


@pytest.mark.parametrize(
    ("column", "value", "problem", "remedy"),
    [
        ("shot", "", "has no name", "give each shot its own: seq010_sh0020"),
        ("shot", "a/b", "'a/b' is no shot name", "write letters"),
        ("shot", "straße", "'straße' is no shot name", "write letters a to z"),
        ("shot", "..", "'..' is no shot name", "write letters"),
        ("shot", "1E+03", "'1E+03' is what a spreadsheet makes", "format the column as text"),
        ("shot", "x" * 65, "'xxx", "write letters"),
        ("frames", "24,0", "'24,0' is not a number", "write 17 (with a point, no comma)"),
        ("frames", "16.5", "'16.5' is no whole number", "write 17"),
        ("frames", "0", "0 is not in 1..9999", "write 17"),
        ("frames", "4", "4 frames are not in 5..33", "write 5"),
        ("frames", "81", "81 frames are not in 5..33, which Pocket Wan renders", "write 33"),
        ("fps", "twentyfour", "'twentyfour' is not a number", "write 24 or 23.976"),
        ("fps", "1.023,976", "'1.023,976' is not a number", "write 24 or 23.976 (with a point"),
        ("fps", "23,976,0", "'23,976,0' is not a number", "write 24 or 23.976 (with a point"),
        ("fps", "nan", "'nan' is not a number", "write 24 or 23.976"),
        ("fps", "0", "0 is not in 1..240", "write 24 or 23.976"),
        ("width", "1e2", "'1e2' is not a number", "format the spreadsheet's column as text"),
        ("width", "32", "32 pixels are not in 64..256", "write 64"),
        ("height", "2000", "2000 pixels are not in 64..256", "write 256"),
        ("seed", "1.23E+18", "'1.23E+18' is not a number", "format the spreadsheet's column"),
        ("seed", "-1", "-1 is not in 0..9223372036854775807", "write 1234"),
        ("seed", "9" * 400, "'999", "write 1234"),
        ("seed", "１７", "'１７' is not a number", "write 1234"),
        ("priority", "high", "'high' is not a number", "write 0 or 10"),
        ("gpus", "0", "0 is not in 1..8", "write 2"),
        ("gpus", "two", "'two' is not a number", "write 2"),
        ("preset", "twostage", "there is no preset 'twostage' for pocket", "did you mean 'two-sta"),
        ("preset", "../x", "'../x' is no name", "write a name such as two-stage"),
        (
            "preset",
            "wan22-experts",
            "there is no preset 'wan22-experts' for pocket",
            "choose a mod",
        ),
        ("preset", "wan/single", "the studio has no model of the family wan", "add one under mod"),
        ("model", "poket-wan", "there is no model 'poket-wan'", "did you mean 'pocket-wan'?"),
        ("style", "cinematc", "there is no style 'cinematc'", "did you mean 'cinematic'?"),
        ("prompt", "a\x07b", "holds the control character U+0007", "remove it"),
        ("prompt", "x" * 8001, "has 8001 characters", "write at most 8000"),
        ("source", "b.png", "'b.png' is not there", "did you mean 'a.png'?"),
        ("source", "stills\\a.png", "'stills\\a.png' is not there", "write folders with /"),
        ("source", "../../../etc/passwd", "'../../../etc/passwd' lies outside", "copy it beside"),
        ("source", "/etc/passwd", "'/etc/passwd' lies outside", "copy it beside the sheet"),
        ("source", ".", "'.' is not a file", "name a still"),
        ("loras", "look.pt", "'look.pt' is not a safetensors file", "write file.safetensors:0.8"),
        ("loras", "look.safetensors:3", "strength 3 is not in -2..2", "write 0.8 (usual)"),
        ("loras", "no.safetensors", "'no.safetensors' is not there", "put it into"),
        ("loras", "a.safetensors;a.safetensors:1", "'a.safetensors' stands twice", "name each"),
        ("upscale", "8x", "8x is not in 1x..4x", "write 2x, 1.5x, none"),
        ("upscale", "big", "'big' is no", ""),
        ("upscale", "2x:up.pth", "'up.pth' is not there", "put it into"),
        ("grade", "look.png", "'look.png' is no grade", "write look.cube, look.cdl"),
        ("grade", "slop=1", "a grade has no 'slop'", "did you mean 'slope'?"),
        ("grade", "slope=1,2", "slope has 2 numbers", "write slope=1.1,1,0.9"),
        ("grade", "power=0", "power 0 is not in 0.01..100", "write power near 1"),
        ("grade", "slope=1 slope=2", "'slope' stands twice", "write it once"),
        ("grade", "cdl=a.cc slope=1", "names a CDL file and numbers as well", "keep one"),
        ("grade", "no.cube", "'no.cube' is not there", "put it into"),
    ],
)
def test_a_bad_cell_is_told_with_place_value_and_remedy(sheet, column, value, problem, remedy):
    """Each fault names file, row, column and value, what is wrong and what to write."""
    manifest = one(sheet, **{column: value})
    fault = manifest.faults[0]
    assert (len(manifest.faults), manifest.shots) == (1, ())
    assert (fault.file.name, fault.row, fault.column) == ("night.csv", 2, column)
    assert fault.value is None if not value else fault.value.startswith(value[:70])
    assert len(fault.value or "") <= 80
    assert fault.problem.startswith(problem)
    assert fault.remedy.startswith(remedy)


def test_a_decimal_comma_is_read(sheet):
    """A spreadsheet of half of Europe cannot easily write a point: 23,976 and 1,5x are numbers."""
    shot = sheet("shot;source;fps;upscale\na;a.png;23,976;1,5x\n").shots[0]
    assert shot.recipe.fps == 23.976
    assert shot.finish.upscale.factor == 1.5


def test_all_faults_of_all_rows_come_at_once(sheet, told):
    """Five bad cells in two rows are five faults; the row between is good."""
    manifest = sheet(
        f"{HEADER}\na,b.png,x,nope,,ten,,,,,,,,\nb,a.png,x,,,,,,,,,,,\nc,,,,,,x,,,,,neon,,9\n"
    )
    assert [(row, column) for row, column, _ in told(manifest)] == [
        (2, "source"),
        (2, "preset"),
        (2, "frames"),
        (4, "prompt"),
        (4, "fps"),
        (4, "style"),
        (4, "upscale"),
    ]
    assert [shot.id for shot in manifest.shots] == ["b"]
    assert str(manifest.faults[2]).endswith(
        "night.csv row 2, column frames: 'ten' is not a number; write 17"
    )


def test_a_name_that_stands_twice_spoils_both_rows(sheet):
    """Names are compared without case (folders may be); the fault names both rows."""
    manifest = sheet("shot,source\nsh01,a.png\nx,a.png\nSH01,a.png\n")
    assert [(f.row, f.column, f.problem) for f in manifest.faults] == [
        (4, "shot", "'SH01' is in row 2 already")
    ]
    assert [shot.id for shot in manifest.shots] == ["x"]


def test_frames_and_size_are_snapped_with_a_word(sheet):
    """16 frames become 17, 100x90 becomes 96x96: never silently."""
    shot = one(sheet, frames="16", width="100", height="90").shots[0]
    assert (shot.recipe.frames, shot.recipe.width, shot.recipe.height) == (17, 96, 96)
    assert shot.snaps == (
        "frames 16 -> 17 (Pocket Wan renders 4n+1)",
        "width 100 -> 96 (multiple of 16)",
        "height 90 -> 96 (multiple of 16)",
    )


def test_without_a_size_the_shape_of_the_source_is_kept(sheet, still, tmp_path):
    """A 3:2 still gets a 3:2 size of about the preset's area; a square one the preset's size."""
    still(tmp_path / "sheets" / "wide.png", size=(300, 200))
    wide = one(sheet, source="wide.png").shots[0]
    assert (wide.recipe.width, wide.recipe.height) == (144, 96)
    assert wide.snaps == ("size 128x128 -> 144x96 (shape of the source, 300x200)",)
    assert wide.warnings == ()
    square = one(sheet).shots[0]
    assert (square.recipe.width, square.recipe.height, square.snaps) == (128, 128, ())
    assert square.warnings == ("the source (96x96) is enlarged to 128x128",)


def test_one_side_given_the_other_follows(sheet, still, tmp_path):
    """The missing side comes from the source's shape."""
    still(tmp_path / "sheets" / "wide.png", size=(300, 200))
    by_width = one(sheet, source="wide.png", width="192").shots[0].recipe
    by_height = one(sheet, source="wide.png", height="128").shots[0].recipe
    assert (by_width.width, by_width.height) == (192, 128)
    assert (by_height.width, by_height.height) == (192, 128)


def test_a_crop_is_warned_of(sheet, still, tmp_path):
    """A wide still in a square frame loses its sides about the centre, and the shot says so."""
    still(tmp_path / "sheets" / "wide.png", size=(300, 200))
    shot = one(sheet, source="wide.png", width="128", height="128").shots[0]
    assert shot.warnings == (
        "the source (300x200) is cropped about its centre to 128x128: 33 % of its width is lost",
    )


def test_seeds_are_the_same_for_the_same_sheet(sheet):
    """Two loads agree, two shots differ, another sheet differs, a typed seed wins."""
    text = "shot,source,seed\na,a.png,\nb,a.png,\nc,a.png,5\n"
    first, again, other = sheet(text), sheet(text), sheet(text, "other.csv")
    seeds = [shot.recipe.seed for shot in first.shots]
    assert seeds == [shot.recipe.seed for shot in again.shots]
    assert seeds[2] == 5
    assert len({*seeds, *(shot.recipe.seed for shot in other.shots)}) == 5
    assert first.shots[0].recipe.fingerprint == again.shots[0].recipe.fingerprint


def test_a_style_is_appended_to_the_prompt(sheet):
    """The snippet follows the prompt; the title stays as typed."""
    shot = one(sheet, prompt="a cat. ", style="film-noir").shots[0]
    assert shot.recipe.prompt == (
        "a cat, film noir, black and white, hard shadows, high contrast, smoke"
    )
    assert (shot.title, shot.style) == ("a cat.", "film-noir")


def test_a_shot_needs_prompt_or_source(sheet, told):
    """Neither is a fault, which names the third way too; for a model that films stills, a prompt
    alone is one as well."""
    bare = sheet("shot,source,prompt,fps\na,,,8\n")
    assert told(bare)[0] == (2, "prompt", "has neither prompt nor source")
    assert "start_from" in bare.faults[0].remedy
    manifest = sheet("shot,prompt\na,x\n")
    assert told(manifest) == [(2, "source", "'pocket-wan' films a still, and none is given")]


def test_symlinks_out_of_the_allowed_folders_are_refused(sheet, still, tmp_path, studio):
    """A link is followed before it is judged; a source root in the settings allows its target."""
    target = still(tmp_path / "elsewhere" / "b.png")
    (tmp_path / "sheets").mkdir()
    (tmp_path / "sheets" / "b.png").symlink_to(target)
    assert one(sheet, source="b.png").faults[0].problem == (
        "'b.png' lies outside the allowed folders"
    )
    allowed = studio.model_copy(update={"source_roots": (target.parent,)})
    assert sheet("shot,source\na,b.png\n", studio=allowed).faults == ()


def test_a_lora_is_on_every_stage_and_hashed(sheet, lora, tmp_path):
    """The cell's LoRAs go to all stages, and three at once are warned of."""
    for name in "xyz":
        lora(tmp_path / "sheets" / f"{name}.safetensors", seed=ord(name))
    shot = one(sheet, loras="x.safetensors:-0.5; y.safetensors ;z.safetensors:0.25").shots[0]
    for stage in shot.recipe.stages:
        assert [each.strength for each in stage.loras] == [-0.5, 1.0, 0.25]
        assert len({each.sha256 for each in stage.loras}) == 3
    assert "3 LoRAs at once" in shot.warnings[-1]


def test_a_lora_that_the_preset_has_too_holds_at_the_row_s_strength(
    own, sheet, lora, studio, tmp_path
):
    """It is applied once, behind the preset's others."""
    files = [str(studio.root / "loras" / f"{name}.safetensors") for name in "xy"]
    for seed, file in enumerate(files):
        lora(Path(file), seed=seed)
    own(
        "{title: t, family: pocket, width: 128, height: 128, frames: 17, fps: 8, "
        "stages: [{kind: renoise, steps: 4, cfg: 3, "
        f"shift: 3, loras: ['{files[0]}:0.25', '{files[1]}:0.75']}}]}}"
    )
    studio = studio.model_copy(update={"presets_dir": tmp_path / "presets"})
    found = sheet(f"shot,source,preset,loras\na,a.png,mine,{files[0]}:0.5\n", studio=studio)
    assert found.faults == ()
    (stage,) = found.shots[0].recipe.stages
    assert [(each.path, each.strength) for each in stage.loras] == [
        (files[1], 0.75),
        (files[0], 0.5),
    ]


def test_a_damaged_lora_is_refused(sheet, tensors, tmp_path):
    """A safetensors file cut short is told before the night."""
    path = tensors(tmp_path / "sheets" / "x.safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    assert one(sheet, loras="x.safetensors").faults[0].problem == (
        "'x.safetensors' is no whole safetensors file"
    )


def test_upscale_cells(sheet, tensors, tmp_path, studio):
    """A factor, a factor with a model, the studio's model, and Lanczos in its place."""
    model = tensors(tmp_path / "sheets" / "up.safetensors")
    own = studio.model_copy(update={"upscale_model": model})

    def upscale(cell, used=studio):
        return sheet(f"shot,source,upscale\na,a.png,{cell}\n", studio=used).shots[0].finish.upscale

    assert (upscale("2").factor, upscale("1.5x").factor, upscale("none")) == (2.0, 1.5, None)
    assert upscale("2x").model is None
    assert upscale("2x:up.safetensors").model == model
    assert (upscale("2x", own).model, upscale("2x:lanczos", own).model) == (model, None)
    assert upscale("2x", own).model_sha256 == upscale("2x:up.safetensors").model_sha256


def test_more_cards_for_a_shot_are_no_new_work(sheet):
    """`gpus` reaches the shot and changes neither its recipe nor what counts as done."""
    from reports.fingerprint import shot_fingerprint

    (plain,), (hero,) = one(sheet).shots, one(sheet, gpus="2").shots
    assert (plain.gpus, hero.gpus) == (1, 2)
    assert plain.recipe == hero.recipe
    assert shot_fingerprint(plain) == shot_fingerprint(hero)
