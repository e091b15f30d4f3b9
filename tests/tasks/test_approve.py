"""A person approves a take of a held shot; nothing else may be approved that way."""

from __future__ import annotations

import shlex
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ledger_maker import Maker

from flows.control import approved
from manifests.errors import BadInput
from manifests.settings import Studio, load_studio
from reports.client_safe import client_safe
from reports.errors import IllegalTransition, LedgerBusy
from reports.ledger import Ledger
from reports.ledger_scores import LedgerScores
from reports.lock import sole_writer
from reports.morning import render_page
from reports.needs import needs_of
from reports.night_report import build_night_report
from reports.records import EventKind
from reports.take import ShotStatus, TakeStatus
from tasks.approve import approve, take_back
from tasks.next_action import Action, next_action
from tasks.steps import action_for, give_up

T = TakeStatus
NIGHT = "2026-11-20"


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return load_studio(tmp_path)


def night_of(maker: Maker, **shots: tuple[TakeStatus, ...]) -> None:
    """A night that ended, with these shots; every clip is on disk."""
    with maker.ledger("rushes.db") as ledger:
        maker.begin(ledger, NIGHT)
        for position, (name, ends) in enumerate(shots.items()):
            maker.run(ledger, maker.shot(name), NIGHT, *ends, position=position)
            for take in ledger.takes_of(position + 1):
                if take.receipt is not None:
                    take.receipt.clip.parent.mkdir(parents=True)
                    take.receipt.clip.write_bytes(b"clip")
        ledger.end_night(NIGHT, "over")


def fault(studio: Studio, name: str, number: int | None = None) -> tuple[str, str]:
    with pytest.raises(BadInput) as caught:
        approve(studio, name, number, why="")
    (found,) = caught.value.faults
    return found.problem, found.remedy


def test_an_earlier_take_of_a_held_shot_is_approved_and_finished_next(
    maker: Maker, studio: Studio
) -> None:
    """Take 1 is approved in the person's words, its verdict stays; the shot is to be finished."""
    night_of(maker, sh0010=(T.REJECTED, T.HELD))
    key, take = approve(studio, "sh0010", 1, why="the client likes it")
    assert (key, take.number, take.status) == ("shots/sh0010", 1, T.APPROVED)
    assert take.by_hand == "approved by a person: the client likes it"
    assert take.was_rejected
    assert take.verdict is not None
    assert take.verdict.failure is not None
    with Ledger(studio.ledger_path) as ledger:
        assert ledger.shot_status(1) is ShotStatus.WORKING
        statuses = [each.status for each in ledger.takes_of(1)]
    action = next_action(statuses, delivered=False, abandoned=False, failed_tonight=False)
    assert action is Action.FINISH


def test_without_a_number_the_best_take_is_approved(maker: Maker, studio: Studio) -> None:
    """The same one that the report names."""
    night_of(maker, sh0010=(T.REJECTED, T.REJECTED, T.HELD))
    with Ledger(studio.ledger_path) as ledger:
        (line,) = build_night_report(ledger, NIGHT).shots
    assert line.best is not None
    _, take = approve(studio, "shots/sh0010", None, why="")
    assert take.number == line.best.record.number
    assert take.by_hand == "approved by a person"


def test_only_a_held_shot_waits_for_a_person(maker: Maker, studio: Studio) -> None:
    """Approved, failed, unknown, without that take: each is refused in words, and nothing moves."""
    night_of(maker, done=(T.APPROVED,), broken=(T.FAILED,), held=(T.HELD,))
    assert fault(studio, "done")[0] == "'done' is approved and delivered"
    assert fault(studio, "broken")[0] == "'broken' is failed, not held"
    assert fault(studio, "hold") == ("no night knows a shot 'hold'", "did you mean 'held'?")
    assert fault(studio, "held", 4) == ("there is no take 4 with a clip", "name take 1")
    approve(studio, "held", None, why="")
    assert fault(studio, "held")[0] == "'held' is approved already"


def test_a_name_in_two_sheets_is_asked_for(maker: Maker, studio: Studio) -> None:
    """`sheet/shot` says which."""
    night_of(maker, held=(T.HELD,))
    with maker.ledger("rushes.db") as ledger:
        ledger.record_shot(NIGHT, "other", maker.shot("held"), 1)
    problem, remedy = fault(studio, "held")
    assert problem == "'held' names 2 shots"
    assert "shots/held" in remedy
    assert "other/held" in remedy
    assert approve(studio, "shots/held", None, why="")[1].status is T.APPROVED


