"""The night in the terminal."""

from __future__ import annotations

from flows.progress import Clock, take_words


def test_shots_of_one_name_in_two_sheets_are_both_waited_for() -> None:
    """One of them done leaves the estimate of the other."""
    clock = Clock()
    clock.begin([("sh0010", 600.0), ("sh0010", 300.0)])
    both = clock.seconds_left
    clock.finish("sh0010")
    one = clock.seconds_left
    clock.finish("sh0010")
    assert both == 900.0
    assert one > 0.0
    assert clock.seconds_left == 0.0


def test_a_shot_that_was_not_open_changes_no_estimate() -> None:
    """A shot that is told twice is counted once."""
    clock = Clock()
    clock.begin([("a", 60.0), ("b", 40.0)])
    clock.finish("a")
    clock.finish("b")
    clock.finish("b")
    assert clock.seconds_left == 0.0


def test_a_take_is_named_as_people_say_it() -> None:
    """Its shot and its number, and the stage where one is looked at."""
    assert take_words("shots/seq010_sh0010/ab12/t2") == "seq010_sh0010 take 2"
    assert take_words("shots/seq010_sh0010/ab12/t2/stage-1") == "seq010_sh0010 take 2, stage 1"
