"""The night in the terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from flows.cli_say import out
from flows.progress import Clock, LiveBars, PlainLines, take_words
from flows.watch import ProgressFile, Watcher, Watchers, read_progress
from render.backend import Progress


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


def test_progress_that_is_old_is_none(tmp_path: Path) -> None:
    """A night that was killed left its last word behind; a damaged one is none either."""
    file = ProgressFile(tmp_path)
    file.progress(Progress(take_id="s/a/f/t1", phase="stage", stage=1, stages=1, step=3, steps=9))
    fresh = read_progress(tmp_path)
    assert fresh is not None
    assert (fresh["take_id"], fresh["step"]) == ("s/a/f/t1", 3)
    assert read_progress(tmp_path, fresh_seconds=0.0) is None
    (tmp_path / "progress.json").write_text('{"at": ')
    assert read_progress(tmp_path) is None


def test_a_take_is_named_as_people_say_it() -> None:
    """Its shot and its number, and the stage where one is looked at."""
    assert take_words("shots/seq010_sh0010/ab12/t2") == "seq010_sh0010 take 2"
    assert take_words("shots/seq010_sh0010/ab12/t2/stage-1") == "seq010_sh0010 take 2, stage 1"


NEWS = (
    "Card #1 is used by others (process 4711):\nit is left until it has been free for a while " * 2
)


@pytest.mark.parametrize("terminal", [False, True])
def test_what_becomes_of_a_card_is_one_line(terminal: bool) -> None:
    """Whatever stands in it, beside bars as in a log."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=400)
    view: Watcher = LiveBars(console) if terminal else PlainLines(console)
    Watchers(view).news(NEWS)
    (line,) = file.getvalue().splitlines()
    assert " ".join(NEWS.split()) in line


def test_lines_are_not_folded_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log or a mail has no width: a path stays whole."""
    monkeypatch.delenv("COLUMNS", raising=False)
    words = "x" * 70 + " " + "y" * 70
    out().print(words)
    assert capsys.readouterr().out == f"{words}\n"
