"""Messages about a night: through the real apprise to a real HTTP server, and never a secret."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from letterbox import Letterbox

from flows.notify import TROUBLE_EVERY, Notifier
from flows.post import sender
from manifests.errors import BadInput
from manifests.notify import NotifyRules, Occasion
from manifests.settings import load_studio


@pytest.mark.slow
def test_a_night_is_told_at_its_start_and_end(letterbox: Letterbox) -> None:
    """Two messages with the night's name, the counts and where the report lies."""
    arrived, rules = letterbox.arrived, NotifyRules(urls=letterbox.url)
    notifier = Notifier(rules, sender(rules))
    notifier.began("2026-11-21", [("sh010", 1800.0), ("sh020", 1800.0)])
    notifier.ended({"approved": 2, "held": 0}, "/studio/reports/2026-11-21/index.html")
    titles = [message["title"] for message in arrived]
    assert titles == ["Rushes: night 2026-11-21 began", "Rushes: night 2026-11-21 is over"]
    assert "2 shots to do, about 1.0 h" in arrived[0]["message"]
    assert "2 approved\nreport: /studio/reports" in arrived[1]["message"]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def _collecting(*on: Occasion) -> tuple[Notifier, list[tuple[str, str]], Clock]:
    told: list[tuple[str, str]] = []
    clock = Clock()

    def send(title: str, body: str) -> bool:
        told.append((title, body))
        return True

    return Notifier(NotifyRules(on=on or tuple(Occasion)), send, clock=clock), told, clock


def test_much_trouble_is_few_messages() -> None:
    """The first failure is told at once; what follows in a quarter of an hour in one message."""
    notifier, told, clock = _collecting(Occasion.TROUBLE)
    for number in range(5):
        notifier.shot_done(f"sh0{number}", "failed", "OutOfMemory: the card is full")
    clock.now += TROUBLE_EVERY
    notifier.shot_done("sh09", "failed", "WorkerLost: it died")
    notifier.shot_done("sh10", "approved", "")
    notifier.ended({"failed": 6}, "page")
    assert [body.count("\n") + 1 for _, body in told] == [1, 5]
    assert "sh09: WorkerLost" in told[1][1]


def test_trouble_that_was_kept_back_is_told_at_the_end() -> None:
    """The night ends before the quarter of an hour does."""
    notifier, told, _ = _collecting(Occasion.TROUBLE)
    notifier.shot_done("sh01", "failed", "OutOfMemory: the card is full")
    notifier.shot_done("sh02", "failed", "WorkerLost: it died")
    notifier.ended({"failed": 2}, "page")
    assert [body for _, body in told] == [
        "sh01: OutOfMemory: the card is full",
        "sh02: WorkerLost: it died",
    ]


def test_only_what_was_asked_for_is_told() -> None:
    """With `on: [end]` neither start nor trouble sends anything."""
    notifier, told, _ = _collecting(Occasion.END)
    notifier.began("2026-11-21", [])
    notifier.shot_done("sh01", "failed", "x")
    notifier.ended({}, "page")
    assert [title for title, _ in told] == ["Rushes: night 2026-11-21 is over"]


def test_a_night_that_breaks_is_told() -> None:
    """The first line of the error, and that nothing finished is lost."""
    notifier, told, _ = _collecting()
    notifier.began("2026-11-21", [])
    notifier.broke(RuntimeError("the server went away\nwith a long trace"))
    assert told[-1][0] == "Rushes: night 2026-11-21 stopped"
    assert told[-1][1].startswith("RuntimeError: the server went away\nWhat is finished")


@pytest.mark.slow
def test_a_message_that_cannot_be_sent_is_logged_without_its_address(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nobody listens there: the night goes on, the log says so, the token is nowhere."""
    rules = NotifyRules(urls=["json://127.0.0.1:9/sec-ret-token", "nonsense"])
    with caplog.at_level(logging.DEBUG):
        notifier = Notifier(rules, sender(rules))
        notifier.began("2026-11-21", [])
        notifier.ended({}, "page")
    assert "was not sent to everybody" in caplog.text
    assert "number 2 is no address" in caplog.text
    assert "sec-ret-token" not in caplog.text
    assert "sec-ret-token" not in repr(rules)


def test_a_wrong_address_is_not_shown_in_a_fault(tmp_path: Path) -> None:
    """A fault in `notify:` names the place, never the value."""
    (tmp_path / "studio.yaml").write_text("notify: {urls: [{slack: sec-ret-token}]}\n")
    with pytest.raises(BadInput) as caught:
        load_studio(tmp_path)
    assert "sec-ret-token" not in str(caught.value)
    assert all(fault.value is None for fault in caught.value.faults)
