"""Publishing: versions are immutable, and a crash between two steps does no harm."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ledger_maker import Maker

from manifests.files import sha256_file
from tasks.finish_shot import _finished, publish


@pytest.fixture
def job() -> Any:
    """As much of a job as publishing looks at."""
    return SimpleNamespace(manifest="shots", shot=SimpleNamespace(id="sh0010"))


def finished(folder: Path, words: str) -> Any:
    path = folder / f"{words}.mp4"
    path.write_text(words)
    return SimpleNamespace(path=path, sha256=sha256_file(path))


def test_a_version_is_never_overwritten(tmp_path: Path, job: Any) -> None:
    """Where v001 holds other bytes, the file becomes v002 and v001 stays."""
    first = publish(tmp_path / "out", job, finished(tmp_path, "one"), first=1)
    second = publish(tmp_path / "out", job, finished(tmp_path, "two"), first=1)
    assert (first[0], second[0]) == (1, 2)
    assert first[1].read_text() == "one"
    assert second[1].read_text() == "two"


def test_publishing_the_same_bytes_again_finds_them(tmp_path: Path, job: Any) -> None:
    """Killed between publishing and writing it down: the next run finds its own file."""
    delivery = finished(tmp_path, "one")
    assert publish(tmp_path / "out", job, delivery, first=1) == publish(
        tmp_path / "out", job, delivery, first=1
    )


def test_a_published_file_cannot_be_written_and_nothing_is_left_beside(
    tmp_path: Path, job: Any
) -> None:
    """Delivered files are read-only; no temporary name stays."""
    _, path = publish(tmp_path / "out", job, finished(tmp_path, "one"), first=1)
    assert path.stat().st_mode & 0o222 == 0
    assert [each.name for each in path.parent.iterdir()] == ["sh0010_v001.mp4"]


def test_only_what_is_still_as_it_was_finished_is_taken_up_again(tmp_path: Path) -> None:
    """Killed before it was published: the file is not made again, unless it is changed or gone, or
    what tells of it cannot be read."""
    final = tmp_path / "final.mp4"
    final.write_text("film")
    made = Maker(tmp_path).delivery(final, sha256=sha256_file(final))
    assert _finished(tmp_path) is None
    (tmp_path / "delivery.json").write_text(json.dumps(made.to_dict()))
    assert _finished(tmp_path) == made
    final.write_text("half")
    assert _finished(tmp_path) is None
    final.unlink()
    assert _finished(tmp_path) is None
    (tmp_path / "delivery.json").write_text('{"path": ')
    assert _finished(tmp_path) is None
