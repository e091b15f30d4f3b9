"""What `rushes pause` and `resume` answer."""

from __future__ import annotations

from pathlib import Path

from flows.control import pause
from manifests.settings import load_studio
from reports.lock import sole_writer
from tasks.control import read_control


def test_a_pause_where_no_night_runs_names_the_folder(tmp_path: Path) -> None:
    """In a wrong folder the night that is meant runs on; in the right one the next night waits."""
    here, state = f"No night runs in {tmp_path}", load_studio(tmp_path).state_dir
    held = f"{here}: the next one there starts nothing until `rushes resume`."
    assert pause(tmp_path, paused=True) == held
    assert read_control(state).paused
    assert pause(tmp_path, paused=False) == f"{here}: the next one there is not paused."
    assert not read_control(state).paused


def test_a_pause_speaks_to_the_night_that_runs(tmp_path: Path) -> None:
    """Then it is told what is held, and at the end that it goes on."""
    with sole_writer(load_studio(tmp_path).ledger_path):
        assert pause(tmp_path, paused=True).startswith("Paused: nothing new is started")
        assert pause(tmp_path, paused=False) == "The night goes on."
