from __future__ import annotations

import sqlite3
import threading
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from reports.errors import (
    IllegalTransition,
    LedgerConflict,
    NotInLedger,
)
from reports.ledger import Ledger
from reports.morning import render_page
from reports.night_report import build_night_report
from reports.records import EventKind
from reports.take import ShotStatus, TakeStatus


def test_what_was_written_reads_back_equal_after_reopening(maker):
    """Shot, take, receipt, scorecard, verdict and delivery survive the disk unchanged."""
    shot = maker.full_shot()
    with maker.ledger() as ledger:
        night = maker.begin(ledger)
        record = ledger.record_shot(night, "shots", shot, 0)
        take = maker.add(ledger, record.id, night, recipe=shot.recipe, remedy={"cfg": [1, 2]})
        maker.render(ledger, take, night, notes=("the source changed after planning",))
        maker.judge(ledger, take, night, TakeStatus.APPROVED)
        maker.deliver(ledger, take, night, strip=maker.root / "strip.jpg")
    with maker.ledger() as ledger:
        (again,) = ledger.shot_records(night)
        (read,) = ledger.takes_of(again.id)
        delivered = ledger.delivery_of(again.id)
    assert again.shot == shot
    assert read.recipe == shot.recipe
    assert read.remedy == {"cfg": [1, 2]}
    notes = ("the source changed after planning",)
    assert read.receipt == maker.receipt(take.take_id, shot.recipe, notes=notes)
    assert read.scorecard == maker.scorecard(flicker=0.0021)
    assert read.verdict == maker.verdict()
    assert [step.after for step in read.transitions] == [
        "queued",
        "rendering",
        "rendered",
        "approved",
    ]
    assert delivered is not None
    assert delivered.delivery.strip == maker.root / "strip.jpg"
    assert delivered.version == 1


