"""What is said before anybody listens, and to whom it is said afterwards."""

from __future__ import annotations

from tasks.bulletin import Bulletin


def test_what_is_said_before_anybody_listens_is_told_once_in_its_order() -> None:
    """The first listener hears it, then all that follows."""
    board, heard = Bulletin(), list[str]()
    board.tell("one")
    board.tell("two")
    board.on(heard.append)
    board.tell("three")
    assert heard == ["one", "two", "three"]


def test_a_later_listener_takes_the_place_of_an_earlier_one() -> None:
    """What was told before is not told again."""
    board, first, second = Bulletin(), list[str](), list[str]()
    board.on(first.append)
    board.tell("one")
    board.on(second.append)
    board.tell("two")
    assert (first, second) == (["one"], ["two"])
