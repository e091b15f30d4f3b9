"""Files that are whole or not there: what is on the disk before what."""

from __future__ import annotations

from pathlib import Path

import pytest

from manifests import files
from manifests.files import atomic_path, naming, write_atomic


def test_what_is_written_is_on_the_disk_before_its_name_and_the_name_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut leaves the old file or the new one, never a name without its content."""
    done: list[str] = []
    path, to_disk = tmp_path / "clip.mkv", files._fsync

    def noted(at: Path) -> None:
        done.append(at.name)
        to_disk(at)

    def name_it(temporary: Path) -> None:
        done.append("named")
        temporary.rename(path)

    monkeypatch.setattr(files, "_fsync", noted)
    with naming(path, name_it) as temporary:
        temporary.write_bytes(b"frames")
        assert temporary.suffix == ".mkv"
    assert done == [temporary.name, "named", tmp_path.name]
    assert path.read_bytes() == b"frames"


def test_what_breaks_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    """However far the new one had come."""
    path = tmp_path / "delivery.json"
    write_atomic(path, "old")

    def breaks() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half of the ne")
            raise KeyError("cut")

    with pytest.raises(KeyError, match="cut"):
        breaks()
    assert [each.name for each in tmp_path.iterdir()] == ["delivery.json"]
    assert path.read_text() == "old"
