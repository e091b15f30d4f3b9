"""What `rushes doctor` says of a studio's presets and of whom it tells of nights."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from flows.doctor import print_findings
from flows.doctor_own import messages, presets
from manifests.preset import BUNDLED
from manifests.settings import load_studio


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of presets of a studio at `tmp_path`, with one that is whole."""
    (tmp_path / "studio.yaml").write_text("presets_dir: presets\n")
    (tmp_path / "presets" / "wan").mkdir(parents=True)
    shutil.copy(BUNDLED / "wan" / "single.yaml", tmp_path / "presets" / "wan" / "mine.yaml")
    return tmp_path / "presets"


def test_presets_of_the_studio_s_own_are_named(folder: Path, tmp_path: Path) -> None:
    """All is well where each file is read; without a folder the bundled ones hold."""
    found = presets(load_studio(tmp_path))
    assert (found.well, found.words) == (True, f"wan/mine of your own, in {folder}")
    (tmp_path / "studio.yaml").unlink()
    assert presets(load_studio(tmp_path)).words == "those that come with Rushes"


@pytest.mark.parametrize("name", ["single.yaml", "Wan/single.yaml", "wan/my preset.yaml"])
def test_a_file_that_is_read_as_no_preset_is_named(folder: Path, tmp_path: Path, name: str) -> None:
    """One beside the families, in a folder that is none, or under a name that is none."""
    (folder / name).parent.mkdir(exist_ok=True)
    shutil.copy(BUNDLED / "wan" / "single.yaml", folder / name)
    found = presets(load_studio(tmp_path))
    assert (found.well, found.words.partition("; ")[2]) == (False, f"not read: {name}")
    assert "wan/mine.yaml" in found.remedy


def test_a_preset_with_a_fault_is_told(folder: Path, tmp_path: Path) -> None:
    """Its file, line and key, what is wrong and what to do."""
    mine = folder / "wan" / "mine.yaml"
    mine.write_text(f"crop: 1\n{mine.read_text()}")
    found = presets(load_studio(tmp_path))
    assert not found.well
    assert found.words == "mine.yaml row 1, column crop: there is no key 'crop'"
    assert found.remedy.startswith("use one of: candidates, ")


def test_each_fault_of_a_preset_has_its_remedy(folder: Path, tmp_path: Path) -> None:
    """Of several the remedy of one would be taken for that of all."""
    (folder / "wan" / "mine.yaml").write_text("title: x\nfamly: wan\nstages: []\n")
    found = presets(load_studio(tmp_path))
    lines = found.remedy.splitlines()
    assert found.words == f"{len(lines)} faults"
    assert "mine.yaml row 1, column width: 'width' is missing; add it" in lines
    assert "did you mean 'family'?" in next(line for line in lines if "famly" in line)
    text = io.StringIO()
    print_findings([found], Console(file=text, width=200))
    assert [line[:14] for line in text.getvalue().splitlines()[1:]] == ["    mine.yaml "] * len(
        lines
    )


def test_an_address_that_cannot_be_written_to_is_told_by_its_place(tmp_path: Path) -> None:
    """Before the night, and without the address, which holds a token."""
    urls = ["json://127.0.0.1/tok", "slak://sec-ret", "no address, sec-ret"]
    found = messages(load_studio(tmp_path, notify={"urls": urls}))
    assert not found.well
    assert found.words.endswith(
        "told of start, trouble, end; no address that apprise knows: number 2, 3"
    )
    assert "sec-ret" not in repr(found)
    well = messages(load_studio(tmp_path, notify={"urls": urls[:1], "on": "end"}))
    assert (well.well, well.words) == (True, "1 address, told of end")


def test_a_studio_that_tells_nobody_is_well(tmp_path: Path) -> None:
    """Messages are wanted by who sets them."""
    found = messages(load_studio(tmp_path))
    assert found.well
    assert found.words.startswith("nobody is told")
