"""What is said beside a verdict: the best of several takes, and what the night has spent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ledger_maker import Maker

from qc.scorecard import Verdict
from reports.ledger import Ledger
from reports.records import TakeRecord
from reports.take import TakeStatus
from tasks.judge_take import _purse, best_take

NIGHT = "2026-11-20"
REJECTED, HELD = TakeStatus.REJECTED, TakeStatus.HELD


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


@pytest.fixture
def ledger(maker: Maker) -> Iterator[Ledger]:
    # One transaction: each of the writes would else wait for the disk.
    with maker.ledger() as opened, opened.snapshot():
        maker.begin(opened, NIGHT)
        yield opened


def _worse(take: TakeRecord) -> TakeRecord:
    """The take with every finding twice as bad."""
    assert take.verdict is not None
    findings = tuple(replace(each, severity=2 * each.severity) for each in take.verdict.findings)
    worse: Verdict = replace(take.verdict, findings=findings)
    return replace(take, verdict=worse)


def test_the_best_take_may_be_an_earlier_one(maker: Maker, ledger: Ledger) -> None:
    """Of takes that all failed the least bad one is kept, the first of equals."""
    takes = ledger.takes_of(maker.run(ledger, maker.shot(), NIGHT, REJECTED, REJECTED, HELD))
    assert best_take([_worse(takes[0]), takes[1], _worse(takes[2])]).number == 2
    assert best_take(takes).number == 1
    unscored = [replace(take, scorecard=None) for take in takes]
    assert best_take(unscored).number == 3


def test_a_retake_that_is_still_to_be_made_is_spent_as_it_is_expected(
    maker: Maker, ledger: Ledger
) -> None:
    """One was made and took what its receipt says with its load; of another it is only decided."""
    made = maker.run(ledger, maker.shot("made"), NIGHT, REJECTED, HELD)
    decided = maker.run(ledger, maker.shot("decided"), NIGHT, REJECTED)
    receipt = ledger.takes_of(made)[1].receipt
    assert receipt is not None
    studio = SimpleNamespace(retake_takes=5, retake_minutes=10)
    jobs = {key: SimpleNamespace(shot_id=key, seconds=100.0 * key) for key in (made, decided)}
    night: Any = SimpleNamespace(studio=studio, ledger=ledger, night_id=NIGHT, jobs=jobs)
    purse = _purse(night, jobs[made])  # type: ignore[arg-type]
    assert (purse.takes, purse.seconds, purse.spent_takes) == (5, 600.0, 2)
    spent = receipt.seconds + receipt.load_seconds + 100.0 * decided
    assert purse.spent_seconds == pytest.approx(spent)
    assert purse.next_seconds == 100.0 * made
