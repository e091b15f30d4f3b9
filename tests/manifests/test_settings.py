"""Settings: command line over environment over studio.yaml over defaults; faults in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from manifests.errors import BadInput
from manifests.library import resolve_model
from manifests.settings import Studio, load_studio


def write(root: Path, text: str) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "studio.yaml").write_text(text)
    return root


def faults(root, **overrides):
    with pytest.raises(BadInput) as caught:
        load_studio(root, **overrides)
    return [(str(f.file.name), f.row, f.column, f.problem, f.remedy) for f in caught.value.faults]


def test_an_empty_root_has_defaults(tmp_path):
    """Without any setting the pocket model, two stages and three takes hold."""
    studio = load_studio(tmp_path)
    assert (studio.default_model, studio.default_preset, studio.max_takes) == (
        "pocket-wan",
        "two-stage",
        3,
    )
    assert (studio.ledger_path, studio.takes_dir) == (tmp_path / "rushes.db", tmp_path / "takes")
    assert studio.delivered_dir == tmp_path / "delivered"
    assert (studio.reports_dir, studio.state_dir) == (tmp_path / "reports", tmp_path / ".rushes")
    assert studio.models["pocket-wan"].family == "pocket"


def test_command_line_over_environment_over_file_over_defaults(tmp_path, monkeypatch):
    """Each source wins over the ones below it; what none says is the default."""
    write(tmp_path, "max_takes: 4\nthreads: 4\ncrf: 20\n")
    monkeypatch.setenv("RUSHES_MAX_TAKES", "5")
    monkeypatch.setenv("RUSHES_THREADS", "5")
    studio = load_studio(tmp_path, max_takes=6, threads=None)
    assert (studio.max_takes, studio.threads, studio.crf, studio.device) == (6, 5, 20, "auto")


def test_the_root_may_come_from_the_environment(tmp_path, monkeypatch):
    """RUSHES_ROOT is used where no root is given, and its studio.yaml is read."""
    write(tmp_path, "max_takes: 9\n")
    monkeypatch.setenv("RUSHES_ROOT", str(tmp_path))
    assert (load_studio().root, load_studio().max_takes) == (tmp_path, 9)
    assert Studio(root=tmp_path).max_takes == 9


def test_paths_in_the_file_start_at_its_folder(tmp_path, model_folder):
    """Relative paths do not depend on where the command was started."""
    (tmp_path / "stills").mkdir()
    (tmp_path / "presets").mkdir()
    write(
        tmp_path,
        "source_roots: [stills]\npresets_dir: presets\nupscale_model: up.safetensors\n"
        "models:\n  own:\n    family: pocket\n    location: models/model\n",
    )
    studio = load_studio(tmp_path)
    assert studio.source_roots == (tmp_path / "stills",)
    assert studio.presets_dir == tmp_path / "presets"
    assert studio.upscale_model == tmp_path / "up.safetensors"
    assert studio.models["own"].location == str(model_folder())
    assert sorted(studio.models) == ["own", "pocket-wan"]
    assert resolve_model("own", studio=studio).model_id.startswith("sha256:")


def test_a_folder_that_is_not_there_is_no_folder_of_presets(tmp_path):
    """The bundled presets of the same names would be rendered in place of the studio's."""
    write(tmp_path, "presets_dir: presetz\n")
    problem = f"the folder '{tmp_path}/presetz' is not there"
    assert faults(tmp_path) == [("studio.yaml", 1, "presets_dir", problem, "make it or drop it")]


def test_a_link_to_settings_that_are_not_there_is_no_lack_of_settings(tmp_path):
    """A share that is not mounted must not mean a night with the defaults."""
    (tmp_path / "studio.yaml").symlink_to(tmp_path / "share" / "studio.yaml")
    with pytest.raises(BadInput, match="is a link to a file that is not there; mount"):
        load_studio(tmp_path)


@pytest.mark.parametrize("number", ["inf", "nan", "1e400"])
def test_a_number_without_end_is_no_setting(tmp_path, monkeypatch, number):
    """No size, time or memory is without end, whichever source says so."""
    monkeypatch.setenv("RUSHES_CARD_MEMORY_GB", number)
    monkeypatch.setenv("RUSHES_STORE_GB", number)
    assert {column for _, _, column, *_ in faults(tmp_path)} == {
        "RUSHES_CARD_MEMORY_GB",
        "RUSHES_STORE_GB",
    }


def test_the_store_has_a_size_or_is_not_there(tmp_path):
    """`store_gb: 0` keeps nothing; else the store lies in the folder that may be deleted."""
    studio = load_studio(tmp_path)
    assert (studio.store_gb, studio.store_dir) == (20.0, studio.state_dir / "store")
    write(tmp_path, "store_gb: 0\n")
    assert load_studio(tmp_path).store_dir is None
    write(tmp_path, "store_gb: -1\n")
    assert faults(tmp_path)[0][:3] == ("studio.yaml", 1, "store_gb")


