"""Every metric is one file in three steps: check, compute, reduce."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import qc.measure
from qc.measure import versions_of
from qc.metrics import METRICS

FOLDER = Path(qc.measure.__file__).parent
HELPERS = {"colours", "flow", "tracking"}
"""What several metrics share; they have versions, too."""
FILES = sorted({*versions_of(lpips=False), "lpips"} - HELPERS)


@pytest.mark.parametrize("name", FILES)
def test_a_metrics_file_has_its_three_steps(name):
    """As functions; `reduce` may be that of the class that carries the clip."""
    tree = ast.parse((FOLDER / f"{name}.py").read_text())
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    carried = {
        node.name
        for outer in tree.body
        if isinstance(outer, ast.ClassDef)
        for node in outer.body
        if isinstance(node, ast.FunctionDef) and node.name == "reduce"
    }
    assert {"check", "compute"} <= functions
    assert "reduce" in functions | carried


def test_every_metric_comes_from_one_of_these_files():
    """Its name stands in exactly one of them, as the key that `reduce` gives."""
    words = {
        name: {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        for name in FILES
        for tree in [ast.parse((FOLDER / f"{name}.py").read_text())]
    }
    homes = {metric: [name for name in FILES if metric in words[name]] for metric in METRICS}
    assert {metric: home for metric, home in homes.items() if len(home) != 1} == {}