def test_a_clip_that_is_gone_cannot_be_approved(maker: Maker, studio: Studio) -> None:
    """There would be nothing to deliver."""
    night_of(maker, held=(T.HELD,))
    (maker.folder("shots/1/t1") / "take.mkv").unlink()
    assert fault(studio, "held")[0] == "none of its takes has a clip"


def test_a_night_that_runs_keeps_nobody_from_approving(maker: Maker, studio: Studio) -> None:
    """It is done with the shot; but what it may be delivering at this moment is not taken back."""
    night_of(maker, held=(T.HELD,))
    with sole_writer(studio.ledger_path):
        assert approve(studio, "held", None, why="")[1].status is T.APPROVED
        with pytest.raises(LedgerBusy):
            take_back(studio, "held", why="")


@pytest.mark.parametrize("chosen", [1, 2])
def test_what_a_person_took_back_is_as_it_was(maker: Maker, studio: Studio, chosen: int) -> None:
    """Held or rejected again, by the history too; the shot waits for a person, who may approve the
    other take; nothing of what was said is lost."""
    night_of(maker, sh0010=(T.REJECTED, T.HELD))
    approve(studio, "sh0010", chosen, why="the client likes it")
    key, take = take_back(studio, "sh0010", why="the client does not")
    assert (key, take.number) == ("shots/sh0010", chosen)
    assert take.status is (T.REJECTED, T.HELD)[chosen - 1]
    assert take.by_hand is None
    said = [step.words for step in take.transitions[-2:]]
    assert said == [
        "approved by a person: the client likes it",
        "a person took the approval back: the client does not",
    ]
    with Ledger(studio.ledger_path) as ledger:
        assert ledger.shot_status(1) is ShotStatus.HELD
        needs = build_night_report(ledger, NIGHT).needs
    assert [need.title for need in needs] == ["sh0010"]
    assert approve(studio, "sh0010", 3 - chosen, why="")[1].by_hand == "approved by a person"


def test_only_what_a_person_said_is_taken_back(maker: Maker, studio: Studio) -> None:
    """Not what the limits approved, not what is delivered; the ledger itself refuses both."""
    night_of(maker, done=(T.APPROVED,), held=(T.HELD,))
    refused = [("done", "'done' is delivered"), ("held", "no person approved a take of 'held'")]
    for name, problem in refused:
        with pytest.raises(BadInput) as caught:
            take_back(studio, name, why="")
        assert caught.value.faults[0].problem == problem
    _, take = approve(studio, "held", None, why="")
    with maker.ledger("rushes.db") as ledger:
        with pytest.raises(IllegalTransition, match="was not approved by a person"):
            ledger.taken_back(ledger.takes_of(1)[0].take_id, night=NIGHT, words="")
        maker.deliver(ledger, take, NIGHT)
        with pytest.raises(IllegalTransition, match="nothing delivered is taken back"):
            ledger.taken_back(take.take_id, night=NIGHT, words="")


def test_the_command_says_what_follows(maker: Maker, studio: Studio) -> None:
    """Delivered by the next run, or by the night that runs; held again."""
    night_of(maker, held=(T.HELD,))
    said = partial(approved, studio.root, "held", why=" ")
    assert said(None, undo=False) == (
        "shots/held take 1 is approved; run its sheet again: it is delivered."
    )
    assert said(None, undo=True) == "shots/held take 1 is held again, and the shot held."
    with sole_writer(studio.ledger_path):
        assert "the night that runs delivers it" in said(1, undo=False)
    with pytest.raises(BadInput, match="give the shot alone"):
        said(1, undo=True)


def test_a_root_without_a_night_is_left_as_it_is(studio: Studio) -> None:
    """Not even a lock is made."""
    assert fault(studio, "held")[0] == "no night has run in this root"
    assert list(studio.root.iterdir()) == []


@pytest.mark.parametrize("ends", [(T.APPROVED,), (T.FAILED,), (T.REJECTED,)])
def test_the_ledger_itself_refuses_what_is_not_held(
    maker: Maker, ends: tuple[TakeStatus, ...]
) -> None:
    """Whoever asks: no take of a shot that is not held becomes approved by hand."""
    night_of(maker, sh0010=ends)
    with maker.ledger("rushes.db") as ledger:
        before = ledger.takes_of(1)
        with pytest.raises(IllegalTransition):
            ledger.approved_by_hand(before[0].take_id, night=NIGHT, words="")
        assert ledger.takes_of(1) == before


