"""Shots that wait for others, in the report."""

from __future__ import annotations

import pytest

from reports.client_safe import client_safe
from reports.morning import render_page
from reports.night_report import build_night_report
from reports.records import EventKind


@pytest.mark.slow
def test_what_a_shot_waits_for_is_told_in_house_alone(night):
    """In words that name the shot, and what to do; words that came from an error may hold a path,
    so a client reads that it was not started."""
    maker, ledger = night.maker, night.ledger
    name = maker.begin(ledger, "2026-11-23")
    shot = maker.shot("behind", after=("shots/zyxwv",), start_from="shots/zyxwv")
    shot_id = ledger.record_shot(name, "shots", shot, 0).id
    words = "waits for zyxwv, which is held"
    ledger.event(kind=EventKind.WAITS, words=words, night=name, shot_id=shot_id)
    ledger.end_night(name, "1 waiting")
    report = build_night_report(ledger, name)
    (need,) = report.needs
    assert (need.title, need.words) == ("behind", words)
    assert need.remedy == "See to that shot first; then run the same sheets again."
    assert words in render_page(report, maker.root)
    assert "zyxwv" not in render_page(client_safe(report), maker.root, client_safe=True)
    assert "zyxwv" not in repr(client_safe(report).shots[0].record.shot.after)
    (told,) = client_safe(report).needs
    assert told.words == "it was not started"
