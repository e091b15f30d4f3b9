"""Doors: once a folder was given to another attempt, the earlier one writes nothing into it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.door import DoorShut, open_door, remove_through, take_away, through
from manifests.files import atomic_path, link_or_copy, write_atomic
from render.post.publish import new_version


def test_what_is_written_appears_under_its_name_and_nothing_else_is_left(tmp_path: Path) -> None:
    """Files of the folder and of folders in it pass through the door; others are as ever."""
    folder = tmp_path / "t1"
    door = open_door(folder, "render")
    with through(door):
        write_atomic(folder / "clip.mkv", "clip")
        write_atomic(folder / "deep/in/it.txt", "deep")
        write_atomic(tmp_path / "outside.txt", "outside")
        link_or_copy(folder / "clip.mkv", folder / "linked.mkv")
    take_away(door)
    found = {
        str(path.relative_to(tmp_path)): path.read_text()
        for path in tmp_path.rglob("*")
        if path.is_file()
    }
    assert found == {
        "t1/clip.mkv": "clip",
        "t1/linked.mkv": "clip",
        "t1/deep/in/it.txt": "deep",
        "outside.txt": "outside",
    }


def _replace(path: Path) -> None:
    write_atomic(path, "of the first attempt")


def _remove(path: Path) -> None:
    remove_through(path)


def _version(path: Path) -> None:
    with new_version(path.with_name("other.mp4")) as temporary:
        temporary.write_text("of the first attempt")


@pytest.mark.parametrize("write", [_replace, _remove, _version])
def test_an_attempt_that_was_superseded_changes_nothing(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    """Replacing, removing and publishing all end as DoorShut once another door was opened."""
    first = open_door(tmp_path / "t1", "render")
    second = open_door(tmp_path / "t1", "render")
    with through(second):
        write_atomic(tmp_path / "t1/clip.mkv", "of the second attempt")
    with through(first), pytest.raises(DoorShut, match="was given to another attempt"):
        write(tmp_path / "t1/clip.mkv")
    assert (tmp_path / "t1/clip.mkv").read_text() == "of the second attempt"
    left = {path.name for path in (tmp_path / "t1").iterdir()}
    assert left == {second.name, "clip.mkv"}


@given(st.integers(min_value=0, max_value=3))
def test_wherever_a_write_is_frozen_it_publishes_nothing_afterwards(
    tmp_path_factory: pytest.TempPathFactory, step: int
) -> None:
    """Before, while or after its bytes are written, up to the very rename: another attempt may be
    given the folder at each of these points, and the name stays free for it."""
    folder = tmp_path_factory.mktemp("take") / "t1"
    first = open_door(folder, "render")

    def shut(at: int) -> None:
        if at == step:
            open_door(folder, "render")

    def write() -> None:
        shut(0)
        with atomic_path(folder / "clip.mkv") as temporary:
            shut(1)
            with temporary.open("w") as file:
                file.write("of the first attempt")
                shut(2)
            shut(3)

    with through(first), pytest.raises(DoorShut):
        write()
    assert not (folder / "clip.mkv").exists()


def test_a_rename_that_was_frozen_in_the_kernel_call_fails(tmp_path: Path) -> None:
    """The last instruction before the name appears is the one that fails: no look comes before."""
    door = open_door(tmp_path / "t1", "render")
    made = door / "clip.mkv"
    made.write_text("of the first attempt")
    open_door(tmp_path / "t1", "render")
    with pytest.raises(FileNotFoundError):
        made.rename(tmp_path / "t1/clip.mkv")


def test_a_client_that_remembers_the_folder_can_make_nothing_in_it(tmp_path: Path) -> None:
    """As a network share's client that holds the door by its handle, not by its name."""
    door = open_door(tmp_path / "t1", "render")
    (door / "clip.mkv").write_text("of the first attempt")
    handle = os.open(door, os.O_RDONLY)
    try:
        take_away(door)
        with pytest.raises(FileNotFoundError):
            os.open("late.mkv", os.O_CREAT | os.O_WRONLY, dir_fd=handle)
        with pytest.raises(FileNotFoundError):
            os.rename("clip.mkv", tmp_path / "t1/clip.mkv", src_dir_fd=handle)
    finally:
        os.close(handle)


class _Remembered(type(Path())):  # type: ignore[misc]
    """A folder as a client of a share knows it for a while after it has gone."""

    def exists(self, **how: bool) -> bool:
        return True


def test_a_client_that_remembers_the_door_is_told_that_it_is_shut(tmp_path: Path) -> None:
    """Seen with NFS 4.2: the rename fails at the server, and the door still seems to be there."""
    door = _Remembered(open_door(tmp_path / "t1", "render"))
    with through(door):
        write_atomic(tmp_path / "t1" / "midway.txt", "of the first attempt")
        take_away(Path(door))
        with pytest.raises(DoorShut):
            write_atomic(tmp_path / "t1" / "midway.txt", "of the first attempt")


def test_a_fault_of_its_own_keeps_its_name_while_the_door_is_open(tmp_path: Path) -> None:
    """Only what the shut door breaks is named by it; asking leaves nothing behind."""
    door = open_door(tmp_path / "t1", "render")
    (tmp_path / "t1" / "taken").mkdir()
    with through(door), pytest.raises(IsADirectoryError):
        write_atomic(tmp_path / "t1" / "taken", "a file")
    assert list(door.iterdir()) == []


def test_another_thread_of_the_attempt_uses_the_same_door(tmp_path: Path) -> None:
    """Clips are written on threads of their own: they are kept out as well."""
    door = open_door(tmp_path / "t1", "render")
    take_away(door)
    caught: list[Exception] = []

    def write() -> None:
        try:
            write_atomic(tmp_path / "t1/clip.mkv", "late")
        except DoorShut as error:
            caught.append(error)

    with through(door):
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
    assert len(caught) == 1
    assert not (tmp_path / "t1/clip.mkv").exists()


def test_doors_of_another_kind_stay(tmp_path: Path) -> None:
    """A take's folder may be rendered into once and finished into once at the same time."""
    finish = open_door(tmp_path / "t1", "finish")
    open_door(tmp_path / "t1", "render")
    assert finish.is_dir()


def test_two_attempts_in_one_process_are_refused(tmp_path: Path) -> None:
    """They could not be told apart; the second one is the one that is refused."""
    first, second = open_door(tmp_path / "t1", "a"), open_door(tmp_path / "t1", "b")
    with through(first):
        with pytest.raises(DoorShut, match="still at work"), through(second):
            pass
        write_atomic(tmp_path / "t1/clip.mkv", "first")
    assert (tmp_path / "t1/clip.mkv").read_text() == "first"
