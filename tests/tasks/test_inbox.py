"""The inbox: when a sheet is whole, what is taken, what is put aside, and what a kill leaves."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from manifests import files
from manifests.load import load_manifest
from manifests.settings import Studio, load_studio
from tasks import inbox as inbox_module
from tasks.inbox import Fate, Found, Inbox, accepted_sheets
from tasks.naming import arguments_key

GOOD = "shot,source,prompt\nsh010,still.png,a slow pan\n"
LATE = "shot,source,prompt\nsh010,later.png,a slow pan\n"
BAD = "shot,source,prompt,frames\nsh010,still.png,a slow pan,many\nsh020,still.png,x,none of it\n"


class Clock:
    """A clock that is put forward by hand; file times are real, so it starts at the real time."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    """A studio with a still in its inbox."""
    found = load_studio(tmp_path / "studio")
    found.inbox_dir.mkdir(parents=True)
    Image.new("RGB", (64, 64), "teal").save(found.inbox_dir / "still.png")
    return found


@pytest.fixture
def box(studio: Studio, clock: Clock) -> Inbox:
    return Inbox(studio, clock=clock)


def drop(studio: Studio, text: str, name: str = "shots.csv") -> Path:
    """Write a sheet into the inbox, as an editor does."""
    path = studio.inbox_dir / name
    path.write_text(text, encoding="utf-8")
    return path


def settle(box: Inbox, clock: Clock) -> list[Found]:
    """Scan, let the quiet time pass, scan again; what was taken at first sight counts too."""
    first = [found for found in box.scan() if found.fate is not Fate.GROWING]
    clock.now += 6
    return first + [found for found in box.scan() if found not in first]


def test_a_good_sheet_is_taken_once_it_is_quiet(studio: Studio, box: Inbox, clock: Clock) -> None:
    """At first sight a fresh file may still grow; six quiet seconds later it is taken."""
    drop(studio, GOOD)
    assert [found.fate for found in box.scan()] == [Fate.GROWING]
    clock.now += 6
    (taken,) = box.scan()
    assert (taken.fate, taken.words) == (Fate.TAKEN, "1 shot, 1 of them new")
    assert accepted_sheets(studio) == [studio.accepted_dir / "shots.csv"]
    assert box.scan() == []


def test_a_sheet_that_grows_is_left_alone(studio: Studio, box: Inbox, clock: Clock) -> None:
    """While its size changes between looks it is not read, however long that lasts."""
    path = drop(studio, GOOD)
    for number in range(4):
        clock.now += 6
        with path.open("a") as file:
            file.write(f"sh{number}20,still.png,more\n")
        os.utime(path, (clock.now, clock.now))
        assert [found.fate for found in box.scan()] == [Fate.GROWING]
    clock.now += 6
    assert box.scan()[0].words == "5 shots, 5 of them new"


def test_a_sheet_that_is_renamed_in_is_taken_at_once(studio: Studio, box: Inbox) -> None:
    """Its times are old at first sight: it was whole when it came."""
    elsewhere = studio.root / "draft.csv"
    elsewhere.write_text(GOOD)
    os.utime(elsewhere, (time.time() - 60, time.time() - 60))
    elsewhere.rename(studio.inbox_dir / "shots.csv")
    assert [found.fate for found in box.scan()] == [Fate.TAKEN]


def test_a_clock_that_runs_ahead_does_not_hold_a_sheet_for_ever(
    studio: Studio, box: Inbox, clock: Clock
) -> None:
    """Times in the future, from another machine, say nothing; what we saw counts."""
    path = drop(studio, GOOD)
    os.utime(path, (clock.now + 9999, clock.now + 9999))
    assert settle(box, clock)[0].fate is Fate.TAKEN


def test_a_bad_sheet_is_put_aside_with_every_fault(
    studio: Studio, box: Inbox, clock: Clock
) -> None:
    """The letter beside it names each row and column, and what to do."""
    drop(studio, BAD)
    (refused,) = settle(box, clock)
    assert refused.fate is Fate.REFUSED
    assert len(refused.faults) == 2
    letter = (studio.rejected_dir / "shots.csv.faults.txt").read_text()
    assert "row 2 (sh010), column frames: 'many'" in letter
    assert "row 3 (sh020), column frames" in letter
    assert (studio.rejected_dir / "shots.csv").read_text() == BAD
    assert accepted_sheets(studio) == []


def test_a_mended_sheet_clears_the_letter(studio: Studio, box: Inbox, clock: Clock) -> None:
    """Once it is taken, nothing in `rejected/` still says that it was not."""
    drop(studio, BAD)
    settle(box, clock)
    drop(studio, GOOD)
    assert settle(box, clock)[0].fate is Fate.TAKEN
    assert not (studio.rejected_dir / "shots.csv.faults.txt").exists()
    assert not (studio.rejected_dir / "shots.csv").exists()
    assert [path.read_text() for path in (studio.rejected_dir / "earlier").iterdir()] == [BAD]


@pytest.mark.parametrize("name", ["shots.csv", "shots (1).csv"])
def test_the_same_content_twice_is_recognised(
    studio: Studio, box: Inbox, clock: Clock, name: str
) -> None:
    """Dropped again, under its own name or another, it is no second order."""
    drop(studio, GOOD)
    settle(box, clock)
    drop(studio, GOOD, name)
    (twice,) = settle(box, clock)
    assert twice.fate is Fate.TWICE
    assert "shots.csv" in twice.words
    assert [path.name for path in accepted_sheets(studio)] == ["shots.csv"]


def test_a_changed_sheet_takes_the_place_of_the_one_before(
    studio: Studio, box: Inbox, clock: Clock
) -> None:
    """The new one holds; the old one is kept under `earlier/`, also when it was YAML."""
    drop(studio, "shots:\n  - {shot: sh010, source: still.png, prompt: a pan}\n", "shots.yaml")
    settle(box, clock)
    more = GOOD + "sh020,still.png,a tilt\n"
    drop(studio, more)
    assert settle(box, clock)[0].words.startswith("2 shots")
    assert [path.name for path in accepted_sheets(studio)] == ["shots.csv"]
    assert len(list((studio.accepted_dir / "earlier").iterdir())) == 1


@pytest.mark.slow
def test_stills_may_come_after_the_sheet(studio: Studio, box: Inbox, clock: Clock) -> None:
    """A sheet that lacks only files waits for them, and is taken when they are there."""
    drop(studio, LATE)
    (waits,) = settle(box, clock)
    assert waits.fate is Fate.WAITING
    assert waits.faults[0].column == "source"
    assert waits.words == "waits for later.png, 30 min more"
    clock.now += 1
    assert [each.fate for each in box.scan()] == [Fate.WAITING], "it does not grow anew"
    Image.new("RGB", (64, 64)).save(studio.inbox_dir / "later.png")
    assert box.scan()[0].fate is Fate.TAKEN


def test_a_still_of_the_defaults_may_come_after_the_sheet(
    studio: Studio, box: Inbox, clock: Clock
) -> None:
    """A YAML sheet waits for what all its shots share as for what one of them names."""
    drop(studio, "defaults: {source: later.png}\nshots: [{shot: a}, {shot: b}]\n", "shots.yaml")
    (waits,) = settle(box, clock)
    assert (waits.fate, waits.words) == (Fate.WAITING, "waits for later.png, 30 min more")
    assert [fault.column for fault in waits.faults] == ["defaults.source"]


def test_stills_that_never_come_end_the_wait(studio: Studio, box: Inbox, clock: Clock) -> None:
    """After the grace time the sheet is refused, with the missing file's name."""
    drop(studio, LATE)
    assert settle(box, clock)[0].fate is Fate.WAITING
    clock.now += 31 * 60
    (refused,) = box.scan()
    assert refused.fate is Fate.REFUSED
    assert "later.png" in (studio.rejected_dir / "shots.csv.faults.txt").read_text()


