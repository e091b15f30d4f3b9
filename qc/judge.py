"""From a scorecard to a verdict: pure, torch-free, and in words."""

from __future__ import annotations

from qc.metrics import METRICS
from qc.scorecard import Decision, FailureClass, Finding, Level, Scorecard, Verdict
from qc.thresholds import Limit, Thresholds

_LEVELS = (Level.FAIL, Level.WARN, Level.PASS)
_CLASSES = tuple(FailureClass)
_FARTHEST = 1e6


def judge(card: Scorecard, *, thresholds: Thresholds, expects_motion: bool = True) -> Verdict:
    """Hold every number of `card` against its limits.

    APPROVE unless a limit's `fail` is crossed, then RETAKE (HOLD is the retake policy's to say).
    A metric that was not measured is not looked at, nor one by LPIPS with another backbone than the
    limit's. With `expects_motion` False (a static shot
    was asked for) a frozen picture only warns and little motion is right.
    """
    thresholds = thresholds.of(card.backbone)
    looked_at = [
        (limit, _find(limit, card.metrics[limit.metric], expects_motion))
        for limit in thresholds
        if limit.metric in card.metrics
    ]
    looked_at.sort(key=lambda item: _order(*item))
    findings = tuple(finding for _, finding in looked_at)
    failure = next((f.failure for f in findings if f.level is Level.FAIL), None)
    return Verdict(
        decision=Decision.APPROVE if failure is None else Decision.RETAKE,
        failure=failure,
        findings=findings,
        thresholds=thresholds.name,
        limits=thresholds.in_force(),
        versions=dict(card.versions),
        backbone=card.backbone,
    )


def rank(card: Scorecard, verdict: Verdict) -> tuple[float, ...]:
    """Sort key over takes of one shot, smallest is best.

    Hard gates crossed, then whether it fails at all, then whether it hardly moves (what does not
    move cannot flicker, so stillness has few FAILs and must not win by that), then the number of
    FAILs, then the worst severity, then the number of warnings, then the sum of severities, and
    last how far frame 0 is from the source.
    """
    failed = [finding for finding in verdict.findings if finding.level is Level.FAIL]
    still = any(f.metric == "motion" and f.level is not Level.PASS for f in verdict.findings)
    return (
        float(sum(1 for finding in failed if finding.failure in HARD)),
        float(bool(failed)),
        float(still),
        float(len(failed)),
        max((finding.severity for finding in verdict.findings), default=0.0),
        float(sum(1 for finding in verdict.findings if finding.level is Level.WARN)),
        sum(finding.severity for finding in verdict.findings),
        -card.metrics.get("conditioning_ssim", 0.0),
    )


HARD = frozenset(
    {
        FailureClass.UNDECODABLE,
        FailureClass.WRONG_LENGTH,
        FailureClass.NAN,
        FailureClass.NAN_FRAMES,
        FailureClass.BLACK,
        FailureClass.FROZEN,
        FailureClass.CUT,
    }
)
"""Classes whose failure is a gate: the file or the clip is unusable, whatever else is good."""


def _find(limit: Limit, value: float, expects_motion: bool) -> Finding:
    level = _level(limit, value)
    if not expects_motion and limit.failure is FailureClass.FROZEN:
        level = Level.WARN if level is Level.FAIL else Level.PASS
    crossed = limit.fail if level is Level.FAIL or limit.warn is None else limit.warn
    return Finding(
        metric=limit.metric,
        value=value,
        level=level,
        limit=crossed,
        failure=None if level is Level.PASS else limit.failure,
        words=_words(limit, value, crossed, level),
        severity=_severity(limit, value, level),
    )


def _level(limit: Limit, value: float) -> Level:
    if limit.beyond(value, limit.fail):
        return Level.FAIL
    return Level.WARN if limit.beyond(value, limit.warn) else Level.PASS


def _severity(limit: Limit, value: float, level: Level) -> float:
    """1 at the limit that fails, more beyond it; what does not fail stays below 1."""
    bound = limit.fail if limit.fail is not None else limit.warn
    if bound is None:
        return 0.0
    if limit.higher_is_worse:
        ratio = value / bound if bound > 0 else (1.0 + value if value > bound else 0.0)
    else:
        ratio = bound / value if value > 0 else _FARTHEST
    if level is Level.FAIL:
        return min(max(ratio, 1.0), _FARTHEST)
    return min(max(ratio, 0.0), 0.99)


def _words(limit: Limit, value: float, crossed: float | None, level: Level) -> str:
    label = f"{limit.label} " if limit.label else ""
    bound = ""
    if crossed is not None:
        side = "at most" if limit.higher_is_worse else "at least"
        bound = f", {side} {crossed:.4g}"
    if level is Level.PASS:
        return f"{METRICS[limit.metric].title} {value:.3g}{bound}"
    return f"{limit.says}: {label}{value:.3g}{bound}"


def _order(limit: Limit, finding: Finding) -> tuple[int, int, int, float]:
    """Worst first: level; gates in the order of their classes; conditioning; the rest.

    A clip of something else than its source is told so before its colours are held against it.
    """
    failed = finding.level is Level.FAIL
    gate = limit.hard and failed
    kind = _CLASSES.index(limit.failure) if gate else 0
    first = 0 if gate else 1 if failed and limit.failure is FailureClass.CONDITIONING else 2
    return (_LEVELS.index(finding.level), first, kind, -finding.severity)