def test_source_roots_from_the_environment_are_divided_as_paths_are(tmp_path, monkeypatch):
    """RUSHES_SOURCE_ROOTS=/a:/b, as PATH."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.setenv("RUSHES_SOURCE_ROOTS", f"{tmp_path / 'a'}:{tmp_path / 'b'}")
    assert load_studio(tmp_path).source_roots == (tmp_path / "a", tmp_path / "b")


def test_every_fault_of_the_file_comes_at_once_with_its_line(tmp_path):
    """Unknown keys, wrong types and ranges: each with line, and did you mean."""
    write(
        tmp_path,
        "max_take: 3\nthreads: many\ncrf: 99\ndevice: gpu\n"
        "models:\n  x:\n    famly: wan\n    location: y\n  z: {family: wam, location: y}\n",
    )
    found = faults(tmp_path)
    assert sorted((row, column) for _, row, column, _, _ in found) == [
        (1, "max_take"),
        (2, "threads"),
        (3, "crf"),
        (4, "device"),
        (7, "models.x.family"),
        (7, "models.x.famly"),
        (9, "models.z.family"),
    ]
    remedies = {column: remedy for _, _, column, _, remedy in found}
    assert remedies["max_take"] == "did you mean 'max_takes'?"
    assert remedies["models.x.famly"] == "did you mean 'family'?"
    assert remedies["models.z.family"] == "did you mean 'wan'?"


def test_faults_stand_in_the_order_of_the_file_and_say_what_to_write(tmp_path):
    """A number, a bound, a near word, a key of an inner mapping: in plain words, line by line."""
    write(
        tmp_path,
        "crf: 99\nmax_takes: three\nstore_gb: 20 GB\ninbox: {quiet: 3}\n"
        "window: {start: '22:00', end: '07:00', timezone: UTC, days: [mo]}\n"
        "models: {x: {family: wan, location: y, precision: bf16}}\n"
        "notify: {urls: ['slack://token'], on: [begin]}\n",
    )
    found = faults(tmp_path)
    assert [(row, column, remedy) for _, row, column, _, remedy in found] == [
        (1, "crf", "write 51 or less"),
        (2, "max_takes", "write a whole number"),
        (3, "store_gb", "write a number"),
        (4, "inbox.quiet", "use one of: folder, grace_minutes, poll, quiet_seconds"),
        (5, "window.days", "did you mean 'mon'?"),
        (6, "models.x.precision", "did you mean 'bfloat16'?"),
        (7, "notify.on.0", "use one of: end, start, trouble"),
    ]
    assert "token'" not in str(found)


def test_faults_of_its_form_and_of_its_values_come_at_once(tmp_path):
    """A key that stands twice, a tag, an anchor that is none, a value out of range, an unknown key:
    in the order of the file, and none hides another."""
    write(tmp_path, "crf: 20\ncrf: 21\nthreads: !!python/name:os.system 2\nmax_takes: 99\n")
    (tmp_path / "studio.yaml").open("a").write("stop_disk_gb: *there\nmax_take: 3\n? [a]\n: b\n")
    assert [(row, problem) for _, row, _, problem, _ in faults(tmp_path)] == [
        (2, "the key 'crf' stands twice (line 1 before)"),
        (3, "the tag 'tag:yaml.org,2002:python/name:os.system' is not read"),
        (4, "'99' is refused"),
        (5, "'*there' stands for nothing"),
        (6, "there is no setting 'max_take'"),
        (7, "a key is not text"),
    ]


def test_what_stands_before_broken_yaml_is_told_with_it(tmp_path):
    """The rest cannot be read; what was found so far is not lost."""
    write(tmp_path, "crf: 20\ncrf: 21\nmodels: [\n")
    assert [row for _, row, *_ in faults(tmp_path)] == [2, 4]


def test_settings_made_without_load_studio_refuse_a_file_with_faults(tmp_path):
    """Nobody gets the half of it that could be read."""
    write(tmp_path, "crf: 20\ncrf: 21\n")
    with pytest.raises(BadInput):
        Studio(root=tmp_path)


def test_a_fault_says_which_source_it_came_from(tmp_path, monkeypatch):
    """Command line, environment and file are told apart; near names in the environment too."""
    assert faults(tmp_path, max_takes=0)[0][:3] == ("command line", None, "max_takes")
    monkeypatch.setenv("RUSHES_THREADS", "x")
    monkeypatch.setenv("RUSHES_MAX_TAKE", "3")
    monkeypatch.setenv("RUSHES_SOMETHING_ELSE", "3")
    found = faults(tmp_path)
    assert [(file, column) for file, _, column, _, _ in found] == [
        ("environment", "RUSHES_MAX_TAKE"),
        ("environment", "RUSHES_THREADS"),
    ]
    assert found[0][4] == "did you mean RUSHES_MAX_TAKES?"


def test_a_fault_names_the_variable_that_holds_the_value(tmp_path, monkeypatch):
    """Of a part of a setting, of a whole one as JSON, and beside what is missing; what the file
    says stays the file's."""
    monkeypatch.setenv("RUSHES_CARDS__YIELD_TO_OTHERS", "x")
    monkeypatch.setenv("RUSHES_INBOX", '{"poll": "x"}')
    monkeypatch.setenv("RUSHES_WINDOW__START", "22:00")
    monkeypatch.setenv("RUSHES_CRF_OF_LAST_YEAR", "23")
    write(tmp_path, "crf: 99\n")
    found = sorted((file, column) for file, _, column, _, _ in faults(tmp_path))
    assert found == [
        ("environment", "RUSHES_CARDS__YIELD_TO_OTHERS"),
        ("environment", "RUSHES_INBOX.poll"),
        ("environment", "RUSHES_WINDOW__START"),
        ("environment", "RUSHES_WINDOW__START"),
        ("studio.yaml", "crf"),
    ]


