"""What the page on quality control says of its runs is what the results of these runs say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from qc.thresholds import load_thresholds

ROOT = Path(__file__).parents[2]
HELD_OUT = "qc_bench_limits_7"
_GRADES = ("weak", "middle", "strong")
_LIMIT = re.compile(
    r"^\| ((?:`\w+` ?)+)\| (\w+)(, hard)? \| .* \| (?:least )?([\d., -]+) / ([\d., -]+) \|$", re.M
)
_ROW = re.compile(r"^\| ([a-z ]+) \| ([\d./ ]+) \| ([\d./ ]+) \|$", re.M)


def results(name):
    """A results file."""
    text = (ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8")
    return json.loads(text)


def figures(found):
    """The AUC and the share sent back by grade, as the page writes them."""
    # Of the defects that several metrics tell, all together.
    key = "all by their limits" if len(found["auc"]) > 2 else next(iter(found["auc"]))
    auc = " / ".join(f"{found['auc'][key][grade]:.2f}" for grade in _GRADES)
    return auc, " / ".join(f"{found['sent_back'][grade]:.2f}" for grade in _GRADES)


def bounds(cell, many):
    """The numbers of a cell, one for each of so many metrics: one number stands for all."""
    each = [None if text == "-" else float(text) for text in cell.strip().split(", ")]
    return each if len(each) == many else each * many


def test_the_limits_of_the_page_are_the_shipped_ones():
    """Every limit stands in the page, with its class, whether it is a gate, and its numbers."""
    page = (ROOT / "docs" / "qc.md").read_text(encoding="utf-8")
    shown = {}
    for names, failure, hard, warns, fails in _LIMIT.findall(page):
        metrics = re.findall(r"\w+", names)
        both = zip(bounds(warns, len(metrics)), bounds(fails, len(metrics)), strict=True)
        shown |= {
            metric: (failure, bool(hard), warn, fail)
            for metric, (warn, fail) in zip(metrics, both, strict=True)
        }
    assert shown == {
        limit.metric: (limit.failure.value, limit.hard, limit.warn, limit.fail)
        for limit in load_thresholds("default")
    }


def test_the_table_of_the_held_out_run_is_its_results():
    """Every defect of the run stands in the page, with the run's own figures."""
    page = (ROOT / "docs" / "qc.md").read_text(encoding="utf-8")
    shown = {name: (auc, back) for name, auc, back in _ROW.findall(page)}
    defects = results(HELD_OUT)["halves"]["held out"]["defects"]
    assert shown == {name: figures(found) for name, found in defects.items()}


@pytest.mark.parametrize(
    ("name", "key", "family"),
    [
        (HELD_OUT, "thresholds", "default"),
        ("qc_bench_832x480", "thresholds", "default"),
        ("pocket_sweep", "thresholds", "pocket"),
        ("retakes", "thresholds", "pocket"),
        ("early", "clips_by", "pocket"),
        ("calibration", "defaults", "pocket"),
    ],
)
def test_the_runs_are_of_the_limits_in_force(name, key, family):
    """No figure that the pages give for the shipped limits was measured by other ones."""
    assert results(name)[key] == load_thresholds(family).name
