"""Sheets, roots and a Prefect server for the tests of the night."""

from __future__ import annotations

import csv
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import pytest
from letterbox import Letterbox, open_letterbox
from PIL import Image
from served import Serve

from flows.prefect_env import prepare


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The real Prefect API over a throw-away database."""
    prepare(tmp_path_factory.mktemp("prefect"))
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    with (
        prefect_test_harness(server_startup_timeout=120),
        temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
    ):
        yield


@pytest.fixture(autouse=True)
def _few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")


class Studio:
    """A root with a photograph, and sheets written into it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        photograph = Path(__file__).parents[2] / "manifests/examples/demo/stills"
        with Image.open(sorted(photograph.glob("*.*"))[0]) as image:
            image.convert("RGB").resize((192, 192)).save(root / "still.png")

    def sheet(self, rows: Sequence[dict[str, Any]], name: str = "shots.csv") -> Path:
        """Write a sheet; every row gets the photograph and the single-stage preset."""
        base = {"source": "still.png", "preset": "single", "prompt": "pan left"}
        filled = [{**base, **row} for row in rows]
        path = self.root / name
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=sorted({key for row in filled for key in row}))
            writer.writeheader()
            writer.writerows(filled)
        return path


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    """An empty root with one photograph."""
    return Studio(tmp_path)


@pytest.fixture
def letterbox() -> Iterator[Letterbox]:
    """Where messages of `notify` arrive."""
    with open_letterbox() as box:
        yield box


@pytest.fixture
def fake_workers(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Environment in which real worker processes run the fake backend."""
    fakes = str(Path(__file__).parents[1] / "fakes")
    values = {
        "RUSHES_BACKEND": "fake_backend:FakeBackend",
        "PYTHONPATH": os.pathsep.join([fakes, str(Path(__file__).parents[2])]),
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return {**os.environ, **values}


@pytest.fixture(scope="session")
def prefect_database(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database of Prefect's. It takes seconds to make one, so it is kept between runs."""
    try:
        folder = pytestconfig.cache.mkdir(f"prefect-{version('prefect')}")  # type: ignore[union-attr]
    except (AttributeError, OSError):  # pytest keeps none, or cannot: a checkout to be read alone
        folder = tmp_path_factory.mktemp("prefect-kept")
    kept = folder / "prefect.db"
    if not kept.exists():
        home = tmp_path_factory.mktemp("prefect-database")
        own = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        subprocess.run(
            [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"],
            env={**own, "PREFECT_HOME": str(home), "DO_NOT_TRACK": "1"},
            check=True,
        )
        made = kept.with_name(f"{os.getpid()}.db")
        whole, copy = (sqlite3.connect(path) for path in (home / "prefect.db", made))
        with closing(whole), closing(copy):
            whole.backup(copy)
        made.rename(kept)
    return kept


@pytest.fixture
def prefect_home(studio: Studio, prefect_database: Path) -> Path:
    """The studio's root has that database already, as from its second night on."""
    home = studio.root / ".rushes" / "prefect"
    home.mkdir(parents=True)
    shutil.copy(prefect_database, home)
    return home


@pytest.fixture
def serve(
    studio: Studio, prefect_home: Path, fake_workers: dict[str, str]
) -> Iterator[Callable[..., Serve]]:
    """Starts `rushes serve` in the studio's root; none is left when the test ends."""
    started: list[Serve] = []

    def start(*, first: bool = False, **settings: str) -> Serve:
        if first:
            shutil.rmtree(prefect_home)
        started.append(Serve(studio.root, fake_workers, **settings))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            for process in [*each.family(), psutil.Process(each.process.pid)]:
                process.kill()
            each.process.wait()
