"""`rushes doctor` about what takes are judged with: LPIPS weights and learned limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.doctor import Finding, examine
from qc.cells import Cell, Measured
from qc.studio_limits import NAME, CellLimits, StudioLimits
from qc.thresholds import table_version
from qc.trunk import TRUNK_FILES

pytestmark = pytest.mark.slow


def findings(root: Path) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine(root)}


def limits_file(root: Path, *, backbone: str) -> None:
    """A thresholds.yaml that was learned with that backbone."""
    cell = CellLimits(
        cell=Cell(preset="wan/two-stage", width=832, height=480, fps=16.0),
        date="2026-11-20",
        clips=87,
        limits={"flicker": (0.004, 0.006)},
    )
    measured = Measured(versions={"flicker": "1"}, backbone=backbone)
    (root / NAME).write_text(
        StudioLimits(measured=measured, defaults=table_version(), cells=(cell,)).to_text()
    )


def test_without_weights_it_says_how_to_bring_them(tmp_path: Path) -> None:
    """The random backbone is no fault: its self-test is told, and file, hash and setting; limits
    that were learned with a trained one are named as idle."""
    limits_file(tmp_path, backbone="alex (trained)")
    found = findings(tmp_path)
    weights, limits = found["LPIPS weights"], found["limits"]
    assert weights.well
    assert "alex, random, seed 0 (uncalibrated); self-test 0.3198, as stored" in weights.words
    for word in (TRUNK_FILES[0], "7be5be79,", "alexnet.safetensors", "lpips_weights_dir"):
        assert word in weights.remedy
    assert "not in use" in limits.words
    assert "'alex (trained)'" in limits.words


def test_a_folder_without_weights_keeps_the_machine_from_being_well(tmp_path: Path) -> None:
    """A configured folder that holds no weights is a fault with the files to bring, and so is a
    thresholds.yaml that cannot be read; nothing else is taken in their place."""
    (tmp_path / "weights").mkdir()
    (tmp_path / "studio.yaml").write_text("lpips_weights_dir: weights\n")
    (tmp_path / NAME).write_text("defaults: a\nmeasured: {backbone: x, versions: {}}\ncells: 3\n")
    found = findings(tmp_path)
    weights, limits = found["LPIPS weights"], found["limits"]
    assert not weights.well
    assert "no LPIPS weights" in weights.words
    assert TRUNK_FILES[0] in weights.remedy
    assert not limits.well
    assert limits.words.startswith(f"{NAME}, column cells: ")
    assert "rushes calibrate --write" in limits.remedy


def test_limits_of_the_studio_that_are_misspelt_keep_it_from_being_well(tmp_path: Path) -> None:
    """No night could begin with them."""
    (tmp_path / "studio.yaml").write_text("thresholds: {flickr: {fail: 1}}\n")
    limits = findings(tmp_path)["limits"]
    assert not limits.well
    assert limits.remedy == "did you mean 'flicker'?"