@pytest.mark.parametrize("again", ["written anew", "moved back"])
def test_a_sheet_that_waited_in_vain_is_taken_with_its_still(
    studio: Studio, box: Inbox, clock: Clock, again: str
) -> None:
    """The letter names row, shot and what to do; when the still is there, the sheet dropped again
    is taken, also the refused file itself, and nothing says any more that it was not."""
    drop(studio, f"{LATE}sh020,still.png,a tilt\n")
    settle(box, clock)
    clock.now += 31 * 60
    box.scan()
    refused = studio.rejected_dir / "shots.csv"
    letter = studio.rejected_dir / "shots.csv.faults.txt"
    row, remedy = letter.read_text().splitlines()[2:]
    assert row == "- row 2 (sh010), column source: 'later.png' is not there"
    assert remedy.startswith(f"  put it into {studio.inbox_dir}")
    Image.new("RGB", (64, 64)).save(studio.inbox_dir / "later.png")
    if again == "moved back":
        refused.rename(studio.inbox_dir / "shots.csv")
    else:
        drop(studio, refused.read_text())
    (taken,) = settle(box, clock)
    assert (taken.fate, taken.words) == (Fate.TAKEN, "2 shots, 2 of them new")
    assert not letter.exists()
    assert not refused.exists()


def test_stills_are_found_beside_the_sheet_after_it_was_taken(
    studio: Studio, box: Inbox, clock: Clock
) -> None:
    """Relative names of a taken sheet still start at the inbox, where the stills were dropped."""
    drop(studio, GOOD)
    settle(box, clock)
    sheet = load_manifest(studio.accepted_dir / "shots.csv", studio=studio)
    assert sheet.faults == ()
    source = sheet.shots[0].source
    assert source is not None
    assert source.path == (studio.inbox_dir / "still.png").resolve()


