from __future__ import annotations

import csv
import io
import re
from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reports.morning import render_page
from reports.night_report import build_night_report
from reports.table import night_table, safe_cell, write_table
from reports.take import TakeStatus

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def _load(path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")


def test_one_row_a_shot_with_ids_as_text(night, tmp_path):
    """`001` stays `001`, quoted; numbers are not."""
    path = tmp_path / "rushes.csv"
    write_table(build_night_report(night.ledger, night.id), path)
    table = _load(path)
    assert list(table["shot"]) == ["seq010_sh0010", "seq010_sh0020", "seq010_sh0030", "001"]
    assert list(table["status"]) == ["approved", "approved", "held", "failed"]
    assert list(table["takes"]) == ["1", "2", "2", "1"]
    assert table["remedies"][1] == "new seed"
    assert table["score_flicker"][0] == "0.0021"
    assert table["version"][0] == "v001"
    raw = path.read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf")
    assert b',"001",' in raw
    assert b',"1",' not in raw


def test_an_empty_night_has_a_table_of_heads(maker, tmp_path):
    """No shots: the columns, no rows."""
    with maker.ledger() as ledger:
        name = maker.begin(ledger)
        write_table(build_night_report(ledger, name), tmp_path / "t.csv")
    assert _load(tmp_path / "t.csv").empty


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    text=st.one_of(
        st.builds(
            lambda blank, sign, rest: blank + sign + rest,
            st.text(" \u00a0", max_size=2),
            st.sampled_from(FORMULA),
            st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20),
        ),
        st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20),
    )
)
def test_no_text_cell_begins_as_a_formula(maker, text):
    """What a spreadsheet reads back never starts with a formula's sign, blanks or not."""
    report = _report(maker)
    line = report.shots[0]
    shot = replace(line.shot, title=text, notes=text)
    hostile = replace(line, record=replace(line.record, shot=shot), notes=(text,))
    path = maker.root / "t.csv"
    write_table(replace(report, shots=(hostile,)), path)
    rows = list(csv.reader(io.StringIO(path.read_text("utf-8-sig"), newline="")))
    assert len(rows) == 2
    for cell in rows[1]:
        assert not cell.lstrip().startswith(FORMULA)
        assert not cell.startswith(FORMULA)


def test_harmless_text_is_left_as_it_is():
    """Only what would be a formula gets an apostrophe."""
    assert safe_cell("slow push in - 50 %") == "slow push in - 50 %"
    assert safe_cell("=1+1") == "'=1+1"
    assert safe_cell("  @SUM(A1)") == "'  @SUM(A1)"


def test_the_client_table_leaves_out_what_is_the_houses(night):
    """No column for prompts, devices, presets, models, notes or sidecars."""
    report = replace(build_night_report(night.ledger, night.id), client_safe=True)
    columns = set(night_table(report).columns)
    assert not columns & {"prompt", "device", "preset", "model", "notes", "sidecar"}
    assert {"shot", "status", "version"} <= columns


def test_a_shot_took_as_long_in_the_table_as_on_the_page(night, tmp_path):
    """Both tell the time of all its phases, with that of its finish."""
    report = build_night_report(night.ledger, night.id)
    page = re.findall(r'data-seconds="([^"]*)"', render_page(report, tmp_path))
    assert sorted(page) == sorted(f"{seconds:.2f}" for seconds in night_table(report)["seconds"])
    delivered = [line for line in report.shots if line.delivery is not None]
    assert delivered
    for line in delivered:
        rendered = sum(phase.seconds for take in line.takes for phase in take.phases)
        assert line.seconds == pytest.approx(rendered + line.delivery.delivery.seconds)


_CACHE: dict[int, object] = {}


def _report(maker):
    if id(maker) not in _CACHE:
        with maker.ledger() as ledger:
            name = maker.begin(ledger)
            maker.run(ledger, maker.shot(), name, TakeStatus.APPROVED)
            _CACHE[id(maker)] = build_night_report(ledger, name)
    return _CACHE[id(maker)]
