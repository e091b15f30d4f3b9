"""Files of a root beside Prefect's pages: what is shown, and what never is."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from flows.shown import FOLDERS, QUEUE, SHOWN, SUFFIXES, address, begin, show


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """A server with a page of its own, which shows a root."""
    for name in (SHOWN, QUEUE):
        monkeypatch.setenv(name, "")  # what is set below is taken back
    for name in (
        "takes/s/strip.jpg",
        "reports/n/index.html",
        "delivered/a b.mp4",
        "takes/s/l.safetensors",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "rushes.db").write_text("the ledger")
    (tmp_path / "secret.jpg").write_text("a photograph beside the folders")
    (tmp_path / "takes/s/out.jpg").symlink_to(tmp_path / "secret.jpg")
    app = FastAPI()

    @app.get("/{rest:path}")
    def answer(rest: str) -> str:
        return "Prefect"

    show(app, tmp_path, begin(tmp_path / ".rushes"))
    return TestClient(app)


def test_pictures_films_and_reports_are_shown_at_their_addresses(
    page: TestClient, tmp_path: Path
) -> None:
    """Under the key, with spaces; a report's script reaches nothing of Prefect's origin."""
    for name in ("takes/s/strip.jpg", "reports/n/index.html", "delivered/a b.mp4"):
        url = address(tmp_path, tmp_path / name)
        assert url is not None
        answer = page.get(url)
        assert (answer.status_code, answer.text) == (200, name)
        assert "allow-same-origin" not in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    part = page.get(url, headers={"Range": "bytes=0-3"})
    assert (part.status_code, part.text) == (206, "deli")


def test_nothing_else_is_shown(page: TestClient, tmp_path: Path) -> None:
    """No latents, no ledger, no list, nothing outside, also not by a link, and nothing by a
    guessed key: there Prefect answers."""
    prefix = os.environ[SHOWN]
    for inside in (
        "takes/s/l.safetensors",
        "takes/s",
        "takes/",
        "takes/%2e%2e/secret.jpg",
        "takes/..%2fsecret.jpg",
        "takes/s/out.jpg",
        "takes/s/none.jpg",
    ):
        answer = page.get(f"{prefix}/{inside}")
        assert answer.status_code == 404 or answer.json() == "Prefect", inside
        assert "photograph" not in answer.text
    assert page.get(f"{prefix}/rushes.db").json() == "Prefect"
    assert page.get("/rushes/guessed/takes/s/strip.jpg").json() == "Prefect"


def test_the_key_is_the_roots_own_and_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Addresses in old pages stay good; another root has another; nobody else reads the file."""
    for name in (SHOWN, QUEUE):
        monkeypatch.setenv(name, "")  # what is set below is taken back
    first, other = begin(tmp_path / "a"), begin(tmp_path / "b")
    assert begin(tmp_path / "a") == first != other
    (tmp_path / "a/shown.key").write_text("")
    assert begin(tmp_path / "a") not in (first, "/rushes/")
    assert stat.S_IMODE((tmp_path / "a/shown.key").stat().st_mode) == 0o600


names = st.text(alphabet="ab .?#%/é", min_size=1, max_size=12)


@given(
    folder=st.sampled_from([*FOLDERS, ".rushes", "inbox"]),
    name=names,
    suffix=st.sampled_from([*sorted(SUFFIXES), ".db", ""]),
)
def test_an_address_is_only_told_of_what_is_shown(folder: str, name: str, suffix: str) -> None:
    """Other folders, other suffixes and other roots have none; an address needs no escape."""
    root = Path("/srv/rushes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SHOWN, "/rushes/key")
        path = root / folder / f"x{name}y{suffix}"
        url = address(root, path)
        assert address(Path("/elsewhere"), path) is None
    assert (url is not None) == (
        folder in FOLDERS and path.suffix in SUFFIXES and ".." not in path.parts
    )
    assert url is None or not set(url) & set(" ?#")


def test_without_our_server_nothing_has_an_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A night whose Prefect is somebody else's."""
    monkeypatch.delenv(SHOWN, raising=False)
    assert address(tmp_path, tmp_path / "takes/strip.jpg") is None