@pytest.mark.parametrize(
    ("name", "said"),
    [("shots.xlsx", "is no sheet"), ("notes.txt", "is no sheet"), ("..csv.csv", None)],
)
def test_what_is_no_sheet_is_refused_with_a_remedy(
    studio: Studio, box: Inbox, clock: Clock, name: str, said: str | None
) -> None:
    """A spreadsheet's own file is answered, a hidden file is somebody else's."""
    (studio.inbox_dir / name).write_bytes(b"PK\x03\x04 not a sheet")
    found = settle(box, clock)
    assert [each.fate for each in found] == ([] if said is None else [Fate.REFUSED])
    if said is not None:
        assert said in (studio.rejected_dir / f"{name}.faults.txt").read_text()


@pytest.mark.parametrize(
    "name", [".shots.csv.x1", "~$shots.xlsx", "shots.csv.part", "shots.csv~", "cat.png"]
)
def test_files_that_are_not_whole_or_no_sheets_are_left(
    studio: Studio, box: Inbox, clock: Clock, name: str
) -> None:
    """Temporary names of programs, and stills, are not touched."""
    (studio.inbox_dir / name).write_text("x")
    assert settle(box, clock) == []
    assert (studio.inbox_dir / name).exists()


def test_a_link_is_not_followed(studio: Studio, box: Inbox, tmp_path: Path) -> None:
    """A link to a file elsewhere is put aside unread."""
    secret = tmp_path / "secret.csv"
    secret.write_text("shot,prompt\npassword,hunter2\n")
    (studio.inbox_dir / "shots.csv").symlink_to(secret)
    (refused,) = box.scan()
    assert refused.fate is Fate.REFUSED
    assert "hunter2" not in (studio.rejected_dir / "shots.csv.faults.txt").read_text()
    assert secret.exists()


class Killed(BaseException):
    """The process dies here."""