def test_an_unknown_default_model_is_refused(tmp_path):
    """The default model must be in the list; it is told with its line, beside other faults."""
    write(tmp_path, "crf: 99\ndefault_model: poket-wan\n")
    found = faults(tmp_path)
    assert [fault[1:3] for fault in found] == [(1, "crf"), (2, "default_model")]
    assert found[1][3:] == (
        "default_model 'poket-wan' is not among the models",
        "did you mean 'pocket-wan'?",
    )


def test_a_default_model_is_not_refused_for_models_that_cannot_be_read(tmp_path):
    """It may be one of them: only they are told."""
    write(tmp_path, "default_model: mine\nmodels: {mine: {family: wan}}\n")
    assert [fault[2] for fault in faults(tmp_path)] == ["models.mine.location"]


@pytest.mark.parametrize(
    ("text", "row", "problem"),
    [
        ("crf: 1\ncrf: 2\n", 2, "the key 'crf' stands twice"),
        ("- a\n", None, "is no mapping"),
        ("a: [\n", 2, "is not valid YAML"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text, row, problem):
    """Broken YAML is named with its line."""
    write(tmp_path, text)
    found = faults(tmp_path)
    assert found[0][1] == row
    assert found[0][3].startswith(problem)


def test_parts_of_a_model_are_placed_on_cards_by_name(tmp_path):
    """A part or card that is misspelt is named with its line and what was probably meant."""
    write(tmp_path, "placement: {vae: cuda:1, upscale: cuda:2}\n")
    assert load_studio(tmp_path).placement.parts == {"vae": "cuda:1"}
    write(tmp_path, "placement:\n  vea: cuda:1\n  text_encoder: gpu1\n")
    remedies = {column: remedy for _, _, column, _, remedy in faults(tmp_path)}
    assert remedies == {
        "placement.vea": "did you mean 'vae'?",
        "placement.text_encoder": "write cuda:1, say",
    }


def test_settings_cannot_be_changed_and_can_be_sent(tmp_path):
    """Frozen and picklable: a flow and its workers see the same."""
    import pickle

    studio = load_studio(tmp_path)
    with pytest.raises(Exception, match="frozen"):
        studio.max_takes = 5
    assert pickle.loads(pickle.dumps(studio)) == studio


def test_a_motion_adapter_lies_beside_studio_yaml(tmp_path):
    """A relative folder starts at studio.yaml; a hub id with its commit is left alone."""
    hub = "owner/motion@" + "0" * 40
    (tmp_path / "studio.yaml").write_text(
        "models:\n"
        "  here: {family: animatediff, location: sd15, motion_adapter: motion}\n"
        f"  hub: {{family: animatediff, location: sd15, motion_adapter: {hub}}}\n"
    )
    models = load_studio(tmp_path).models
    assert models["here"].motion_adapter == str(tmp_path / "motion")
    assert models["hub"].motion_adapter == hub


def test_the_models_of_the_guide_are_settings_that_are_read(tmp_path):
    """Folder, hub, single files and GGUF as docs/guide.md writes them."""
    guide = (Path(__file__).parents[2] / "docs" / "guide.md").read_text(encoding="utf-8")
    written = guide.partition("## First night on real models")[2].partition("```yaml\n")[2]
    (tmp_path / "studio.yaml").write_text(written.partition("```")[0])
    models = load_studio(tmp_path).models
    assert [name for name in models if name != "pocket-wan"] == [
        "wan22-i2v",
        "wan22-t2v",
        "my-finetune",
        "wan22-i2v-q4",
    ]
    assert models["wan22-t2v"].is_hub
    assert models["wan22-i2v-q4"].files["transformer_2"] == (
        tmp_path / "files" / "wan22_i2v_low_Q4_K_M.gguf"
    )


def test_every_setting_stands_in_the_guide():
    """What studio.yaml may say has a line in the table of docs/guide.md; `root` is --root."""
    guide = (Path(__file__).parents[2] / "docs" / "guide.md").read_text(encoding="utf-8")
    table = guide.partition("## Settings")[2].partition("\n## ")[0]
    lines = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")]
    named = {name.strip() for line in lines for name in line.split(",")}
    assert set(Studio.model_fields) - {"root"} <= named


def test_a_root_that_is_a_file_is_told_so(tmp_path):
    """A sheet where the folder belongs is not a studio.yaml that cannot be read."""
    (tmp_path / "shots.csv").write_text("shot,prompt\n")
    ((name, _, _, problem, remedy),) = faults(tmp_path / "shots.csv")
    assert (name, problem) == ("shots.csv", "is a file, and no studio's folder")
    assert "--root" in remedy
