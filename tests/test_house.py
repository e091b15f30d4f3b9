"""The house: its folders, its packages, and what may be loaded when."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("flows", "tasks", "reports", "render", "qc", "manifests")
BESIDE = {"tests", "docs", "benchmarks", "deploy"}


def test_the_root_holds_exactly_the_known_folders() -> None:
    """A new top-level folder is a decision, not an accident."""
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    folders = {path.split("/")[0] for path in tracked if "/" in path}
    assert {name for name in folders if not name.startswith(".")} <= {*PACKAGES, *BESIDE}


@pytest.mark.parametrize("name", PACKAGES)
def test_each_package_is_ours(name: str) -> None:
    """Names like `tasks` exist on the index: a stranger must not shadow us."""
    package = importlib.import_module(name)
    assert package.__file__ is not None
    assert Path(package.__file__).parent == ROOT / name


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_init_is_one_docstring(name: str) -> None:
    """Importing a package costs nothing."""
    lines = (ROOT / name / "__init__.py").read_text().strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith('"""')


def test_the_command_line_starts_without_anything_heavy() -> None:
    """`rushes --help` must answer at once: no torch, no Prefect, no pandas, no numpy."""
    code = (
        "import sys, flows.cli\n"
        "heavy = {'torch', 'prefect', 'pandas', 'numpy', 'diffusers', 'distributed'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[]"


@pytest.mark.slow
def test_the_orchestrator_never_loads_torch() -> None:
    """The process that runs a night imports flows, tasks and reports, and torch stays out."""
    code = (
        "import sys, flows.night, flows.run, flows.score, flows.status, flows.doctor\n"
        "print(sorted({'torch', 'diffusers', 'cv2', 'lpips'} & set(sys.modules)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip().splitlines()[-1] == "[]"


def test_no_registry_and_no_foreign_path_is_named() -> None:
    """The repository names no package registry and no folder of the machine it was made on."""
    words = ("--index" + "-url", "extra-" + "index", "files.python" + "hosted")
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in tracked:
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".cfg", ""}:
            text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
            assert not [word for word in words if word in text], name


def test_every_requirement_is_pinned() -> None:
    """constraints.txt pins each direct dependency to one version."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {_name(requirement) for requirement in wanted}
    assert names <= pins


def test_every_dependency_has_its_reason() -> None:
    """docs/dependencies.md names each direct dependency."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / "docs/dependencies.md").read_text().lower()
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    missing = [name for name in map(_name, wanted) if f"| {name} |" not in text]
    assert not missing


def _name(requirement: str) -> str:
    import re

    return re.split(r"[\[<>=!~ ;]", requirement)[0].lower().replace("_", "-")
