"""What a person said is kept beside the ledger, and a damaged file of it changes nothing."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from manifests.errors import BadInput
from tasks.control import PAUSED, RESUMED, Said, cancel_shots, change_control, read_control


def test_what_was_said_is_kept_whole(tmp_path: Path) -> None:
    """Two changes after one another both hold; another night's cancels are forgotten."""
    change_control(tmp_path, lambda control: replace(control, paused=True))
    change_control(tmp_path, lambda control: replace(control, priority={"a/1": 5}))
    change_control(tmp_path, lambda c: cancel_shots(c, frozenset({"a/1"}), night="one"))
    held = change_control(tmp_path, lambda c: cancel_shots(c, frozenset({"a/2"}), night="two"))
    assert read_control(tmp_path) == held
    assert held.paused
    assert held.priority_of("a/1", 0) == 5
    assert held.stops("a/1", night="one") is None
    assert held.stops("a/2", night="two") == "cancelled for this night"


def test_only_a_file_that_is_gone_takes_back_what_was_said(tmp_path: Path) -> None:
    """A folder that cannot be asked holds on to it; a file that is away takes it back."""
    where, aside = tmp_path / ".rushes", tmp_path / "aside"
    change_control(where, lambda control: replace(control, paused=True))
    said = Said(where, complain=lambda words: None, pauses=lambda words: None)
    assert said().paused
    where.rename(aside)
    where.write_text("no folder")
    assert said().paused
    where.unlink()
    assert not said().paused
    aside.rename(where)
    assert said().paused


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"paused": 1', '{"paused": 0, "ended": null}'])
def test_a_damaged_file_changes_nothing_and_is_told_once(tmp_path: Path, text: str) -> None:
    """What held before holds on; the complaint names the file and the remedy."""
    change_control(tmp_path, lambda control: replace(control, paused=True))
    told: list[str] = []
    said = Said(tmp_path, complain=told.append, pauses=lambda words: None)
    assert said().paused
    (tmp_path / "control.json").write_text(text)
    assert said().paused
    assert said().paused
    assert len(told) == 1
    assert "control.json: cannot be read" in told[0]
    with pytest.raises(BadInput, match="remove it"):
        read_control(tmp_path)


@contextmanager
def _no_more_files() -> Iterator[None]:
    """The system lets this process open nothing more; it still tells how files look."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_file_that_could_not_be_read_is_read_at_the_next_look(tmp_path: Path) -> None:
    """Though it has not changed since; the trouble is told once, however long it lasts."""
    told: list[str] = []
    said = Said(tmp_path, complain=told.append, pauses=told.append)
    change_control(tmp_path, lambda control: replace(control, paused=True))
    with _no_more_files():
        assert not said().paused
        assert not said().paused
    assert said().paused
    assert said().paused
    assert len(told) == 2
    assert "Too many open files" in told[0]
    assert told[1] == PAUSED


def test_each_pause_and_its_end_are_told_once(tmp_path: Path) -> None:
    """Also a pause from before the night: else who looks on would see nothing happen at all."""
    told: list[str] = []
    change_control(tmp_path, lambda control: replace(control, paused=True))
    said = Said(tmp_path, complain=told.append, pauses=told.append)
    said()
    change_control(tmp_path, lambda control: replace(control, priority={"a/1": 5}))
    said()
    assert told == [PAUSED]
    change_control(tmp_path, lambda control: replace(control, paused=False))
    said()
    change_control(tmp_path, lambda control: replace(control, paused=True))
    said()
    (tmp_path / "control.json").unlink()
    said()
    assert told == [PAUSED, RESUMED, PAUSED, RESUMED]
