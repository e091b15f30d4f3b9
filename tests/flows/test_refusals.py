"""People hear of a dropped sheet that is refused, at once and once; it costs the inbox nothing."""

from __future__ import annotations

import io
import json
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from letterbox import Letterbox
from rich.console import Console
from served import Serve

from flows.inbox import look_once, scan_once
from flows.refusals import MOST, Refusals
from flows.run import _from_inbox
from manifests.errors import BadInput, Fault
from manifests.settings import load_studio
from tasks.inbox import Fate, Found, Inbox, accepted_sheets

BAD = "shot,source,prompt,frames\nsh010,../still.png,a pan,many\nsh020,../still.png,x,none of it\n"
LATE = "shot,source,prompt\nsh010,later.png,a pan\n"
OLD = 60.0
"""Seconds since the last change of a sheet that is dropped whole."""


def _drop(studio: Any, text: str, name: str = "shots.csv") -> None:
    """A sheet renamed into the inbox: it is looked at at once."""
    inbox = studio.root / "inbox"
    inbox.mkdir(exist_ok=True)
    written = studio.root / "being-written"
    written.write_text(text)
    os.utime(written, (time.time() - OLD, time.time() - OLD))
    written.rename(inbox / name)


def _fault(number: int) -> Fault:
    return Fault(file=Path("shots.csv"), problem="is wrong", remedy="mend it", row=number)


def _refused(name: str, faults: int = 1) -> Found:
    found = tuple(map(_fault, range(faults)))
    return Found(name=name, fate=Fate.REFUSED, words="", faults=found)


class Slow:
    """Sends nothing until it is let."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.let = threading.Event()

    def __call__(self, title: str, body: str) -> bool:
        self.let.wait()
        self.told.append((title, body))
        return True


def test_a_sheet_that_is_refused_is_told_with_the_number_and_place_of_its_faults() -> None:
    """One message for one sheet."""
    send = Slow()
    send.let.set()
    refusals = Refusals(Path("/studio/inbox/rejected"), send)
    refusals.add(_refused("shots.csv", 3))
    refusals.close()
    where = "/studio/inbox/rejected/shots.csv.faults.txt"
    assert send.told == [
        ("Rushes: a dropped sheet was refused", f"shots.csv: 3 faults, see {where}")
    ]


def test_many_sheets_are_few_messages_that_name_each_of_them_once() -> None:
    """What is refused while a message is under way is in the next one, which stays short."""
    send = Slow()
    refusals = Refusals(Path("/r"), send)
    names = [f"s{number:03d}.csv" for number in range(3 * MOST)]
    for name in names:
        refusals.add(_refused(name))
    send.let.set()
    refusals.close()
    lines = [line for _, body in send.told for line in body.splitlines()]
    assert [line.partition(":")[0] for line in lines] == names
    assert len(send.told) <= 4
    assert all(len(body.splitlines()) <= MOST for _, body in send.told)
    assert f"Rushes: {MOST} dropped sheets were refused" in [title for title, _ in send.told]


def test_a_name_that_cannot_be_sent_is_one_line_of_what_can() -> None:
    """Line breaks would tell of sheets that there are not, and some bytes are no text."""
    send = Slow()
    send.let.set()
    refusals = Refusals(Path("/r"), send)
    refusals.add(_refused("a\nb.csv: 9 faults\udcff\x1b[2J.csv"))
    refusals.close()
    ((_, body),) = send.told
    assert body.startswith("a?b.csv: 9 faults??[2J.csv: 1 fault, see /r/")
    assert body.isprintable()
    assert body.encode()


def test_a_word_that_comes_behind_the_end_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """And raises nothing in the look that had it."""
    refusals = Refusals(Path("/r"), Slow())
    refusals.close()
    refusals.add(_refused("shots.csv"))
    assert "a message was not sent" in caplog.text


@pytest.mark.slow
def test_whoever_hears_of_trouble_hears_of_a_refused_sheet(
    studio: Any, letterbox: Letterbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By `rushes inbox` and by `rushes run` alike, and not again at the next look; a sheet that
    waits for its stills is told when it has waited in vain."""
    monkeypatch.setenv("RUSHES_NOTIFY__URLS", json.dumps([letterbox.url]))
    console = Console(file=io.StringIO())
    _drop(studio, BAD)
    look_once(studio.root, console)
    look_once(studio.root, console)
    where = studio.root / "inbox/rejected"
    words = f"shots.csv: 2 faults, see {where}/shots.csv.faults.txt"
    assert [message["message"] for message in letterbox.arrived] == [words]
    _drop(studio, LATE)
    (found,) = look_once(studio.root, console)
    assert found.fate is Fate.WAITING
    assert len(letterbox.arrived) == 1
    (studio.root / "studio.yaml").write_text("inbox: {grace_minutes: 0}\n")
    with pytest.raises(BadInput, match="none was taken from the inbox"):
        _from_inbox(load_studio(studio.root), console)
    assert len(letterbox.arrived) == 2
    assert letterbox.arrived[1]["title"] == "Rushes: a dropped sheet was refused"
    assert letterbox.arrived[1]["message"].startswith("shots.csv: 1 fault, see ")


