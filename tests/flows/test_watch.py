"""Who watches a night is told of each shot by the name that it has among all sheets."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from fake_night import night_of
from fake_pool import FakePool

from flows.watch import Watcher
from manifests.settings import load_studio
from tasks.approve import approve

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.slow]


class Told(Watcher):
    """Keeps what it is told of shots."""

    def __init__(self) -> None:
        self.open: list[str] = []
        self.done: list[tuple[str, str]] = []

    def began(self, night_id: str, shots: Sequence[tuple[str, float]]) -> None:
        """See `Watcher`."""
        self.open = [shot for shot, _ in shots]

    def shot_done(self, shot: str, status: str, words: str) -> None:
        """See `Watcher`."""
        self.done.append((shot, status))


def test_shots_of_one_name_in_two_sheets_are_told_apart(studio: Any) -> None:
    """At the beginning of the night, when each is done, and in the names of their takes."""
    from flows.night import POOL, WATCHER, night

    sheets = [studio.sheet([{"shot": "sh010"}], name=f"{day}.csv") for day in ("monday", "tuesday")]
    person, pool = Told(), FakePool()
    tokens = WATCHER.set(person), POOL.set(lambda _studio, _listener: pool)
    try:
        asyncio.run(night(manifests=sheets, root=studio.root))
    finally:
        WATCHER.reset(tokens[0])
        POOL.reset(tokens[1])
    both = ["monday/sh010", "tuesday/sh010"]
    assert sorted(person.open) == both
    assert sorted(person.done) == [(shot, "approved") for shot in both]
    assert sorted(take.rsplit("/", 2)[0] for take in pool.rendered) == both


class Approves(Told):
    """A person who likes what was held."""

    def __init__(self, studio: Any) -> None:
        super().__init__()
        self._studio = studio

    def shot_done(self, shot: str, status: str, words: str) -> None:
        """See `Watcher`."""
        super().shot_done(shot, status, words)
        if status == "held":
            approve(load_studio(self._studio.root), shot, None, why="")


def test_a_shot_that_a_person_approves_is_told_again_when_it_is_delivered(studio: Any) -> None:
    """So that a bar of its finish is not left standing."""
    from flows.night import WATCHER

    person = Approves(studio)
    token = WATCHER.set(person)
    try:
        night_of(studio, [{"shot": "sh010"}], FakePool({"sh010": [{"frozen": 1.0}] * 3}))
    finally:
        WATCHER.reset(token)
    assert person.done == [("shots/sh010", "held"), ("shots/sh010", "approved")]
