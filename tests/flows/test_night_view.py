"""The night on one screen: counts, what is in work, what comes next, and the end."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
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


def shown(found: dict[str, Any], height: int = 50) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(night_view(found, height), highlight=False)
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


def hosts(number: int) -> list[dict[str, Any]]:
    """Hosts with two cards, each with a take; the last one's second card is used by others, and the
    one before it leaves."""
    found = []
    for host in range(number):
        cards = [
            {
                "name": f"NVIDIA H200 #{card}",
                "memory": None,
                "away": (host, card) == (number - 1, 1),
                "takes": [f"s/sh{host}{card}/f/t1"],
            }
            for card in range(2)
        ]
        state = "leaving" if host == number - 2 else "here"
        found.append({"host": f"render{host:02d}", "state": state, "cards": cards})
    return found


def test_hosts_are_shown_with_what_their_cards_do() -> None:
    """One line for each host, and beside each take where it is rendered."""
    in_work = {"shot": "sh00", "take_id": "s/sh00/f/t1", "seconds": 5.0, "expected": 9.0}
    lines = shown(night(hosts=hosts(2), in_work=[in_work])).splitlines()
    assert any(line.split()[:3] == ["sh00", "render00", "#0"] for line in lines)
    assert "render00 (leaving)  2 render" in [line.strip() for line in lines]
    assert "render01            1 render, 1 used by others" in [line.strip() for line in lines]


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


@given(
    st.integers(0, 5000),
    st.integers(0, 90),
    st.integers(0, 40),
    st.integers(0, 30),
    st.integers(22, 60),
)
def test_a_night_of_any_size_fits_the_screen(
    waiting: int, working: int, machines: int, news: int, height: int
) -> None:
    """Whatever there is of shots, takes, hosts and news: the rest is counted, nothing is cut."""
    shots = [_shot(n, f"sh{n:05d}", "waiting") for n in range(waiting)]
    shots += [_shot(n, f"sh{n:05d}", "approved", "x" * 300) for n in range(5000, 5040)]
    in_work = [
        {"shot": f"take{n}", "take_id": f"s/take{n}/f/t1", "seconds": 1.0, "expected": 2.0}
        for n in range(working)
    ]
    found = night(
        shots=shots,
        next=list(range(waiting)),
        in_work=in_work,
        hosts=hosts(machines),
        cards=[f"host {n} joined {'x' * 200}" for n in range(news)],
    )
    text = shown(found, height=height)
    assert len(text.splitlines()) < height
    assert not waiting or f"{waiting} waiting" in text
    if waiting > 8:
        assert f"next of {waiting}: sh00000, " in text
    rows = sum(line.startswith("take") for line in text.splitlines())
    assert rows == working or f"and {working - rows} more takes in work" in text


def test_the_slowest_against_what_was_expected_stands_first() -> None:
    """Of many takes in work a person looks for the one that is stuck."""
    in_work = [
        {"shot": f"a{n}", "take_id": f"s/a{n}/t1", "seconds": 50.0 + n, "expected": 100.0}
        for n in range(40)
    ]
    in_work.append({"shot": "stuck", "take_id": "s/stuck/t1", "seconds": 9.0, "expected": 3.0})
    lines = shown(night(in_work=in_work), height=24).splitlines()
    head = next(number for number, line in enumerate(lines) if "of about" in line)
    assert lines[head + 1].split()[0] == "stuck"


def test_hosts_that_are_not_all_here_are_never_left_out() -> None:
    """Where there are more hosts than lines."""
    text = shown(night(hosts=hosts(40)), height=24)
    assert "render38 (leaving)" in text
    assert "1 used by others" in text
    assert "more hosts" in text


def test_the_live_view_ends_with_the_night() -> None:
    """It shows every state once more and stops by itself."""
    states = iter([night(), night(paused=True), night(state="ended")])
    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    watch_status(lambda: next(states), console, every=0.0)
    assert "ended" in console.file.getvalue()  # type: ignore[attr-defined]