def test_a_shot_has_one_approved_take(maker: Maker, studio: Studio) -> None:
    """Held because its finish failed, it is not given a second one: which would be delivered?"""
    night_of(maker, sh0010=(T.REJECTED, T.HELD))
    _, chosen = approve(studio, "sh0010", 2, why="")
    with maker.ledger("rushes.db") as ledger:
        words = "LutUnreadable: warm.cube is gone"
        ledger.event(
            kind=EventKind.ABANDONED, words=words, night=NIGHT, take_id=chosen.take_id, data={}
        )
        assert ledger.shot_status(1) is ShotStatus.HELD
        first = ledger.takes_of(1)[0]
        with pytest.raises(IllegalTransition, match="with an approved take"):
            ledger.approved_by_hand(first.take_id, night=NIGHT, words="")
    assert fault(studio, "sh0010", 1)[0] == "'sh0010' is approved already"


def test_a_finish_that_failed_is_tried_again_once_its_take_is_approved_anew(
    maker: Maker, studio: Studio
) -> None:
    """In the same night, if it was cut and is taken up: what was wrong was mended meanwhile. Until
    then it rests."""
    night_of(maker, sh0010=(T.REJECTED, T.HELD))
    approve(studio, "sh0010", 2, why="")
    with maker.ledger("rushes.db") as ledger:
        night: Any = SimpleNamespace(ledger=ledger, night_id=NIGHT)
        job: Any = SimpleNamespace(shot_id=1)
        give_up(night, job, Action.FINISH, OSError("warm.cube is gone"))
        assert action_for(night, job) == (Action.NOTHING, 2)
        take_back(studio, "sh0010", why="")
        approve(studio, "sh0010", 2, why="it is there again")
        assert action_for(night, job) == (Action.FINISH, 2)
        give_up(night, job, Action.FINISH, OSError("warm.cube is gone"))
        assert action_for(night, job) == (Action.NOTHING, 2)


def test_the_report_tells_what_a_person_did_and_what_is_to_be_done(
    maker: Maker, studio: Studio
) -> None:
    """Held: the command that takes the best one as it is. After it: run again."""
    night_of(maker, sh0010=(T.HELD,))
    with Ledger(studio.ledger_path) as ledger:
        (need,) = build_night_report(ledger, NIGHT).needs
    assert need.command == "rushes approve shots/sh0010 1"
    approve(studio, "sh0010", 1, why="")
    with Ledger(studio.ledger_path) as ledger:
        (need,) = build_night_report(ledger, NIGHT).needs
    assert need.words == "a person approved it, and it is not delivered yet"
    assert need.remedy == "Run the same sheets again: it is finished and delivered."


def test_the_command_can_be_pasted_whatever_the_sheet_is_called(
    maker: Maker, studio: Studio
) -> None:
    """A sheet's name may hold blanks and brackets: a shell reads `sheet/shot` as one word."""
    night_of(maker, sh0010=(T.HELD,))
    with Ledger(studio.ledger_path) as ledger:
        report = build_night_report(ledger, NIGHT)
    (line,) = report.shots
    renamed = replace(line, record=replace(line.record, manifest="spot (2) + end"))
    (need,) = needs_of(report.night, [renamed], ())
    assert shlex.split(need.command) == ["rushes", "approve", "spot (2) + end/sh0010", "1"]


def test_limits_are_learned_from_what_a_person_approved(maker: Maker, studio: Studio) -> None:
    """The measured numbers of that take speak for wider limits, as those of any approved one."""
    night_of(maker, sh0010=(T.REJECTED, T.HELD))
    approve(studio, "sh0010", 1, why="")
    with LedgerScores(studio.ledger_path) as scores:
        assert {clip.take_id: clip.approved for clip in scores.judged_clips()} == {
            "shots/1/t1": True,
            "shots/1/t2": False,
        }


def test_the_reason_stands_in_the_report_and_not_in_the_client_s(
    maker: Maker, studio: Studio
) -> None:
    """A client learns that a person approved it, not in which words."""
    night_of(maker, sh0010=(T.HELD,))
    approve(studio, "sh0010", 1, why="<b>good enough</b> for them")
    with Ledger(studio.ledger_path) as ledger:
        report = build_night_report(ledger, NIGHT)
    page = render_page(report, maker.root)
    assert "approved by a person: &lt;b&gt;good enough&lt;/b&gt; for them" in page
    safe = render_page(client_safe(report), maker.root)
    assert "good enough" not in safe
    assert '<p class="by-hand">approved by a person</p>' in safe
