"""A person approves shots while their night runs: when the night finishes them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ledger_maker import Maker
from waiting import in_time, until

from flows.approvals import Approvals
from manifests.settings import load_studio
from reports.errors import LedgerBusy, LedgerUnwritable, ReportError
from reports.ledger import Ledger
from reports.records import EventKind, ShotStanding, decisive
from reports.take import TakeStatus
from tasks.approve import approve, take_back
from tasks.control import Control

NIGHT = "2026-11-20"
HELD = (TakeStatus.REJECTED, TakeStatus.HELD)


class Night:
    """A night whose shots `a` and `b` were held, and what is finished in it."""

    def __init__(self, maker: Maker, ledger: Ledger) -> None:
        self.root, self.control, self.finished = maker.root, Control(), list[str]()
        for position, name in enumerate("ab"):
            maker.run(ledger, maker.shot(name), NIGHT, *HELD, position=position)
            for take in ledger.takes_of(position + 1):
                assert take.receipt is not None
                take.receipt.clip.parent.mkdir(parents=True)
                take.receipt.clip.touch()
        self.jobs: list[Any] = [
            SimpleNamespace(shot_id=number, key=f"shots/{name}")
            for number, name in enumerate("ab", start=1)
        ]
        desk: Any = SimpleNamespace(ledger=ledger, night_id=NIGHT, control=lambda: self.control)
        self.approvals = Approvals(desk, self.finish, look_every=0.01)

    async def finish(self, job: Any) -> None:
        """A finish that delivers nothing: the shot goes on to be approved."""
        self.finished.append(job.key)

    def say(self, shot: str) -> None:
        """What `rushes approve` says, through a ledger of its own."""
        approve(load_studio(self.root), shot, None, why="")


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Night]:
    maker = Maker(tmp_path)
    with maker.ledger("rushes.db") as ledger:
        maker.begin(ledger, NIGHT)
        yield Night(maker, ledger)


def test_an_approved_shot_is_finished_once_while_others_are_in_work(night: Night) -> None:
    """At the next look; one that nobody approved is left as it is."""

    async def run() -> None:
        for job in night.jobs:
            night.approvals.had_its_turn(job)
        async with night.approvals.heard():
            await asyncio.to_thread(night.say, "a")
            await until(lambda: night.finished)
            await asyncio.sleep(0.05)

    in_time(run())
    assert night.finished == ["shots/a"]


def test_what_is_said_behind_the_last_look_is_heard_once_more(night: Night) -> None:
    """The work of the night may end at that very moment."""

    async def run() -> None:
        night.approvals._look_every = 1000.0
        async with night.approvals.heard():
            night.say("b")
            night.approvals.had_its_turn(night.jobs[1])

    in_time(run())
    assert night.finished == ["shots/b"]


def test_what_is_said_while_the_last_one_is_finished_is_heard(night: Night) -> None:
    """That may take minutes, in which the night still runs."""

    async def finish(job: Any) -> None:
        await night.finish(job)
        if job.key == "shots/a":
            night.say("b")

    async def run() -> None:
        night.approvals._finish = finish
        night.approvals._look_every = 1000.0
        async with night.approvals.heard():
            night.say("a")
            for job in night.jobs:
                night.approvals.had_its_turn(job)

    in_time(run())
    assert night.finished == ["shots/a", "shots/b"]


def test_a_shot_that_has_not_had_its_turn_is_left_to_it(night: Night) -> None:
    """It is finished when its turn comes, not by two at once."""

    async def run() -> None:
        async with night.approvals.heard():
            night.say("a")

    in_time(run())
    assert night.finished == []


def test_a_shot_that_was_cancelled_is_not_finished(night: Night) -> None:
    """The person's last word counts, and the next night delivers it."""
    night.control = Control(cancelled={NIGHT: frozenset({"shots/a"})})

    async def run() -> None:
        night.approvals.had_its_turn(night.jobs[0])
        async with night.approvals.heard():
            night.say("a")

    in_time(run())
    assert night.finished == []


def test_a_shot_whose_finish_failed_in_an_earlier_night_is_heard_of_too(night: Night) -> None:
    """Its approval was taken back and another take of it approved; not where it failed tonight."""
    desk: Any = night.approvals._desk
    ledger = desk.ledger
    for shot, job in zip("ab", night.jobs, strict=True):
        night.say(shot)
        take = decisive(ledger.takes_of(job.shot_id))
        ledger.event(kind=EventKind.ABANDONED, words="", night=NIGHT, take_id=take.take_id)
    take_back(load_studio(night.root), "a", why="")
    ledger.end_night(NIGHT, "over")
    later = ledger.begin_night(
        night_id="2026-11-21", arguments_key="later", arguments={}, flow_run_id="later"
    )
    for position, record in enumerate(ledger.shot_records(NIGHT)):
        ledger.record_shot(later.id, record.manifest, record.shot, position)
    ledger.event(kind=EventKind.ABANDONED, words="", night=later.id, take_id=take.take_id)
    desk.night_id = later.id
    night.say("a")

    async def run() -> None:
        for job in night.jobs:
            night.approvals.had_its_turn(job)
        async with night.approvals.heard():
            pass

    in_time(run())
    assert night.finished == ["shots/a"]


@pytest.mark.parametrize("error", [LedgerBusy("locked"), LedgerUnwritable("the disk is full")])
def test_a_ledger_that_cannot_be_asked_for_a_moment_is_asked_again(
    night: Night, error: ReportError
) -> None:
    """Neither the word is lost nor the end of the night, which comes behind the block."""
    asked: list[str] = []

    class Moody:
        """The night's ledger, which cannot be read at the first look."""

        def __init__(self, ledger: Ledger) -> None:
            self.takes_of, self.events_of = ledger.takes_of, ledger.events_of
            self.delivery_of, self._standings = ledger.delivery_of, ledger.standings

        def standings(self, name: str) -> list[ShotStanding]:
            asked.append(name)
            if len(asked) == 1:
                raise error
            return self._standings(name)

    async def run() -> None:
        night.approvals._desk.ledger = Moody(night.approvals._desk.ledger)  # type: ignore[misc,assignment]
        night.say("a")
        night.approvals.had_its_turn(night.jobs[0])
        async with night.approvals.heard():
            await until(lambda: night.finished)

    in_time(run())
    assert night.finished == ["shots/a"]


def test_a_night_that_is_cut_does_not_wait_for_a_finish(night: Night) -> None:
    """What it was finishing is cut too, and what cut the night is raised."""
    begun, cut = asyncio.Event(), list[str]()

    async def finish(job: Any) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cut.append(job.key)

    async def run() -> None:
        night.approvals._finish = finish
        night.approvals.had_its_turn(night.jobs[0])
        night.say("a")
        async with night.approvals.heard():
            await begun.wait()
            raise KeyError("cut")

    with pytest.raises(KeyError, match="cut"):
        in_time(run())
    assert cut == ["shots/a"]
