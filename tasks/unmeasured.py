"""Verdicts over takes that have no numbers: they failed before there was a clip to measure, or
their clip could not be measured."""

from __future__ import annotations

from qc.scorecard import Decision, FailureClass, Finding, Level, Verdict

BEYOND_DEGREE = 1e6
"""Severity of what is no matter of degree: no number of another take is worse."""


def memory_verdict(words: str) -> Verdict:
    """Over a take that did not fit in memory."""
    return _verdict("memory", FailureClass.MEMORY, words)


def nan_verdict(failure: FailureClass, words: str) -> Verdict:
    """Over a take whose latents or frames turned to NaN or infinity."""
    return _verdict("finite", failure, words)


def unscored_verdict(words: str) -> Verdict:
    """Over a clip that cannot be measured, `words` say why: a person must look at it."""
    return _verdict(
        "measured",
        FailureClass.UNDECODABLE,
        f"could not be measured: {words}",
        decision=Decision.HOLD,
        thresholds="none: it could not be measured",
    )


def _verdict(
    metric: str,
    failure: FailureClass,
    words: str,
    *,
    decision: Decision = Decision.RETAKE,
    thresholds: str = "render",
) -> Verdict:
    finding = Finding(
        metric=metric,
        value=0.0,
        level=Level.FAIL,
        limit=1.0,
        failure=failure,
        words=words,
        severity=BEYOND_DEGREE,
    )
    return Verdict(decision=decision, failure=failure, findings=(finding,), thresholds=thresholds)
