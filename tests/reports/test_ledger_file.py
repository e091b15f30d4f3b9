from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from manifests.shares import Mount
from reports.errors import (
    LedgerBusy,
    LedgerDamaged,
    LedgerOnShare,
    LedgerTooNew,
    LedgerUnwritable,
    ReportError,
)
from reports.ledger import Ledger
from reports.lock import sole_writer
from reports.migrations import MIGRATIONS
from reports.take import TakeStatus

OLDEST = Path(__file__).parents[1] / "data" / "reports" / "ledger_v001.sql"


def test_a_ledger_of_a_later_rushes_is_refused_unchanged(maker):
    """An older Rushes does not touch what it cannot understand."""
    path = maker.root / "ledger.db"
    maker.ledger().close()
    raw = sqlite3.connect(path)
    raw.execute(f"PRAGMA user_version={len(MIGRATIONS) + 1}")
    raw.close()
    with pytest.raises(LedgerTooNew, match="update Rushes"):
        maker.ledger()
    raw = sqlite3.connect(path)
    assert raw.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)
    raw.close()


@pytest.mark.parametrize(
    "content", [b"shot,prompt\n001,pan\n" * 50, b"\0" * 8192, os.urandom(9000)]
)
def test_a_file_that_is_no_database_is_named_with_its_remedy(maker, content):
    """Garbage is refused by name and left as it was."""
    path = maker.root / "ledger.db"
    path.write_bytes(content)
    with pytest.raises(LedgerDamaged, match=r"ledger\.db"):
        maker.ledger()
    assert path.read_bytes() == content


def test_another_programs_database_is_not_taken_over(maker):
    """A SQLite file that is not ours is refused, not migrated."""
    raw = sqlite3.connect(maker.root / "ledger.db")
    raw.execute("CREATE TABLE wallpapers (id)")
    raw.commit()
    raw.close()
    with pytest.raises(LedgerDamaged, match="not a ledger of Rushes"):
        maker.ledger()


def test_a_ledger_with_a_torn_page_is_named_damaged(maker):
    """Bytes overwritten in the middle are noticed when it is opened."""
    with maker.ledger() as ledger:
        night = maker.begin(ledger)
        for index in range(30):
            maker.run(ledger, maker.shot(f"sh{index}"), night, TakeStatus.APPROVED)
    path = maker.root / "ledger.db"
    data = bytearray(path.read_bytes())
    data[4096 * 20 : 4096 * 60] = os.urandom(4096 * 40)
    path.write_bytes(data)
    with pytest.raises(LedgerDamaged, match="restore it from a backup"):
        maker.ledger()


def test_a_record_that_cannot_be_read_names_its_table(maker):
    """JSON that another program broke is told with table and id, not as a KeyError."""
    with maker.ledger() as ledger:
        night = maker.begin(ledger)
        ledger.record_shot(night, "shots", maker.shot(), 0)
        raw = sqlite3.connect(maker.root / "ledger.db")
        raw.execute("UPDATE shots SET recipe = '{}'")
        raw.commit()
        raw.close()
        with pytest.raises(LedgerDamaged, match="table shots, id 1"):
            ledger.shot_records(night)


def test_a_second_writer_waits_then_is_told(maker):
    """A write that cannot start in time says that the ledger is busy, and wrote nothing."""
    with maker.ledger() as ledger:
        night = maker.begin(ledger)
        other = Ledger(maker.root / "ledger.db", busy_seconds=0.05)
        with ledger._write(), pytest.raises(LedgerBusy, match="another process"):
            other.end_night(night, "done")
        assert other.night(night).ended is None
        other.end_night(night, "done")
        other.close()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path):
    """A ledger below a file, or that is a folder, cannot be made."""
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerUnwritable):
        Ledger(tmp_path / "file" / "ledger.db")
    with pytest.raises(LedgerUnwritable):
        Ledger(tmp_path)


def test_an_error_in_a_write_undoes_all_of_it(maker):
    """Two steps in one transaction are both undone when the second raises."""
    with maker.ledger() as ledger:
        night = maker.begin(ledger)
        shot = ledger.record_shot(night, "shots", maker.shot(), 0)

        def two_writes() -> None:
            with ledger._write():
                maker.add(ledger, shot.id, night)
                ledger.move("none", TakeStatus.RENDERING, night=night, words="")

        with pytest.raises(ReportError):
            two_writes()
        assert ledger.takes_of(shot.id) == []


def test_the_oldest_ledger_that_was_shipped_opens_and_goes_on(maker):
    """A ledger of schema 1, as written then, migrates; its night reads and goes on."""
    raw = sqlite3.connect(maker.root / "ledger.db")
    raw.executescript(OLDEST.read_text())
    raw.close()
    with maker.ledger() as ledger:
        (night,) = ledger.nights()
        (record,) = ledger.shot_records(night.id)
        takes = ledger.takes_of(record.id)
        assert [take.status for take in takes] == ["rejected", "approved"]
        assert takes[1].receipt is not None
        assert ledger.delivery_of(record.id) is not None
        maker.run(ledger, maker.shot("new"), night.id, TakeStatus.HELD, position=1)
        assert len(ledger.shot_records(night.id)) == 2


def test_only_one_orchestrator_holds_a_ledger(tmp_path: Path):
    """The second is told who the first is; the lock ends with its holder."""
    path = tmp_path / "ledger.db"
    with (
        sole_writer(path),
        pytest.raises(LedgerBusy, match=f"process {os.getpid()}"),
        sole_writer(path),
    ):
        pass
    with sole_writer(path):
        pass


def test_the_holder_is_named_by_its_own_number_alone(tmp_path: Path):
    """However long that of the one before was, which left its number in the file."""
    path = tmp_path / "ledger.db"
    (tmp_path / "ledger.db.lock").write_text("98765432109876")
    with (
        sole_writer(path),
        pytest.raises(LedgerBusy, match=rf"process {os.getpid()}\)"),
        sole_writer(path),
    ):
        pass


def test_a_killed_holder_frees_the_lock(tmp_path: Path):
    """After kill -9 of the holder the next night starts without any cleaning up."""
    path = tmp_path / "ledger.db"
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with sole_writer(path):
            os.write(writer, b"x")
            os.read(os.pipe()[0], 1)
    os.read(reader, 1)
    with pytest.raises(LedgerBusy, match=f"process {child}"), sole_writer(path):
        pass
    os.kill(child, 9)
    os.waitpid(child, 0)
    with sole_writer(path):
        pass


def test_a_ledger_on_a_share_is_not_touched(tmp_path: Path):
    """A server's own lock and a client's do not see each other: neither night, nor reader."""
    share = Mount(point=tmp_path, kind="nfs4", source="10.0.0.5:/srv/rushes")
    path = tmp_path / "ledger.db"
    words = r"nfs4, 10\.0\.0\.5:/srv/rushes.*rushes join"
    with pytest.raises(LedgerOnShare, match=words), sole_writer(path, mounts=lambda: [share]):
        pass
    with pytest.raises(LedgerOnShare, match=words):
        Ledger(path, mounts=lambda: [share])
    assert list(tmp_path.iterdir()) == []
