"""How a step that failed is written down, and where its shot stands then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ledger_maker import Maker

from reports.errors import LedgerBusy
from reports.ledger import Ledger
from reports.records import EventKind
from reports.take import ShotStatus, TakeStatus
from tasks.next_action import Action
from tasks.steps import action_for, give_up

NIGHT = "2026-11-20"
BUSY = LedgerBusy("another process writes")


class Night:
    """As much of a night as a step writes down: one shot, whose takes ended as given."""

    def __init__(self, maker: Maker, ledger: Ledger) -> None:
        maker.begin(ledger, NIGHT)
        self.maker, self.ledger = maker, ledger
        self.desk: Any = SimpleNamespace(ledger=ledger, night_id=NIGHT)

    def shot(self, *ends: TakeStatus) -> Any:
        return SimpleNamespace(shot_id=self.maker.run(self.ledger, self.maker.shot(), NIGHT, *ends))

    def told(self, kind: EventKind) -> list[str]:
        return [event.words for event in self.ledger.events_of(night=NIGHT, kind=kind)]


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Night]:
    maker = Maker(tmp_path)
    with maker.ledger() as ledger:
        yield Night(maker, ledger)


@pytest.mark.parametrize(
    ("ends", "action", "status"),
    [
        ((), Action.NEW_TAKE, ShotStatus.WAITING),
        ((TakeStatus.REJECTED,), Action.NEW_TAKE, ShotStatus.WORKING),
        ((TakeStatus.FAILED,), Action.AGAIN, ShotStatus.FAILED),
    ],
)
def test_a_take_that_could_not_be_made_leaves_its_shot_where_it_stood(
    night: Night, ends: tuple[TakeStatus, ...], action: Action, status: ShotStatus
) -> None:
    """It is told once, by name, and nothing is abandoned: it may be made at the next try, and what
    comes of it is finished."""
    job = night.shot(*ends)
    before = action_for(night.desk, job)
    for _ in range(2):
        assert give_up(night.desk, job, action, BUSY) == "LedgerBusy: another process writes"
    assert night.told(EventKind.NOTE) == [
        "its next take could not be made: LedgerBusy: another process writes"
    ]
    assert night.told(EventKind.ABANDONED) == []
    assert night.ledger.shot_status(job.shot_id) is status
    assert action_for(night.desk, job) == before


def test_a_finish_that_failed_for_good_rests_till_the_next_night(night: Night) -> None:
    """The approved take is kept; the shot is held for a person."""
    job = night.shot(TakeStatus.REJECTED)
    take = night.maker.add(night.ledger, job.shot_id, NIGHT)
    night.maker.render(night.ledger, take, NIGHT)
    night.maker.judge(night.ledger, take, NIGHT, TakeStatus.APPROVED)
    give_up(night.desk, job, Action.FINISH, BUSY)
    assert night.told(EventKind.ABANDONED) == ["LedgerBusy: another process writes"]
    assert night.ledger.shot_status(job.shot_id) is ShotStatus.HELD
    assert action_for(night.desk, job) == (Action.NOTHING, 2)