def test_the_ledger_keeps_its_promises_to_the_disk(maker):
    """WAL, full fsync and foreign keys are really on."""
    with maker.ledger() as ledger:
        values = [
            ledger._rows(f"PRAGMA {name}")[0][name]
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert values == ["wal", 2, 1]


def test_recording_a_shot_twice_changes_only_words(maker):
    """A known fingerprint keeps its id; an edited note does not make a new shot."""
    shot = maker.shot()
    with maker.ledger() as ledger:
        night = maker.begin(ledger)
        first = ledger.record_shot(night, "shots", shot, 0)
        again = ledger.record_shot(night, "shots", replace(shot, notes="louder", row=9), 3)
        assert again.id == first.id
        assert [record.shot.notes for record in ledger.shot_records(night)] == ["louder"]
        recipe = maker.recipe(seed=99)
        assert ledger.record_shot(night, "shots", replace(shot, recipe=recipe), 4).id != first.id
        found = ledger.find_shot("shots", shot.id, first.fingerprint)
        assert found is not None
        assert found.id == first.id
        assert ledger.find_shot("other", shot.id, first.fingerprint) is None


def test_a_shot_takes_the_place_it_had_while_it_waited(maker):
    """Bound to the picture that it starts from it is another shot, and the night has it once."""
    shot = maker.shot(start_from="shots/sh0010")
    with maker.ledger() as ledger:
        night = maker.begin(ledger)
        waiting = ledger.record_shot(night, "shots", shot.unbound(), 3)
        bound = ledger.record_shot(night, "shots", shot, 3)
        assert bound.id != waiting.id
        assert [record.id for record in ledger.shot_records(night)] == [bound.id]
        latest = ledger.latest_shot("shots", shot.id)
    assert latest is not None
    assert latest.id == bound.id
    assert latest.shot.start_from == "shots/sh0010"


def test_nights_of_one_date_are_numbered_and_found_by_their_arguments(maker):
    """An open night is resumed by equal arguments; an ended one never is."""
    with maker.ledger() as ledger:
        assert ledger.next_night_id(date(2026, 11, 20)) == "2026-11-20"
        night = maker.begin(ledger)
        assert ledger.next_night_id(date(2026, 11, 20)) == "2026-11-20-2"
        maker.begin(ledger, "2026-11-20-2")
        assert ledger.next_night_id(date(2026, 11, 20)) == "2026-11-20-3"
        found = ledger.open_night(f"key of {night}")
        assert found is not None
        assert found.arguments == {"manifests": ["shots.csv"]}
        ledger.resume_night(night, flow_run_id="run-2")
        ledger.end_night(night, "all approved")
        assert ledger.open_night(f"key of {night}") is None
        assert ledger.night(night).words == "all approved"
        with pytest.raises(LedgerConflict, match="ended at"):
            ledger.end_night(night, "again")
        with pytest.raises(LedgerConflict, match="ended at"):
            ledger.resume_night(night)
        with pytest.raises(LedgerConflict):
            maker.begin(ledger, night)
        assert [record.id for record in ledger.nights()] == ["2026-11-20", "2026-11-20-2"]
        assert [event.kind for event in ledger.events_of(night=night)] == ["resumed", "ended"]


def test_a_naive_time_is_refused(maker):
    """A moment without a time zone would be read as another hour elsewhere."""
    naive = datetime(2026, 11, 20, tzinfo=UTC).replace(tzinfo=None)
    with maker.ledger() as ledger, pytest.raises(ValueError, match="no time zone"):
        ledger.begin_night(night_id="n", arguments_key="k", arguments={}, at=naive)


def _send(maker, ledger, take, after, night):
    match after:
        case TakeStatus.RENDERED:
            ledger.rendered(take.take_id, maker.receipt(take.take_id, take.recipe), night)
        case TakeStatus.APPROVED | TakeStatus.REJECTED | TakeStatus.HELD:
            maker.judge(ledger, take, night, after)
        case _:
            ledger.move(take.take_id, after, night=night, words="")


@pytest.mark.parametrize("after", list(TakeStatus))
def test_an_illegal_step_raises_and_changes_nothing(maker, after):
    """T: approved > nothing, by any public write."""
    with maker.ledger() as ledger:
        night = maker.begin(ledger)
        shot = maker.run(ledger, maker.shot(), night, TakeStatus.APPROVED)
        (before,) = ledger.takes_of(shot)
        with pytest.raises(IllegalTransition, match=before.take_id):
            _send(maker, ledger, before, after, night)
        assert ledger.takes_of(shot) == [before]


def test_what_came_from_the_store_is_told(maker):
    """The words of a rendered take, and its place on the page, name what was not computed again."""
    with maker.ledger() as ledger:
        night = maker.begin(ledger)
        take = maker.add(ledger, ledger.record_shot(night, "shots", maker.shot(), 0).id, night)
        ledger.move(take.take_id, TakeStatus.RENDERING, night=night, words="")
        receipt = maker.receipt(take.take_id, take.recipe, reused=("stage 1", "prompt"))
        ledger.rendered(take.take_id, receipt, night)
        (after,) = ledger.takes_of(take.shot_id)
        page = render_page(build_night_report(ledger, night), maker.root)
    words = after.transitions[-1].words
    assert words.endswith("on cpu (2 threads), with stage 1, prompt from the store")
    assert "from the store: stage 1, prompt" in page


def test_a_step_that_needs_data_is_not_a_bare_move(maker):
    """A take cannot be rendered without a receipt, nor judged without scores."""
    with maker.ledger() as ledger:
        night = maker.begin(ledger)
        take = maker.add(ledger, ledger.record_shot(night, "shots", maker.shot(), 0).id, night)
        ledger.move(take.take_id, TakeStatus.RENDERING, night=night, words="")
        with pytest.raises(IllegalTransition, match="comes with data"):
            ledger.move(take.take_id, TakeStatus.RENDERED, night=night, words="")
        card, verdict = maker.scorecard(), maker.verdict()
        with pytest.raises(IllegalTransition, match="verdict"):
            ledger.judged(take.take_id, card, verdict, TakeStatus.FAILED, night, "")


def test_a_take_that_turned_to_nan_is_judged_without_a_clip(maker):
    """T: rendering > rejected, with a verdict and neither receipt nor scores."""
    with maker.ledger() as ledger:
        night = maker.begin(ledger)
        take = maker.add(ledger, ledger.record_shot(night, "shots", maker.shot(), 0).id, night)
        ledger.move(take.take_id, TakeStatus.RENDERING, night=night, words="")
        ledger.judged(take.take_id, None, maker.verdict(), TakeStatus.REJECTED, night, "NaN")
        read = ledger.take(take.take_id)
    assert read.status is TakeStatus.REJECTED
    assert (read.receipt, read.scorecard, read.verdict) == (None, None, maker.verdict())


def test_history_cannot_be_rewritten(maker):
    """SQL itself refuses to change or delete what happened."""
    with maker.ledger() as ledger:
        night = maker.begin(ledger)
        maker.run(ledger, maker.shot(), night, TakeStatus.APPROVED)
        ledger.event(kind=EventKind.NOTE, words="seen", night=night)
    raw = sqlite3.connect(maker.root / "ledger.db")
    for table in ("transitions", "receipts", "scorecards", "verdicts", "deliveries", "events"):
        column = raw.execute(f"SELECT name FROM pragma_table_info('{table}')").fetchone()[0]
        for sql in (f"UPDATE {table} SET {column} = {column}", f"DELETE FROM {table}"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                raw.execute(sql)
    with pytest.raises(sqlite3.IntegrityError, match="starts where"):
        raw.execute(
            "INSERT INTO transitions (take, at, before, after, night, words) "
            "VALUES (1, '', 'queued', 'rendering', '2026-11-20', '')"
        )
    raw.close()


def test_takes_are_numbered_without_gaps(maker):
    """Take 3 cannot follow take 1, and an id is used once."""
    with maker.ledger() as ledger:
        night = maker.begin(ledger)
        shot = ledger.record_shot(night, "shots", maker.shot(), 0).id
        take = maker.add(ledger, shot, night)
        with pytest.raises(LedgerConflict, match="2 is next"):
            maker.add(ledger, shot, night, number=3)
        with pytest.raises(LedgerConflict):
            maker.add(ledger, shot, night, take_id=take.take_id)
        assert [item.number for item in ledger.takes_of(shot)] == [1]


def test_only_an_approved_take_is_delivered_and_versions_follow(maker):
    """A version is written once; a rejected take is never delivered."""
    path = maker.root / "v.mp4"
    with maker.ledger() as ledger:
        night = maker.begin(ledger)
        shot = maker.run(ledger, maker.shot(), night, TakeStatus.REJECTED)
        (take,) = ledger.takes_of(shot)
        with pytest.raises(IllegalTransition, match="only an approved"):
            ledger.delivered(shot, take.take_id, maker.delivery(path), 1, path, night=night)
        good = maker.run(ledger, maker.shot("other"), night, TakeStatus.APPROVED)
        (take,) = ledger.takes_of(good)
        with pytest.raises(LedgerConflict, match="2 is next"):
            ledger.delivered(good, take.take_id, maker.delivery(path), 1, path, night=night)
        with pytest.raises(LedgerConflict, match="not a take of"):
            ledger.delivered(shot, take.take_id, maker.delivery(path), 1, path, night=night)
        assert ledger.next_version("shots", "other") == 2
        assert ledger.next_version("shots", "seq010_sh0010") == 1


def test_versions_count_over_changed_recipes_of_one_shot_name(maker):
    """A new recipe under an old name delivers v002."""
    with maker.ledger() as ledger:
        night = maker.begin(ledger)
        maker.run(ledger, maker.shot(), night, TakeStatus.APPROVED)
        changed = maker.shot(recipe=maker.recipe(seed=5))
        record = ledger.record_shot(night, "shots", changed, 1)
        assert ledger.next_version("shots", changed.id) == 2
        assert ledger.delivery_of(record.id) is None


def test_shot_status_is_derived(maker):
    """Waiting, working, held, failed, approved, and held when the finish was abandoned."""
    with maker.ledger() as ledger:
        night = maker.begin(ledger)
        ends = {
            "waiting": (),
            "working": (TakeStatus.REJECTED,),
            "held": (TakeStatus.REJECTED, TakeStatus.HELD),
            "failed": (TakeStatus.FAILED,),
            "approved": (TakeStatus.REJECTED, TakeStatus.APPROVED),
        }
        ids = {
            name: maker.run(ledger, maker.shot(name), night, *steps, position=index)
            for index, (name, steps) in enumerate(ends.items())
        }
        assert {name: ledger.shot_status(shot) for name, shot in ids.items()} == {
            name: ShotStatus(name) for name in ends
        }
        ledger.event(
            kind=EventKind.ABANDONED, words="LUT", night=night, shot_id=ids["working"], data={}
        )
        assert ledger.shot_status(ids["working"]) is ShotStatus.HELD


def test_where_every_shot_of_a_night_is_takes_one_query(maker):
    """In the night's order, with what `shot_status` says of each; other nights' are left out."""
    with maker.ledger() as ledger:
        other = maker.begin(ledger)
        maker.run(ledger, maker.shot("other"), other, TakeStatus.APPROVED)
        night = maker.begin(ledger, "2026-11-21")
        ends = [(), (TakeStatus.REJECTED, TakeStatus.HELD), (TakeStatus.REJECTED,), ()]
        for index, steps in enumerate(ends):
            shot = maker.shot(f"sh{9 - index}", priority=index)
            maker.run(ledger, shot, night, *steps, position=index)
        asked: list[str] = []
        ledger._connection.set_trace_callback(asked.append)
        found = ledger.standings(night)
        ledger._connection.set_trace_callback(None)
        assert sum("SELECT" in statement for statement in asked) == 1
        assert [shot.key for shot in found] == ["shots/sh9", "shots/sh8", "shots/sh7", "shots/sh6"]
        assert [shot.priority for shot in found] == [0, 1, 2, 3]
        assert [shot.status for shot in found] == ["waiting", "held", "working", "waiting"]
        assert [shot.status for shot in found] == [ledger.shot_status(shot.id) for shot in found]


def test_recover_requeues_only_what_was_rendering(maker):
    """A dead process's take is queued again, with words; the others stay."""
    with maker.ledger() as ledger:
        night = maker.begin(ledger)
        maker.run(ledger, maker.shot("done"), night, TakeStatus.APPROVED)
        shot = ledger.record_shot(night, "shots", maker.shot("cut off"), 1).id
        take = maker.add(ledger, shot, night)
        ledger.move(take.take_id, TakeStatus.RENDERING, night=night, words="started")
        assert ledger.recover(night) == [take.take_id]
        again = ledger.take(take.take_id)
        assert again.status is TakeStatus.QUEUED
        assert "recovered" in again.transitions[-1].words
        assert ledger.recover(night) == []


def test_events_are_narrowed_and_belong_to_their_takes_shot(maker):
    """A machine failure of a take is found by night, shot, take and kind."""
    with maker.ledger() as ledger:
        night = maker.begin(ledger)
        shot = maker.run(ledger, maker.shot(), night, TakeStatus.APPROVED)
        (take,) = ledger.takes_of(shot)
        ledger.event(
            kind=EventKind.MACHINE_FAILURE,
            words="the card ran out of memory",
            night=night,
            take_id=take.take_id,
            data={"error": "OutOfMemory", "attempt": 1},
        )
        (event,) = ledger.events_of(shot_id=shot)
        assert (event.take_id, event.data["attempt"]) == (take.take_id, 1)
        assert ledger.events_of(take_id=take.take_id, kind=EventKind.MACHINE_FAILURE) == [event]
        assert ledger.events_of(night=night, kind=EventKind.NOTE) == []
        with pytest.raises(ValueError, match="not a valid EventKind"):
            ledger.event(kind="gossip", words="", night=night)


def test_unknown_things_are_named(maker):
    """What was never recorded is said so, with the nights there are."""
    with maker.ledger() as ledger:
        night = maker.begin(ledger)
        with pytest.raises(NotInLedger, match="the latest are: 2026-11-20"):
            ledger.night("2020-01-01")
        with pytest.raises(NotInLedger, match="no take"):
            ledger.move("a/b/t1", TakeStatus.RENDERING, night=night, words="")
        with pytest.raises(LedgerConflict, match="FOREIGN KEY"):
            ledger.record_shot("no such night", "shots", maker.shot(), 0)
        assert ledger.shot_records(night) == []


def test_one_ledger_serves_many_threads(maker):
    """Writes of eight threads all arrive, each whole."""
    with maker.ledger() as ledger:
        night = maker.begin(ledger)

        def work(index: int) -> None:
            maker.run(ledger, maker.shot(f"sh{index}"), night, TakeStatus.REJECTED, position=index)

        threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        records = ledger.shot_records(night)
        assert [record.shot.id for record in records] == [f"sh{index}" for index in range(8)]
        assert all(ledger.takes_of(record.id)[0].status == "rejected" for record in records)


def test_a_reader_sees_one_moment(maker):
    """Inside snapshot() another process's writes do not show; after it they do."""
    with maker.ledger() as writer, maker.ledger() as reader:
        night = maker.begin(writer)
        with reader.snapshot():
            assert reader.shot_records(night) == []
            writer.record_shot(night, "shots", maker.shot(), 0)
            assert reader.shot_records(night) == []
        assert len(reader.shot_records(night)) == 1


def test_opening_for_reading_makes_no_file(tmp_path: Path):
    """Asking a ledger that is not there leaves the folder as it was."""
    with pytest.raises(NotInLedger, match="rushes run"):
        Ledger(tmp_path / "none" / "ledger.db", must_exist=True)
    assert list(tmp_path.iterdir()) == []
