"""The night on one screen: counts, what is in work, what comes next, and the end."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from flows.night_view import night_view, watch_status


def night(**changes: Any) -> dict[str, Any]:
    """A night of four shots: one done, one in work, two to come."""
    shots = [
        _shot(1, "sh010", "approved", "nothing to object to"),
        _shot(2, "sh020", "working"),
        _shot(3, "sh030", "waiting"),
        _shot(4, "[red]sh040", "waiting"),
    ]
    found: dict[str, Any] = {
        "night": "2026-11-21",
        "state": "running",
        "paused": False,
        "now": {"take_id": "s/sh020/t1", "phase": "stage", "stage": 1, "stages": 2, "step": 3,
                "steps": 12},
        "in_work": [{"shot": "sh020", "take_id": "s/sh020/t1", "seconds": 61.0, "expected": 300.0}],
        "next": [4, 3],
        "seconds_left": 7800.0,
        "window_left": 3600.0,
        "cards": [],
        "shots": shots,
    }  # fmt: skip
    return {**found, **changes}


def _shot(number: int, name: str, status: str, last: str = "") -> dict[str, Any]:
    return {
        "shot_id": number,
        "shot": name,
        "status": status,
        "takes": ["approved"],
        "last": last,
        "since": f"2026-11-21T22:0{number}",
    }


def shown(found: dict[str, Any]) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(night_view(found), highlight=False)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


def test_a_night_in_one_look() -> None:
    """What runs where it stands, what comes next, what is over, and the end against the hours."""
    text = shown(night())
    assert "1 approved, 1 working, 2 waiting" in text
    assert "about 2.2 h of work left, 60 min until the hours end" in text
    assert "what does not fit waits for the next night" in text
    assert "stage 1/2, 3/12" in text
    assert "61 s" in text
    assert "next: [red]sh040, sh030" in text
    assert "sh010: approved, take 1. nothing to object to" in text


def test_hosts_are_shown_with_what_their_cards_have() -> None:
    """One line for each host: what renders there, what is idle, what others use."""
    cards = [
        {"name": "Card #0", "memory": None, "away": False, "takes": ["s/sh020/t1"]},
        {"name": "Card #1", "memory": None, "away": False, "takes": []},
        {"name": "Card #2", "memory": None, "away": True, "takes": []},
    ]
    hosts = [
        {"host": "a", "state": "here", "cards": cards},
        {"host": "b", "state": "leaving", "cards": []},
    ]
    text = shown(night(hosts=hosts))
    assert "host a: Card #0 has s/sh020/t1; Card #1 has nothing; Card #2 is used by others" in text
    assert "host b (leaving): no cards" in text


def test_what_became_of_the_cards_is_said() -> None:
    """A card that is out of the night, or left to others, is named."""
    words = "Card #1 is used by others (process 77): it is left until it is free"
    assert words in shown(night(cards=[words]))


def test_a_pause_is_said() -> None:
    """Nobody should wonder why nothing happens."""
    assert "running, paused" in shown(night(paused=True))


@pytest.mark.parametrize("state", ["ended", "cut short"])
def test_a_night_that_is_over_promises_no_end(state: str) -> None:
    """No time is told for a night in which nothing runs."""
    assert "of work left" not in shown(night(state=state))


def test_a_night_of_thousands_fits_the_screen() -> None:
    """Only so many shots are listed, the others are counted."""
    shots = [_shot(n, f"sh{n:05d}", "waiting") for n in range(5000)]
    text = shown(night(shots=shots, next=list(range(5000))))
    assert "5000 waiting" in text
    assert "and 4992 more" in text
    assert len(text.splitlines()) < 12


def test_the_live_view_ends_with_the_night() -> None:
    """It shows every state once more and stops by itself."""
    states = iter([night(), night(paused=True), night(state="ended")])
    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    watch_status(lambda: next(states), console, every=0.0)
    assert "ended" in console.file.getvalue()  # type: ignore[attr-defined]
