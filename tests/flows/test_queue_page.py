"""The page on which people set priorities: what it shows, what it does, and for whom.

Slow, since each has a sheet, a plan and a ledger of its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.queue_page import steer
from flows.queue_view import queue_of
from flows.shown import QUEUE, SHOWN, begin
from manifests.errors import BadInput
from manifests.settings import load_studio
from reports.ledger import Ledger
from tasks.control import read_control
from tasks.night_book import begin as begin_night
from tasks.plan import make_plan
from tasks.sheets import load_sheets

pytestmark = pytest.mark.slow

SHOTS = [
    {"shot": "sh010"},
    {"shot": "sh020", "priority": 5},
    {"shot": "sh030"},
]
PATH = "/rushes/key/queue"
EVENING = date(2026, 11, 20)


@pytest.fixture
def night(studio: Any) -> Path:
    """A root with a night that has begun, and nothing of it."""
    root: Path = studio.root
    settings = load_studio(root)
    sheets = load_sheets([studio.sheet(SHOTS)], studio=settings)
    with Ledger(settings.ledger_path) as ledger:
        record = begin_night(ledger, key="k", arguments={}, flow_run_id="f", evening=EVENING)
        for position, line in enumerate(make_plan(sheets, studio=settings, ledger=None).lines):
            ledger.record_shot(record.id, line.manifest, line.shot, position)
    return root


def browser(root: Path) -> TestClient:
    """A browser before a server with a page of its own, and the queue."""
    app = FastAPI()

    @app.get("/{rest:path}")
    def answer(rest: str) -> str:
        return "Prefect"

    steer(app, root, PATH)
    return TestClient(app)


def word_of(page: TestClient) -> str:
    """The word that a form of this server has."""
    found = re.search(r'name="token" value="([^"]+)"', page.get(PATH).text)
    assert found is not None
    return found[1]


def press(page: TestClient, do: str, shot: str, number: str = "", **headers: str) -> Response:
    """Press a button of a shot."""
    fields = {"token": word_of(page), "shot": shot, "number": number, "do": do}
    return page.post(PATH, data=fields, headers=headers)


def shown(page: TestClient) -> list[str]:
    """The shots on the page, from its first row on."""
    return re.findall(r'<th scope="row"[^>]*>(.*?)</th>', page.get(PATH).text)


def said(root: Path) -> Mapping[str, int]:
    """The priorities that people have set."""
    return read_control(root / ".rushes").priority


def test_shots_stand_in_the_order_in_which_they_come(night: Path) -> None:
    """With the priority of their sheet."""
    page = browser(night)
    assert shown(page) == ["sh020", "sh010", "sh030"]
    assert [row.holds for row in queue_of(night).rows] == [5, 0, 0]


def test_what_is_set_holds_as_by_the_command(night: Path) -> None:
    """It stands in the file that `rushes priority` writes, the shot goes first, and the page says
    so; a reload sends nothing again."""
    page = browser(night)
    answer = press(page, "set", "shots/sh010", "9")
    assert answer.status_code == 200
    assert [each.status_code for each in answer.history] == [303]
    assert "Priority of sh010: 9 (its sheet says 0)." in answer.text
    assert said(night) == {"shots/sh010": 9}
    assert shown(page)[0] == "sh010"


def test_first_is_above_all_that_wait(night: Path) -> None:
    """Pressed for one after the other, the last one is first; taken back, its sheet holds."""
    page = browser(night)
    press(page, "first", "shots/sh010")
    press(page, "first", "shots/sh030")
    assert shown(page)[:2] == ["sh030", "sh010"]
    assert said(night) == {"shots/sh010": 6, "shots/sh030": 7}
    assert "as its sheet says" in press(page, "sheet", "shots/sh010").text
    assert said(night) == {"shots/sh030": 7}


def test_what_is_first_already_stays_as_it_is(night: Path) -> None:
    """Pressed twice, its number does not grow; nothing can be before the highest number, and that
    is said instead of a tie."""
    page = browser(night)
    for _ in range(2):
        press(page, "first", "shots/sh010")
    assert said(night) == {"shots/sh010": 6}
    press(page, "set", "shots/sh010", "1000000")
    answer = press(page, "first", "shots/sh030")
    assert answer.status_code == 400
    assert "Another shot has 1000000, the highest there is" in answer.text
    assert said(night) == {"shots/sh010": 1_000_000}


@pytest.mark.parametrize("number", ["", "soon", "1.5", "1e3", "1000001", "-1000001", "９", "1 2"])
def test_what_is_no_priority_is_refused_in_words(night: Path, number: str) -> None:
    """On the page itself, and nothing is changed."""
    answer = press(browser(night), "set", "shots/sh010", number)
    assert answer.status_code == 400
    assert "A priority is a whole number from -1000000 to 1000000." in answer.text
    assert said(night) == {}


def test_a_shot_that_is_not_in_the_night_is_refused(night: Path) -> None:
    """With what was meant, and without its name as markup."""
    answer = press(browser(night), "set", "shots/<i>sh01", "1")
    assert answer.status_code == 400
    assert "<i>" not in answer.text
    assert "has no shot" in answer.text
    assert said(night) == {}


def test_a_long_queue_comes_in_pages(night: Path) -> None:
    """With a way from each to the next, and what is looked for goes along; a form leads back to
    where it was sent from, and says where its shot is now."""
    with Ledger(load_studio(night).ledger_path) as ledger:
        (record, *_) = ledger.shot_records("2026-11-20")
        for number in range(250):
            shot = replace(record.shot, id=f"more{number:03d}", priority=0)
            ledger.record_shot("2026-11-20", "shots", shot, 100 + number)
    page = browser(night)
    assert len(shown(page)) == 100
    text = page.get(f"{PATH}?q=more&page=2").text
    assert re.findall(r'<th scope="row"[^>]*>(.*?)</th>', text)[0] == "more100"
    assert 'href="?q=more&amp;page=3" rel="next"' in text
    assert "253 waiting" in text
    fields = {"token": word_of(page), "shot": "shots/more120", "number": "9", "do": "set"}
    answer = page.post(f"{PATH}?q=more&page=2", data=fields)
    assert dict(answer.url.params) == {"q": "more", "page": "2", "said": "shots/more120"}
    assert "Priority of more120: 9 (its sheet says 0)." in answer.text
    assert '<a href="?q=shots%2Fmore120">number 1</a>' in answer.text


def test_what_is_looked_for_is_no_markup(night: Path) -> None:
    """It is shown as it was typed, also where nothing has it."""
    text = browser(night).get(PATH, params={"q": '"><b>x'}).text
    assert "<b>" not in text
    assert "No shot that waits or is in work has" in text


def test_another_page_cannot_send_a_form(night: Path) -> None:
    """Without the word of this server, from another site, or as something else than a form."""
    page = browser(night)
    fields = {"shot": "shots/sh010", "number": "9", "do": "set"}
    assert page.post(PATH, data=fields).status_code == 403
    for token in ("guessed", "é", "\ufffd"):
        assert page.post(PATH, data={**fields, "token": token}).status_code == 403
    for site in ("cross-site", "same-site"):
        assert press(page, "set", "shots/sh010", "9", **{"sec-fetch-site": site}).status_code == 403
    fields["token"] = word_of(page)
    assert page.post(PATH, json=fields).status_code == 415
    text = {"content-type": "text/plain"}
    assert page.post(PATH, content=urlencode(fields), headers=text).status_code == 415
    assert page.post(PATH, data={**fields, "shot": "x" * 20_000}).status_code == 413
    assert said(night) == {}


def test_a_form_of_an_older_server_is_shown_anew(night: Path) -> None:
    """After a restart what was typed is not done; the page that comes back can do it."""
    old = word_of(browser(night))
    page = browser(night)
    fields = {"token": old, "shot": "shots/sh010", "number": "9", "do": "set"}
    answer = page.post(PATH, data=fields)
    assert answer.status_code == 403
    assert "older than the server" in answer.text
    assert word_of(page) in answer.text


def test_the_page_loads_nothing_and_is_framed_by_nobody(night: Path) -> None:
    """Its headers allow its own style and its own forms, and no script at all."""
    headers = browser(night).get(PATH).headers
    rules = headers["Content-Security-Policy"]
    assert rules.startswith("default-src 'none'; style-src 'sha256-")
    assert "script-src" not in rules
    assert "frame-ancestors 'none'" in rules
    assert (headers["Cache-Control"], headers["X-Content-Type-Options"]) == ("no-store", "nosniff")


def test_a_root_without_nights_says_so(tmp_path: Path) -> None:
    """There is no row, and no ledger is made by looking."""
    text = browser(tmp_path).get(PATH).text
    assert "no night has run here" in text
    assert "No shot waits" in text
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read_is_named(night: Path) -> None:
    """A damaged file of priorities: its fault, in place of a queue that is not so."""
    (night / ".rushes").mkdir()
    (night / ".rushes/control.json").write_text("{")
    answer = browser(night).get(PATH)
    assert answer.status_code == 500
    assert "cannot be read" in answer.text
    with pytest.raises(BadInput):
        queue_of(night)


def test_a_ledger_that_cannot_be_read_is_named(night: Path) -> None:
    """As everywhere else, in place of a page of the server's that says nothing."""
    load_studio(night).ledger_path.write_bytes(b"no ledger" * 1000)
    answer = browser(night).get(PATH)
    assert answer.status_code == 500
    assert "rushes.db" in answer.text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_whatever_is_sent_changes_nothing(night: Path, body: bytes) -> None:
    """No bytes break the page, and none is a form with the right word."""
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = browser(night).post(PATH, content=body, headers=headers)
    assert answer.status_code in (400, 403)
    assert said(night) == {}


def test_the_queue_has_a_key_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was sent the address of a film does not know where priorities are set; both are kept."""
    monkeypatch.setenv(SHOWN, "")
    monkeypatch.setenv(QUEUE, "")
    shown_at = begin(tmp_path)
    queue_at = os.environ[QUEUE]
    assert queue_at.startswith("/rushes/")
    assert queue_at.endswith("/queue")
    assert shown_at.removeprefix("/rushes/") not in queue_at
    begin(tmp_path)
    assert os.environ[QUEUE] == queue_at
