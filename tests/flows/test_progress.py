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
    """One of them done leaves the estimate of the other, whichever is done first."""
    clock = Clock()
    clock.begin([("monday/sh0010", 600.0), ("tuesday/sh0010", 0.0)])
    clock.finish("tuesday/sh0010")
    assert clock.seconds_left == 600.0
    clock.finish("monday/sh0010")
    assert clock.seconds_left == 0.0


def _at(take_id: str, phase: str = "decode") -> Progress:
    return Progress(take_id=take_id, phase=phase, stage=1, stages=1, step=3, steps=9)


def _bars(view: LiveBars) -> list[tuple[str, float, float | None]]:
    return [(bar.description, bar.completed, bar.total) for bar in view._bars.tasks]


def test_a_shot_that_is_done_takes_no_bar_of_a_like_named_one_of_another_sheet() -> None:
    """Of its own takes and looks none is left; the other sheet's take is still in work."""
    view = LiveBars(Console(file=io.StringIO(), force_terminal=True))
    view.began("one", [("monday/sh0010", 60.0), ("tuesday/sh0010", 60.0)])
    for take in ("monday/sh0010/ab12/t1/stage-1", "monday/sh0010/ab12/t1", "tuesday/sh0010/cd/t1"):
        view.progress(_at(take))
    view.shot_done("monday/sh0010", "approved", "")
    assert _bars(view) == [("night one", 1, 2), ("  sh0010 take 1: decoding", 3, 9)]


def test_a_shot_that_is_done_again_is_counted_once() -> None:
    """One that a person approved is told again behind its finish, whose bar goes, too."""
    view = LiveBars(Console(file=io.StringIO(), force_terminal=True))
    view.began("one", [("monday/sh0010", 60.0), ("monday/sh0020", 60.0)])
    view.shot_done("monday/sh0010", "held", "")
    view.progress(_at("monday/sh0010/ab12/t1", "upscale"))
    view.shot_done("monday/sh0010", "approved", "")
    view.shot_done("monday/sh0030", "approved", "it was held before this night")
    assert _bars(view) == [("night one", 1, 2)]


def test_a_shot_that_was_not_open_changes_no_estimate() -> None:
    """A shot that is told twice is counted once."""
    clock = Clock()
    clock.begin([("s/a", 60.0), ("s/b", 40.0)])
    clock.finish("s/a")
    clock.finish("s/b")
    clock.finish("s/b")
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
