"""The table of limits: complete, gates first, and what a studio may change."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from manifests.errors import BadInput
from qc.judge import HARD
from qc.scorecard import FailureClass
from qc.thresholds import load_thresholds

RENDERER_ONLY = {FailureClass.NAN_FRAMES, FailureClass.MEMORY}
"""Seen while a take is rendered, where no clip is left to measure."""


def test_every_failure_class_has_a_limit_that_fails():
    """Whatever class the remedies know, some number can bring a take into it, or the renderer."""
    covered = {limit.failure for limit in load_thresholds("default") if limit.fail is not None}
    assert covered == set(FailureClass) - RENDERER_ONLY


def test_gates_stand_first_and_are_the_hard_classes():
    """Hard limits lead the table, and are exactly those of the gate classes that fail."""
    hard = [limit.hard for limit in load_thresholds("default")]
    assert hard == sorted(hard, reverse=True)
    measured = {limit.failure for limit in load_thresholds("default") if limit.hard}
    assert measured == HARD - RENDERER_ONLY


@pytest.mark.parametrize("family", ["default", "pocket", "wan"])
def test_no_limit_fails_before_it_warns(family):
    """Warn comes before fail in every section."""
    for limit in load_thresholds(family):
        if limit.warn is not None and limit.fail is not None:
            assert not limit.beyond(limit.warn, limit.fail), limit.metric


def test_a_family_changes_only_what_it_names():
    """The pocket section replaces its own limits and keeps the gates."""
    default, pocket = load_thresholds("default"), load_thresholds("pocket")
    assert pocket["conditioning_ssim"].fail < default["conditioning_ssim"].fail
    assert pocket["frozen"] == default["frozen"]
    assert pocket.name == "pocket 2026-11-21.7"
    assert load_thresholds("wan").name == "default 2026-11-21.7"


def test_a_studio_may_move_or_lift_a_limit():
    """Overrides win over the family, and the table's name tells of them."""
    thresholds = load_thresholds(
        "pocket", {"flicker": {"fail": 0.009}, "conditioning_ssim": {"fail": None}}
    )
    assert thresholds["flicker"].fail == 0.009
    assert thresholds["flicker"].warn == load_thresholds("pocket")["flicker"].warn
    assert thresholds["conditioning_ssim"].fail is None
    assert thresholds.name == (
        "pocket 2026-11-21.7, studio: flicker fail 0.009; conditioning_ssim fail None"
    )


def test_wrong_overrides_are_told_all_at_once():
    """Unknown metrics, unknown keys, words for numbers and crossed limits come in one error."""
    overrides = {
        "fliker": {"fail": 1.0},
        "boiling": {"fale": 1.0},
        "blur": {"fail": "high"},
        "banding": 3,
        "cut": {"warn": 0.5, "fail": 0.2},
    }
    with pytest.raises(BadInput) as caught:
        load_thresholds("default", overrides, where=Path("our.yaml"))
    faults = [str(fault) for fault in caught.value.faults]
    assert len(faults) == 5
    assert "our.yaml, column thresholds.fliker" in faults[0]
    assert "did you mean 'flicker'?" in faults[0]
    assert "thresholds.boiling.fale" in faults[1]
    assert "thresholds.blur.fail" in faults[2]
    assert "3 is no pair of warn and fail" in faults[3]
    assert "fail at 0.2 before it warns at 0.5" in faults[4]


@pytest.mark.slow
def test_contract_modules_leave_the_heavy_libraries_alone():
    """Judging needs no torch, no OpenCV and no numpy: the orchestrator imports it."""
    script = (
        "import sys, qc.judge, qc.thresholds, qc.metrics, qc.scorecard\n"
        "print(sorted({'torch', 'cv2', 'numpy', 'lpips', 'av'} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
