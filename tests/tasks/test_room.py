"""A night that runs out of disk starts nothing new, and says so once."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from manifests.settings import Studio
from reports.errors import LedgerUnwritable
from tasks.room import Room

GB = 10**9


def test_too_little_is_told_once_and_so_is_its_end(tmp_path: Path) -> None:
    """However often it is asked; with figures, and what follows from them."""
    told: list[str] = []
    free = [3 * GB]
    room = Room(Studio(root=tmp_path, stop_disk_gb=2), tell=told.append, free=lambda: free[0])
    found = []
    for free[0] in (3 * GB, GB, GB, 2 * GB, 2 * GB):
        found.append(room.look())
    assert found == [False, True, True, False, False]
    assert told == [
        "the disk has 1.0 GB free, and 2 GB are to stay free: nothing new is started until there "
        "is room",
        "there is room on the disk again",
    ]


def test_the_disk_of_the_root_is_asked(tmp_path: Path) -> None:
    """No disk has 10 million GB free; every disk has 0."""
    told: list[str] = []
    assert Room(Studio(root=tmp_path, stop_disk_gb=1e7), tell=told.append).look()
    assert not Room(Studio(root=tmp_path, stop_disk_gb=0), tell=told.append).look()


def test_a_disk_that_does_not_answer_is_waited_for(tmp_path: Path) -> None:
    """A share may be away for a moment; the shot that asks must not fail by it."""
    told: list[str] = []
    answers = iter([OSError(5, "Input/output error"), 3 * GB])

    def free() -> int:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    room = Room(Studio(root=tmp_path, stop_disk_gb=2), tell=told.append, free=free)
    assert [room.look(), room.look()] == [True, False]
    assert told == [
        "the disk does not say how much is free ([Errno 5] Input/output error): nothing new is "
        "started until it does",
        "there is room on the disk again",
    ]


class Book:
    """A ledger that cannot be written while its disk is full."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.full = True

    def keep(self, words: str) -> None:
        if self.full:
            raise LedgerUnwritable("database or disk is full")
        self.kept.append(words)


def test_a_ledger_that_cannot_be_written_is_waited_for(tmp_path: Path) -> None:
    """However much room the disk has (a quota, say): people hear it at once, the ledger as soon as
    it can be written, and from then on the night goes on."""
    told, book = list[str](), Book()
    room = Room(Studio(root=tmp_path, stop_disk_gb=0), tell=told.append, keep=book.keep)
    assert not room.look()
    room.refuses(LedgerUnwritable("database or disk is full"))
    assert [room.look(), room.look()] == [True, True]
    assert (len(told), book.kept) == (1, [])
    assert told[0].startswith("database or disk is full; nothing new is started until")
    book.full = False
    assert not room.look()
    assert book.kept == told == [told[0], "there is room on the disk again"]


def test_a_ledger_that_refuses_while_room_is_waited_for_is_tried_again(tmp_path: Path) -> None:
    """A take in work meets the full disk that is known already: with room the night goes on."""
    told, kept, free = list[str](), list[str](), [GB]
    studio = Studio(root=tmp_path, stop_disk_gb=2)
    room = Room(studio, tell=told.append, keep=kept.append, free=lambda: free[0])
    assert room.look()
    room.refuses(LedgerUnwritable("database or disk is full"))
    assert room.look()
    free[0] = 3 * GB
    assert not room.look()
    assert kept == told
    assert [words.split(";")[0] for words in told[1:]] == [
        "database or disk is full",
        "there is room on the disk again",
    ]


def test_what_the_ledger_refuses_is_written_as_soon_as_it_can_be(tmp_path: Path) -> None:
    """A pause while the disk is full breaks nothing, and is in the ledger in its order, once."""
    told, book = list[str](), Book()
    room = Room(Studio(root=tmp_path, stop_disk_gb=0), tell=told.append, keep=book.keep)
    room.writes(lambda: book.keep("paused"))
    assert (room.look(), book.kept) == (True, [])
    book.full = False
    assert not room.look()
    assert book.kept == ["paused", *told]


@given(st.lists(st.integers(0, 4 * GB), max_size=30))
def test_what_is_told_alternates(asked: list[int]) -> None:
    """Short, enough, short, enough: never the same twice running, and never enough first."""
    told: list[str] = []
    free = iter(asked)
    room = Room(Studio(root=Path("/"), stop_disk_gb=2), tell=told.append, free=lambda: next(free))
    for _ in asked:
        room.look()
    kinds = ["again" in words for words in told]
    assert kinds == [index % 2 == 1 for index in range(len(kinds))]
