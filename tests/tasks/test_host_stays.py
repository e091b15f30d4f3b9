"""How a host's stay goes on and ends, by the clock of the machine of the night; no processes."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from fake_guests import Guests, Wire
from hellos import SESSION, hello_from, hosting_at
from waiting import in_time, until

from tasks.host_book import read_book
from tasks.host_talk import Said
from tasks.hosts import JOINING, OLD, Hosts

LEASE = 0.1


class Night:
    """The hosts of a night whose clock is set by hand; host `a` said hello at 0."""

    def __init__(self, root: Path) -> None:
        self.now, self.root = 0.0, root
        self.wire, self.guests = Wire(), Guests()
        engine: Any = self.wire
        hosting = replace(hosting_at(root), lease=LEASE)
        self.hosts = Hosts(engine, hosting, self.guests, clock=lambda: self.now)
        self.hosts._heard(hello_from(root).model_dump(mode="json"))

    def says(self, says: Any) -> None:
        self.hosts._heard(Said(session=SESSION, says=says).model_dump())

    def beats(self) -> int:
        return sum(answer.says == "beat" for answer in self.wire.said)

    async def look_at(self, now: float) -> None:
        """The next look at the hosts, at that moment."""
        beats, self.now = self.beats(), now
        await until(lambda: self.beats() > beats)

    def state(self) -> list[str]:
        book = read_book(self.root / ".rushes/hosts.json")
        return [] if book is None else [line["state"] for line in book["hosts"]]


def test_silence_is_counted_only_while_somebody_listens(tmp_path: Path) -> None:
    """A machine of the night that stood still itself gives nobody up for it; a host that says
    nothing while it looks is given up, with its workers."""

    async def work() -> None:
        night = Night(tmp_path)
        night.says("ready")
        looking = asyncio.create_task(night.hosts._keep())
        await night.look_at(0.04)
        await night.look_at(100.0)
        assert night.guests.here == ["a"]
        for step in range(1, 4):
            await night.look_at(100.0 + 0.04 * step)
        assert night.guests.here == []
        assert "said nothing for 0 s: its takes are given to others" in night.guests.told[-1]
        await until(lambda: night.wire.forgotten)
        looking.cancel()

    in_time(work())


def test_a_host_whose_workers_do_not_start_is_given_up(tmp_path: Path) -> None:
    """It has a time of its own for that, in which its silence does not count."""

    async def work() -> None:
        night = Night(tmp_path)
        (stay,) = night.hosts._stays.values()
        night.hosts._look_at(stay, JOINING)
        assert night.state() == []
        night.says("pulse")
        assert night.state() == ["joining"]
        night.hosts._look_at(stay, JOINING + 1.0)
        assert night.guests.told[-1] == "a did not start its workers within 180 s"
        assert night.state() == []
        await until(lambda: night.wire.forgotten)

    in_time(work())


def test_a_host_that_leaves_is_shown_as_leaving(tmp_path: Path) -> None:
    """From its word on, while what it has in work ends."""
    night = Night(tmp_path)
    night.says("ready")
    assert night.state() == ["here"]
    night.says("leaving")
    assert night.state() == ["leaving"]


def test_words_of_machines_that_died_days_ago_are_removed_and_others_kept(tmp_path: Path) -> None:
    """A host may just be leaving one in the shared folder."""
    night = Night(tmp_path)
    folder = tmp_path / ".rushes/hosts"
    old, young = folder / "old.head", folder / "young.host"
    for path, age in ((old, OLD + 60.0), (young, OLD - 60.0)):
        path.write_text("word")
        os.utime(path, (time.time() - age, time.time() - age))
    night.hosts._forget_old_words()
    assert not old.exists()
    assert young.exists()
