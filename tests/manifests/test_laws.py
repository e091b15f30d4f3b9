"""Laws of sheets: written and read again is the same, and nothing a file holds can raise."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from laws import examples

from manifests.deadline import Deadline
from manifests.dump import dump_csv, dump_yaml
from manifests.errors import Fault
from manifests.families import FAMILIES
from manifests.grade import GradeRef
from manifests.load import load_manifest, read_rows
from manifests.loras import LoraRef
from manifests.row import MAX_SEED, RowValues, ShotRow
from manifests.shot import Shot
from manifests.size import choose_size, fit_frames
from manifests.upscale import UpscaleRef

few = settings(
    max_examples=examples(60),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
text = st.text(
    st.characters(
        codec="utf-8", exclude_categories=["Cc", "Cs"], include_characters="\n=+-@'\"#;,"
    ),
    min_size=1,
    max_size=40,
).map(str.strip)
some = text.filter(bool)
clearable = text.map(lambda word: "" if word.lower() == "none" else word)
ids = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}[A-Za-z0-9_-]", fullmatch=True)
names = st.sampled_from(["two-stage", "pocket/single", "draft", "wan.2"])
files = st.from_regex(r"[a-z][a-z0-9 _/-]{0,12}[a-z0-9]", fullmatch=True)
hundredths = st.integers(0, 400).map(lambda n: n / 100)
triples = st.none() | st.tuples(hundredths, hundredths, hundredths)
grades = st.builds(
    GradeRef,
    slope=triples,
    offset=st.none() | st.tuples(*[st.integers(-90, 90).map(lambda n: n / 1000)] * 3),
    saturation=st.none() | hundredths,
    lut=st.none() | files.map(lambda name: f"{name}.cube"),
)
loras = st.lists(
    st.builds(
        LoraRef,
        files.map(lambda name: f"{name}.safetensors"),
        st.integers(-200, 200).map(lambda n: n / 100),
    ),
    max_size=3,
    unique_by=lambda lora: lora.file,
).map(tuple)
upscales = st.builds(UpscaleRef, st.integers(101, 400).map(lambda n: n / 100)) | st.just(
    UpscaleRef()
)
moments = st.builds(
    lambda day, clock: datetime.combine(day, clock.replace(microsecond=0)),
    st.dates(date(2000, 1, 1), date(2999, 12, 30)),
    st.times(),
)
offsets = st.integers(-12 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
deadlines = st.one_of(
    st.just(None),
    moments.map(lambda moment: moment.date()),
    moments,
    st.builds(lambda moment, offset: moment.replace(tzinfo=offset), moments, offsets),
).map(Deadline)
references = st.builds(lambda sheet, shot: f"{sheet}{shot}", st.sampled_from(["", "mon/"]), ids)
values = {
    "source": clearable,
    "start_from": references | st.just(""),
    "deadline": deadlines,
    "after": st.lists(references, max_size=3, unique=True).map(tuple),
    "prompt": some,
    "negative": clearable,
    "preset": names,
    "model": names,
    "frames": st.integers(1, 9999),
    "fps": st.floats(1, 240, allow_nan=False),
    "width": st.integers(1, 16384),
    "height": st.integers(1, 16384),
    "seed": st.integers(0, MAX_SEED),
    "priority": st.integers(-1_000_000, 1_000_000),
    "gpus": st.integers(1, 8),
    "style": clearable,
    "loras": loras,
    "grade": grades,
    "upscale": upscales,
    "notes": some,
}
rows = (
    st.fixed_dictionaries({"shot": ids, "prompt": values.pop("prompt")}, optional=values)
    .filter(lambda cells: not (cells.get("source") and cells.get("start_from")))
    .map(lambda cells: ShotRow(**{key: value for key, value in cells.items() if value is not None}))
)


@few
@given(sheet=st.lists(rows, min_size=1, max_size=4))
@pytest.mark.parametrize(("suffix", "dump"), [(".csv", dump_csv), (".yaml", dump_yaml)])
def test_reading_what_was_written_gives_the_same_rows(tmp_path, suffix, dump, sheet):
    """load(dump(rows)) is the identity, for CSV and for YAML."""
    path = tmp_path / f"night{suffix}"
    path.write_bytes(dump(sheet).encode())
    assert read_rows(path) == (tuple(sheet), ())


@few
@given(sheet=st.lists(rows, min_size=1, max_size=3))
def test_a_written_csv_holds_no_formula(tmp_path, sheet):
    """No cell of text starts as a formula would in a spreadsheet."""
    import csv
    import io

    for record in csv.reader(io.StringIO(dump_csv(sheet), newline=""), strict=True):
        for cell in record:
            assert cell[:1] not in ("=", "+", "@")
            assert not cell.startswith("-") or cell[1:].isdigit()


@few
@given(data=st.binary(max_size=300), suffix=st.sampled_from([".csv", ".yaml", ".tsv", ".txt"]))
def test_any_bytes_as_a_manifest_give_faults_and_never_raise(tmp_path, studio, data, suffix):
    """Whatever a file holds, loading it returns: shots, or at least one fault."""
    path = tmp_path / f"night{suffix}"
    path.write_bytes(data)
    manifest = load_manifest(path, studio=studio)
    assert manifest.shots or manifest.faults
    assert all(isinstance(fault, Fault) and str(fault) for fault in manifest.faults)


pieces = [
    "shot",
    "prompt",
    "source",
    "shots:",
    ",",
    ";",
    '"',
    "'",
    "a.png",
    "&a",
    "*a",
    "[",
    "]",
    "{",
    "}",
    "!!int",
    "?",
    "---",
    "#",
    "grade",
    "=",
    "x",
]
pieces = ["shot", "prompt", "source", "shots:", "a.png", "&a", "*a", "!!int", "---", "grade", "x"]
fragments = st.lists(
    st.sampled_from([*pieces, *",;\"'[]{}?#=\t\n", "- ", ": ", "\n  ", "|\n"]), max_size=40
).map("".join)


@few
@given(data=fragments, suffix=st.sampled_from([".csv", ".yaml"]))
def test_broken_grammar_never_raises(tmp_path, studio, data, suffix):
    """Pieces of CSV and YAML in any order are shots or faults."""
    path = tmp_path / f"night{suffix}"
    path.write_text("shot,prompt\n" * (suffix == ".csv") + data)
    manifest = load_manifest(path, studio=studio)
    assert manifest.shots or manifest.faults


@few
@given(cells=st.dictionaries(st.sampled_from(list(values)), text, max_size=6))
def test_any_cells_never_raise(tmp_path, studio, cells):
    """Whatever is typed into the columns of a row, its shot or its faults come back."""
    import csv

    path = tmp_path / "night.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["shot", *cells], ["a", *cells.values()]])
    manifest = load_manifest(path, studio=studio)
    assert manifest.shots or manifest.faults


@few
@given(row=rows, defaults=rows)
def test_a_row_wins_over_defaults(row, defaults):
    """What the row says stands, what it does not say comes from the defaults, the rest is None."""
    merged = row.over(RowValues(**{k: v for k, v in defaults.said().items() if k != "shot"}))
    for column in values:
        mine, theirs = getattr(row, column), getattr(defaults, column)
        assert getattr(merged, column) == (theirs if mine is None else mine)
    assert merged.shot == row.shot


@few
@given(
    typed=st.none() | st.integers(64, 256),
    default=st.none() | st.integers(64, 256),
    kind=st.sampled_from(["frames", "seed", "fps"]),
    row=st.none() | st.integers(5, 33),
    defaults=st.none() | st.integers(5, 33),
)
def test_row_over_defaults_over_preset_over_studio(
    tmp_path, studio, still, typed, default, kind, row, defaults
):
    """The recipe takes the row's value, else the defaults', else the preset's or the studio's."""
    if not (tmp_path / "a.png").exists():
        still(tmp_path / "a.png")
    said = {"shot": "a", "source": "a.png", "width": typed, kind: row}
    beneath = {"width": default, kind: defaults, "height": 128}
    path = tmp_path / "night.yaml"
    path.write_text(f"defaults: {_flow(beneath)}\nshots: [{_flow(said)}]\n")
    manifest = load_manifest(path, studio=studio)
    assert manifest.faults == ()
    recipe = manifest.shots[0].recipe
    width = typed or default
    if width is not None:
        assert abs(recipe.width - width) <= 8
    found = row if row is not None else defaults
    if found is None:
        assert (recipe.frames, recipe.fps, recipe.preset) == (17, 8.0, "pocket/two-stage")
    elif kind == "frames":
        assert found <= recipe.frames < found + 4
    else:
        assert getattr(recipe, kind) == found


def _flow(cells: dict[str, object]) -> str:
    return "{" + ", ".join(f"{key}: {'~' if v is None else v}" for key, v in cells.items()) + "}"


@few
@given(family=st.sampled_from(list(FAMILIES.values())), data=st.data())
def test_snapped_frames_fit_the_family_and_are_not_fewer(family, data):
    """The least valid count that is not below what was asked."""
    asked = data.draw(st.integers(family.min_frames, family.max_frames))
    frames, said = fit_frames(asked, family=family)
    assert (frames - family.frame_offset) % family.frame_step == 0
    assert family.latent_frames(frames) >= 1
    assert asked <= frames < asked + family.frame_step
    assert bool(said) == (frames != asked)


@few
@given(
    family=st.sampled_from(list(FAMILIES.values())),
    source=st.tuples(st.integers(16, 8000), st.integers(16, 8000)),
    multiple=st.sampled_from([16, 32]),
)
def test_a_chosen_size_is_one_the_model_renders(family, source, multiple):
    """Multiples inside the limits; for ordinary shapes within 10 % of shape and half the area."""
    side = 128 if family.name == "pocket" else 640
    size = choose_size(preset=(side, side), source=source, family=family, multiple=multiple)
    for pixels in (size.width, size.height):
        assert pixels % multiple == 0
        assert family.min_size <= pixels <= family.max_size
    aspect = source[0] / source[1]
    if 0.6 < aspect < 1.7 and multiple == 16:
        assert 0.9 < size.width / size.height / aspect < 1.1
        assert 0.6 < size.width * size.height / side**2 < 1.5


def test_the_bundled_sheets_are_good(tmp_path):
    """The demo and the YAML example load without a fault, with three presets, grade and upscale."""
    import manifests
    from manifests.settings import load_studio

    examples = Path(manifests.__path__[0]) / "examples"
    studio = load_studio(tmp_path, presets_dir=examples / "demo" / "presets")
    demo = load_manifest(examples / "demo" / "shots.csv", studio=studio)
    other = load_manifest(examples / "shots.yaml", studio=studio)
    assert demo.faults + other.faults == ()
    assert len(demo.shots) >= 6
    presets = {shot.recipe.preset for shot in demo.shots}
    assert presets >= {"pocket/single", "pocket/two-stage", "pocket/three-stage"}
    assert any(shot.finish.grade for shot in demo.shots)
    assert any(shot.finish.upscale for shot in demo.shots)
    assert any(shot.start_from for shot in other.shots)
    assert all(isinstance(shot, Shot) and shot.source for shot in demo.shots)
    stills = list((examples / "demo" / "stills").iterdir())
    assert all(path.stat().st_size < 100_000 for path in stills)
