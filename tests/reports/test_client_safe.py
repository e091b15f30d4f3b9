"""A report for a client: prompts, notes, machines, models, paths and errors stay in the house."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from manifests.stage import Lora
from render.order import Span, Spent
from reports.client_safe import client_safe
from reports.lines import NightReport
from reports.morning import render_page, write_morning
from reports.night_report import build_night_report
from reports.records import EventKind
from reports.take import TakeStatus

SECRET = "zyxwv"
"""Stands wherever a studio may have written or named something."""
NIGHT = "2026-11-21"


@pytest.fixture
def report(maker) -> NightReport:
    """Of a night with one shot in two takes, of which nothing but its name is public."""
    with maker.ledger() as ledger, ledger.snapshot():
        maker.begin(ledger, NIGHT)
        _deliver(maker, ledger, _shot(maker, ledger))
        ledger.event(kind=EventKind.REFUSED, words=SECRET, night=NIGHT, data={"file": SECRET})
        ledger.event(kind=EventKind.NOTE, words=SECRET, night=NIGHT)
        ledger.end_night(NIGHT, SECRET)
        found = build_night_report(ledger, NIGHT)
    spent = Spent(seconds=1.0, device=SECRET, card=SECRET)
    (line,) = found.shots
    takes = tuple(replace(take, spent=spent) for take in line.takes)
    return replace(found, shots=(replace(line, takes=takes),))


def _shot(maker, ledger) -> int:
    """A shot that was rejected and then approved; its key in the ledger."""
    named = dict.fromkeys(("prompt", "negative", "preset", "model", "model_id"), SECRET)
    lora = Lora(path=f"/studio/{SECRET}.safetensors", sha256="12" * 32)
    stages = tuple(replace(stage, loras=(lora,)) for stage in maker.recipe().stages)
    shot = maker.shot(
        "public_name",
        recipe=maker.recipe(stages=stages, **named),
        title=SECRET,
        notes=SECRET,
        style=SECRET,
        snaps=(SECRET,),
        warnings=(SECRET,),
    )
    shot_id = ledger.record_shot(NIGHT, "shots", shot, 0).id
    for number, after in enumerate((TakeStatus.REJECTED, TakeStatus.APPROVED), start=1):
        words = "" if number == 1 else f"the same again: {SECRET}"
        remedy = {"why": SECRET}
        take = maker.add(
            ledger, shot_id, NIGHT, recipe=shot.recipe, remedy=remedy, remedy_words=words
        )
        machine = {"device": SECRET, "card": SECRET, "host": SECRET}
        span = Span(kind="encode", begun=1.0, ended=2.0, on_card=True)
        maker.render(ledger, take, NIGHT, **machine, timeline=(span,), notes=(SECRET,))
        maker.judge(ledger, take, NIGHT, after)
        failure, words = EventKind.MACHINE_FAILURE, f"WorkerLost: {SECRET}"
        ledger.event(kind=failure, words=words, night=NIGHT, take_id=take.take_id)
    return shot_id


def _deliver(maker, ledger, shot_id: int) -> None:
    path = maker.root / SECRET / "public_name_v001.mp4"
    path.parent.mkdir()
    path.write_bytes(b"film")
    delivery = maker.delivery(path, upscaler=SECRET, grade=SECRET, checks=(SECRET,))
    take = ledger.takes_of(shot_id)[-1]
    sidecar = path.with_suffix(".json")
    ledger.delivered(shot_id, take.take_id, delivery, 1, sidecar, night=NIGHT)


@pytest.fixture
def page(report, tmp_path: Path) -> Path:
    """The client's page; its table lies beside it."""
    return write_morning(report, tmp_path / "client", client_safe=True)


def test_neither_page_nor_table_holds_a_secret(page, maker):
    """The shot is named; nothing that the studio wrote, no path, and no machine."""
    for text in (page.read_text(), (page.parent / "rushes.csv").read_text()):
        assert "public_name" in text
        for found in (SECRET, str(maker.root), "cpu (2 threads)"):
            assert found not in text


def test_the_page_leads_to_nothing_outside_itself(page):
    """Its links go to its own places, to the table beside it and to pictures within it."""
    links = re.findall(r'href="([^"]*)"', page.read_text())
    assert links
    assert not [link for link in links if link[0] not in "#rd"]


def test_the_studio_s_own_report_tells_all_of_it(report, tmp_path: Path):
    """What is taken away is there before, in the headline too."""
    assert SECRET in render_page(report, tmp_path)
    assert SECRET in repr(report.headline)


def test_no_part_of_a_client_s_report_holds_a_secret(report):
    """Also what the page does not show today: headline, record, delivery, takes, failures."""
    safe = client_safe(report)
    assert SECRET not in repr(safe.headline)
    for line in safe.shots:
        assert SECRET not in repr((line.record, line.delivery))
        for take in line.takes:
            assert SECRET not in repr((take.record, take.failures, take.spent))


def test_a_client_s_verdicts_tell_no_limits(report):
    """Nor the weights by which they were made."""
    takes = [take for line in client_safe(report).shots for take in line.takes]
    verdicts = [take.record.verdict for take in takes if take.record.verdict]
    assert verdicts
    assert not any(verdict.limits or verdict.backbone for verdict in verdicts)
