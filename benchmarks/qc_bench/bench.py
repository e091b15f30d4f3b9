"""Measure every clip of a half; AUC, false alarms and recall."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.qc_bench.defects import GRADES
from benchmarks.qc_bench.reels import Plan, reels
from qc.judge import judge
from qc.lpips import LpipsBackbone
from qc.measure import measure
from qc.metrics import METRICS
from qc.scorecard import Decision, Level, Scorecard
from qc.thresholds import Limit, load_thresholds


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One clip of the bench and what was found in it."""

    half: str
    defect: str
    """`clean`, or the name of a defect."""
    grade: str
    """Empty for clean clips."""
    scene: dict[str, Any]
    metrics: dict[str, float]
    failures: tuple[str, ...]
    """Classes that failed with the shipped limits, worst first."""
    warnings: tuple[str, ...]
    """Metrics that warned."""
    beyond: dict[str, float]
    """Metrics that failed, and their values."""


def cases(half: str, plan: Plan, *, lpips: LpipsBackbone | None, folder: Path) -> Iterator[Case]:
    """Every case of a half, measured from its x264 file against the picture of its first frame.

    LPIPS on clean clips and on those that one of its metrics should see.
    """
    wants = {d.name for d in plan.defects if any("lpips" in name for name in d.metrics)}
    for reel in reels(half, plan, folder=folder):
        backbone = lpips if reel.defect in wants | {"clean"} else None
        card = measure(reel.clip, source=reel.source, expected=None, lpips=backbone)
        failures, warnings, beyond = found(card)
        yield Case(
            half=half,
            defect=reel.defect,
            grade=reel.grade,
            scene=asdict(reel.scene),
            metrics=card.metrics,
            failures=failures,
            warnings=warnings,
            beyond=beyond,
        )


def found(card: Scorecard) -> tuple[tuple[str, ...], tuple[str, ...], dict[str, float]]:
    """Classes that fail (worst first, each once), metrics that warn, and the values of those that
    fail, by the default limits."""
    verdict = judge(card, thresholds=load_thresholds("default"))
    failed = [f.failure for f in verdict.findings if f.level is Level.FAIL and f.failure]
    assert bool(failed) == (verdict.decision is Decision.RETAKE)
    warned = [f.metric for f in verdict.findings if f.level is Level.WARN]
    beyond = {f.metric: f.value for f in verdict.findings if f.level is Level.FAIL}
    return tuple(dict.fromkeys(map(str, failed))), tuple(warned), beyond


def auc(clean: Sequence[float], spoilt: Sequence[float], *, higher_is_worse: bool) -> float:
    """Share of (clean, spoilt) pairs in which the spoilt clip is the worse one; ties half."""
    sign = 1.0 if higher_is_worse else -1.0
    good, bad = sign * np.asarray(clean)[:, None], sign * np.asarray(spoilt)[None, :]
    return float((bad > good).mean() + 0.5 * (bad == good).mean())


def summary(measured: Sequence[Case], plan: Plan) -> dict[str, Any]:
    """False alarms of the clean clips; per defect AUC of each metric and recall, by grade.

    A metric that no clip at all was measured by (LPIPS that was left out) has no AUC.
    """
    clean = [case for case in measured if case.defect == "clean"]
    alarms = [case for case in clean if case.failures]
    rows = {}
    for defect in plan.defects:
        spoilt = {
            grade: [c for c in measured if (c.defect, c.grade) == (defect.name, grade)]
            for grade in GRADES
        }
        rows[defect.name] = {
            "clips": {grade: len(group) for grade, group in spoilt.items()},
            "auc": {
                **{
                    name: _auc_by_grade(name, clean, spoilt)
                    for name in defect.metrics
                    if any(name in case.metrics for case in measured)
                },
                "all by their limits": _auc_by_limits(defect.metrics, clean, spoilt),
            },
            "sent_back": {
                g: _share(c, lambda case: bool(case.failures)) for g, c in spoilt.items()
            },
            "by_its_class": {
                g: _share(c, lambda case, wanted=defect.failure: wanted in case.failures)
                for g, c in spoilt.items()
            },
        }
    return {
        "clean_clips": len(clean),
        "false_alarms": len(alarms),
        "false_alarm_share": len(alarms) / len(clean) if clean else None,
        "false_alarms_are": [
            {
                "kind": c.scene["kind"],
                "picture": c.scene["picture"],
                "failures": c.failures,
                "values": c.beyond,
            }
            for c in alarms
        ],
        "clean_clips_with_warnings": sum(bool(case.warnings) for case in clean),
        "defects": rows,
    }


def _auc_by_grade(
    metric: str, clean: Sequence[Case], spoilt: Mapping[str, Sequence[Case]]
) -> dict[str, float | None]:
    worse_up = METRICS[metric].higher_is_worse
    # A metric that could not be measured has found nothing: it counts as the best of all values.
    best = -np.inf if worse_up else np.inf
    good = [case.metrics.get(metric, best) for case in clean]
    return {
        grade: auc(good, [c.metrics.get(metric, best) for c in bad], higher_is_worse=worse_up)
        if good and bad
        else None
        for grade, bad in spoilt.items()
    }


def _auc_by_limits(
    metrics: Sequence[str], clean: Sequence[Case], spoilt: Mapping[str, Sequence[Case]]
) -> dict[str, float | None]:
    """Of the metrics together: each as a multiple of its limit, the worst of them."""
    limits = [limit for limit in load_thresholds("default") if limit.metric in metrics]

    def worst(case: Case) -> float:
        return max(
            (_severity(limit, case.metrics[limit.metric]) for limit in limits
             if limit.metric in case.metrics),
            default=-np.inf,
        )  # fmt: skip

    good = [worst(case) for case in clean]
    return {
        grade: auc(good, list(map(worst, bad)), higher_is_worse=True) if good and bad else None
        for grade, bad in spoilt.items()
    }


def _severity(limit: Limit, value: float) -> float:
    at = limit.fail if limit.fail is not None else limit.warn
    assert at is not None
    if METRICS[limit.metric].higher_is_worse:
        return value / at if at else value
    return at / max(value, 1e-6)


def _share(group: Sequence[Case], holds: Any) -> float | None:
    return sum(map(holds, group)) / len(group) if group else None
