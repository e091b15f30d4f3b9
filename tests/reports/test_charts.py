from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qc.scorecard import Finding, Level
from reports.charts import bar, slices, spark
from reports.timing import PhaseSeconds


def _finding(severity: float) -> Finding:
    return Finding(
        metric="flicker",
        value=0.1,
        level=Level.PASS,
        limit=1.0,
        failure=None,
        words="",
        severity=severity,
    )


@given(st.lists(st.floats(0, 10), min_size=2))
def test_a_worse_number_never_has_a_shorter_bar(severities):
    """Length follows severity, stays in 0..100, and half of it is the limit."""
    widths = [bar(_finding(severity)).width for severity in sorted(severities)]
    assert widths == sorted(widths)
    assert all(0 < width <= 100 for width in widths)
    assert bar(_finding(1.0)).width == 50


@pytest.mark.parametrize("severity", [math.inf, math.nan, 1e6])
def test_a_number_beyond_all_measure_fills_its_bar(severity):
    """Infinite and undefined severities are drawn as bad as can be."""
    assert bar(_finding(severity)).width == 100


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), max_size=40))
def test_a_curve_stays_in_its_box(values):
    """Every point lies in 100 x 24; NaN and infinity are left out."""
    drawn = spark(values)
    finite = [value for value in values if math.isfinite(value)]
    assert (drawn is None) == (len(finite) < 2)
    if drawn is not None:
        points = [tuple(map(float, point.split(","))) for point in drawn.points.split()]
        assert len(points) == len(finite)
        assert all(0 <= x <= 100 and 0 <= y <= 24 for x, y in points)


@given(st.lists(st.floats(0, 1000), max_size=8))
def test_phases_fill_the_bar_end_to_end(seconds):
    """Slices follow each other without gaps and end at 100."""
    phases = [PhaseSeconds(phase=f"stage {i + 1}", seconds=s) for i, s in enumerate(seconds)]
    laid = slices(phases, whole=sum(seconds))
    assert len(laid) == sum(second > 0 for second in seconds)
    for before, after in pairwise(laid):
        assert after.x == pytest.approx(before.x + before.width, abs=0.01)
    if laid:
        assert laid[-1].x + laid[-1].width == pytest.approx(100, abs=0.01)
