"""Publishing: whole or not at all, once and never again."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from render.errors import VersionExists
from render.post.publish import new_version, publish, rename_noreplace


def test_the_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    """Until the block ends the name is free; then the whole file is there, and nothing else."""
    path = tmp_path / "out" / "sh010_v001.mp4"
    with new_version(path) as temporary:
        temporary.write_bytes(b"whole")
        assert not path.exists()
        assert temporary.suffix == ".mp4"
    assert path.read_bytes() == b"whole"
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    """A block that raises publishes nothing and leaves nothing behind."""
    path = tmp_path / "v001.mp4"

    def half() -> None:
        with new_version(path) as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError("half")

    with pytest.raises(RuntimeError, match="half"):
        half()
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    """A version that exists is refused before any work, and stays as it was."""
    path = tmp_path / "v001.mp4"
    path.write_bytes(b"first")
    with pytest.raises(VersionExists, match=r"v001\.mp4: this version"), new_version(path):
        pytest.fail("the work was begun")
    assert path.read_bytes() == b"first"


def test_a_version_published_meanwhile_is_kept(tmp_path: Path) -> None:
    """Another process's version that appears during the work wins; ours is dropped."""
    path = tmp_path / "v001.mp4"

    def second() -> None:
        with new_version(path) as temporary:
            temporary.write_bytes(b"second")
            path.write_bytes(b"first")

    with pytest.raises(VersionExists):
        second()
    assert path.read_bytes() == b"first"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_dangling_link_is_not_followed(tmp_path: Path) -> None:
    """A symbolic link to nowhere is a name that is taken."""
    path = tmp_path / "v001.mp4"
    path.symlink_to(tmp_path / "elsewhere.mp4")
    with pytest.raises(VersionExists), new_version(path):
        pytest.fail("the work was begun")
    assert not (tmp_path / "elsewhere.mp4").exists()


@pytest.mark.parametrize("give", [publish, rename_noreplace])
def test_one_of_many_wins(tmp_path: Path, give: object) -> None:
    """Of 16 that publish at one moment exactly one wins, by link and by rename alike."""
    path = tmp_path / "v001.mp4"
    start = threading.Barrier(16)
    won: list[int] = []
    lost: list[int] = []

    def race(number: int) -> None:
        temporary = tmp_path / f"{number}.tmp"
        temporary.write_text(str(number))
        start.wait()
        try:
            give(temporary, path)  # type: ignore[operator]
        except FileExistsError:
            lost.append(number)
        else:
            won.append(number)

    threads = [threading.Thread(target=race, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert len(lost) == 15
    assert path.read_text() == str(won[0])


def test_a_missing_file_is_told_as_such(tmp_path: Path) -> None:
    """Renaming what is not there is the kernel's own error, not a version that exists."""
    with pytest.raises(FileNotFoundError):
        rename_noreplace(tmp_path / "gone", tmp_path / "v001.mp4")