@pytest.mark.slow
@pytest.mark.parametrize("on", ["start", "end"])
def test_who_does_not_hear_of_trouble_hears_of_no_refused_sheet(
    studio: Any, letterbox: Letterbox, on: str
) -> None:
    """A refused sheet is trouble."""
    _drop(studio, BAD)
    rules = {"urls": letterbox.url, "on": on}
    (found,) = scan_once(load_studio(studio.root, notify=rules))
    assert found.fate is Fate.REFUSED
    assert letterbox.arrived == []


@pytest.mark.slow
def test_a_word_that_cannot_be_sent_costs_the_inbox_nothing(
    studio: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody listens at the address: the bad sheet is put aside, the good one taken, and the log
    says that nobody was told, without the address."""
    _drop(studio, BAD, "bad.csv")
    _drop(studio, "shot,prompt,source\nsh010,a pan,../still.png\n", "good.csv")
    settings = load_studio(studio.root, notify={"urls": "json://127.0.0.1:9/sec-ret-token"})
    with caplog.at_level(logging.DEBUG):
        fates = {found.name: found.fate for found in scan_once(settings)}
    assert fates == {"bad.csv": Fate.REFUSED, "good.csv": Fate.TAKEN}
    assert [path.name for path in accepted_sheets(settings)] == ["good.csv"]
    assert "not sent to everybody: Rushes: a dropped sheet was refused" in caplog.text
    assert "sec-ret-token" not in caplog.text


def test_what_was_refused_is_told_though_the_look_breaks(studio: Any) -> None:
    """The share goes away behind the first sheet: it lies in `rejected/`, and no look has it
    again."""
    told: list[str] = []
    settings = load_studio(studio.root)
    _drop(studio, BAD, "a.csv")
    _drop(studio, BAD, "b.csv")

    def go_away(found: Found) -> None:
        told.append(found.name)
        settings.rejected_dir.rename(studio.root / "aside")
        settings.rejected_dir.write_text("no folder")

    with pytest.raises(OSError, match="rejected"):
        Inbox(settings, refused=go_away).scan()
    assert told == ["a.csv"]


@pytest.mark.slow
def test_a_served_studio_tells_of_a_refused_sheet(
    studio: Any, serve: Callable[..., Serve], letterbox: Letterbox
) -> None:
    """As it is dropped, while no night runs."""
    served = serve(RUSHES_NOTIFY__URLS=json.dumps([letterbox.url]))
    served.wait_until_it_serves()
    _drop(studio, BAD)
    served.wait_for(lambda: letterbox.arrived, "a word of the sheet")
    assert letterbox.arrived[0]["message"].startswith("shots.csv: 2 faults, see ")
    assert served.stop() == 0
    assert len(letterbox.arrived) == 1
