"""What the pages for people say of commands, files, columns, keys and alerts is so."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import typer
import yaml

from flows.cli import app
from manifests.load import load_manifest
from manifests.models import ModelSpec
from manifests.preset_text import PresetText, StageText
from manifests.settings import load_studio
from manifests.sheet import COLUMNS
from tasks.estimate import LEAST_SHARE, MOST_SHARE

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md"), ROOT / "benchmarks" / "README.md"])
DEMO = ROOT / "manifests" / "examples" / "demo"

_FENCED = re.compile(r"^ *```\w*\n(.*?)^ *```", re.M | re.S)
_INLINE = re.compile(r"`([^`\n]+)`")
_COMMAND = re.compile(
    r"^(?:\$ |sudo -u \w+ |docker .* exec rushes )?(?:\S*/bin/)?rushes ([a-z]+)(.*)"
)
_FOLDERS = "tests|benchmarks|deploy|manifests|render|qc|reports|tasks|flows|docs"
_FILE = re.compile(rf"^((?:{_FOLDERS})/[\w./*-]+?)/?(?:::\w+)?$")


def page(name: str) -> str:
    """The text of a page."""
    return (ROOT / name).read_text(encoding="utf-8")


def written(text: str) -> list[str]:
    """The lines that a page gives to be typed, and what stands between backquotes."""
    fenced = [line.strip() for block in _FENCED.findall(text) for line in block.splitlines()]
    return fenced + _INLINE.findall(_FENCED.sub("", text))


def commands(text: str) -> list[tuple[str, list[str]]]:
    """`rushes COMMAND`, and the options that stand behind it."""
    found = [match.groups() for words in written(text) if (match := _COMMAND.match(words))]
    return [(name, re.findall(r"(?<!\S)--[a-z-]+", rest)) for name, rest in found]


def known_options() -> dict[str, set[str]]:
    """Of every command."""
    group = typer.main.get_command(app)
    return {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in group.commands.items()  # type: ignore[attr-defined]
    }


def keys(table: str) -> list[str]:
    """First cells of a table's rows, several divided by commas; its head is left out."""
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")]
    return [name.strip(" `") for cell in cells[2:] for name in cell.split(",")]


def table_after(text: str, words: str) -> str:
    """The first table behind these words."""
    lines = text.partition(words)[2].splitlines()
    first = next(at for at, line in enumerate(lines) if line.startswith("|"))
    rows = lines[first:]
    return "\n".join(rows[: next(at for at, line in enumerate([*rows, ""]) if line[:1] != "|")])


def test_commands_and_options_of_the_pages_are_there() -> None:
    """What a page has a reader type, the command line knows."""
    known = known_options()
    typed = [(path.name, *each) for path in PAGES for each in commands(path.read_text("utf-8"))]
    assert len({name for _, name, _ in typed}) > len(known) / 2
    wrong = [
        (where, name, option)
        for where, name, options in typed
        for option in options or [""]
        if name not in known or (option and option not in known[name] | {"--help"})
    ]
    assert wrong == []


def test_files_that_the_pages_name_are_there() -> None:
    """Tests, benchmarks and files of the repository, by their path from its root."""
    named = {
        (path.name, match[1])
        for path in PAGES
        for words in _INLINE.findall(path.read_text(encoding="utf-8"))
        if (match := _FILE.match(words))
    }
    assert len(named) > 20
    gone = [
        (where, name)
        for where, name in named
        if not any(ROOT.glob(name)) and not (ROOT / f"{name}.py").exists()
    ]
    assert gone == []


def test_the_columns_of_a_sheet_stand_in_the_guide() -> None:
    """All of them, and none besides."""
    assert sorted(keys(table_after(page("docs/guide.md"), "## The sheet"))) == sorted(COLUMNS)


def test_the_keys_of_presets_and_stages_stand_in_their_page() -> None:
    """All of them, and none besides."""
    text = page("docs/presets.md")
    of_preset = keys(table_after(text, "## Keys of a preset"))
    of_stage = keys(table_after(text, "## Keys of a stage"))
    assert sorted(of_preset) == sorted(PresetText.model_fields)
    assert sorted(of_stage) == sorted(StageText.model_fields)


def test_the_keys_of_a_model_stand_in_the_guide() -> None:
    """All of them, and none besides."""
    table = table_after(page("docs/guide.md"), "wan22_i2v_low_Q4_K_M.gguf\n```")
    assert sorted(keys(table)) == sorted(ModelSpec.model_fields)


@pytest.mark.parametrize("name", ["docs/guide.md", "docs/rendering.md"])
def test_the_pages_say_where_the_plan_warns_of_a_start(name: str) -> None:
    """The shares of noise below and above which a later stage makes no sense."""
    assert f"below {LEAST_SHARE:.2f} and above {MOST_SHARE:.2f}" in page(name)


def test_the_alerts_stand_in_the_page_on_monitoring() -> None:
    """All of deploy/prometheus, and none besides."""
    rules = yaml.safe_load(page("deploy/prometheus/rushes.rules.yml"))
    there = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
    assert keys(table_after(page("docs/monitoring.md"), "seconds apiece |\n")) == there


def test_the_sheet_of_the_readme_is_one(tmp_path: Path) -> None:
    """Saved beside the demo's stills, as it says there, it has no fault."""
    text = page("README.md").partition("```csv\n")[2].partition("```")[0]
    for folder in ("stills", "grades"):
        shutil.copytree(DEMO / folder, tmp_path / folder)
    (tmp_path / "shots.csv").write_text(text, encoding="utf-8")
    manifest = load_manifest(tmp_path / "shots.csv", studio=load_studio(tmp_path))
    assert manifest.faults == ()
    assert [shot.id for shot in manifest.shots] == ["seq010_sh0010", "seq010_sh0020"]


@pytest.mark.parametrize("sheet", ["demo/shots.csv", "shots.yaml"])
def test_the_example_sheets_are_whole(tmp_path: Path, sheet: str) -> None:
    """With the demo's folder of presets, as the guide says."""
    studio = load_studio(tmp_path, presets_dir=DEMO / "presets")
    assert load_manifest(DEMO.parent / sheet, studio=studio).faults == ()