@pytest.mark.parametrize("text", [GOOD, BAD])
@pytest.mark.slow
@pytest.mark.parametrize("step", range(6))
def test_a_kill_at_any_step_loses_nothing_and_takes_nothing_twice(
    studio: Studio, clock: Clock, monkeypatch: pytest.MonkeyPatch, text: str, step: int
) -> None:
    """Whichever move the process dies before, the next scan ends where an unbroken one does."""
    first = "shots:\n  - {shot: sh005, source: still.png, prompt: a pan}\n"
    drop(studio, first, "shots.yaml")
    settle(Inbox(studio, clock=clock), clock)
    drop(studio, text)
    moves = iter(range(100))

    def dying(call):  # type: ignore[no-untyped-def]
        def move(*args, **kwargs):  # type: ignore[no-untyped-def]
            if next(moves) == step:
                raise Killed
            return call(*args, **kwargs)

        return move

    with monkeypatch.context() as patch:
        for name in ("replace", "unlink"):
            patch.setattr(Path, name, dying(getattr(Path, name)))
        patch.setattr(inbox_module.os, "link", dying(os.link))
        patch.setattr(files.os, "fsync", dying(os.fsync))
        with suppress(Killed):
            settle(Inbox(studio, clock=clock), clock)
    settle(Inbox(studio, clock=clock), clock)
    kept = [path for path in studio.inbox_dir.rglob("*") if path.is_file()]
    copies = [path for path in kept if path.suffix == ".csv" and path.read_text() == text]
    assert len(copies) == 1
    taken = [path.name for path in accepted_sheets(studio)]
    if text == GOOD:
        assert taken == ["shots.csv"]
        assert [path for path in kept if path.parent.name == "earlier"]
    else:
        assert taken == ["shots.yaml"]
        assert (studio.rejected_dir / "shots.csv.faults.txt").exists()


def test_the_inbox_is_one_night_whatever_lies_in_it(studio: Studio) -> None:
    """A night over the inbox that was cut short is found again though a sheet came since."""
    one, two = studio.accepted_dir / "a.csv", studio.accepted_dir / "b.csv"
    other = studio.root / "a.csv"
    assert arguments_key([one], studio=studio) == arguments_key([one, two], studio=studio)
    assert arguments_key([one], studio=studio) != arguments_key([other], studio=studio)


AFTER = "shot,source,after\nsh010,still.png,monday/sh010\n"


@pytest.mark.slow
def test_a_sheet_waits_for_another_whose_shots_it_names(
    studio: Studio, box: Inbox, clock: Clock
) -> None:
    """Dropped before the other it waits as for a still; a mistyped shot of a sheet that is there
    waits no longer than that, and says which."""
    drop(studio, AFTER, "tuesday.csv")
    (found,) = settle(box, clock)
    assert (found.fate, found.words) == (
        Fate.WAITING,
        "waits for monday/sh010, 30 min more",
    )
    drop(studio, GOOD, "monday.csv")
    fates = {each.name: each.fate for each in settle(box, clock)}
    fates |= {each.name: each.fate for each in box.scan()}
    assert fates["monday.csv"] is Fate.TAKEN
    assert fates["tuesday.csv"] is Fate.TAKEN
    drop(studio, AFTER.replace("monday/sh010", "monday/sh011"), "friday.csv")
    clock.now += 3600
    (found,) = box.scan()
    assert found.fate is Fate.REFUSED
    letter = (studio.rejected_dir / "friday.csv.faults.txt").read_text()
    assert "row 2 (sh010), column after: there is no shot 'monday/sh011'" in letter
    assert "did you mean 'monday/sh010'?" in letter


def test_a_mistyped_shot_of_its_own_sheet_is_refused_at_once(
    studio: Studio, box: Inbox, clock: Clock
) -> None:
    """Nothing that could still come would mend it."""
    drop(studio, AFTER.replace("monday/sh010", "sh011"))
    (found,) = settle(box, clock)
    assert found.fate is Fate.REFUSED
