"""From numbers to a verdict: gates, words, monotony, and which take is best."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import examples

from qc.judge import HARD, judge, rank
from qc.metrics import METRICS
from qc.scorecard import Decision, FailureClass, Level, Scorecard, Verdict
from qc.thresholds import Learned, Thresholds, load_thresholds

RANDOM = "alex, random, seed 0 (uncalibrated)"
DEFAULT = load_thresholds("default")
GOOD = {
    "decode_faults": 0.0,
    "non_finite": 0.0,
    "black": 0.0,
    "luma_dip": 0.01,
    "frozen": 0.0,
    "cut": 0.02,
    "conditioning_ssim": 0.93,
    "flicker": 0.001,
    "flicker_local": 0.001,
    "boiling": 0.15,
    "saturation_shift": 0.02,
    "motion": 0.003,
}


def card_of(**metrics: float) -> Scorecard:
    return Scorecard(
        frames=17,
        width=128,
        height=128,
        fps=16.0,
        metrics={**GOOD, **metrics},
        versions={"ssim": "1"},
        backbone=RANDOM,
        problems=("17 frames, 33 expected",),
        curves={"luma": (1.0, 2.0)},
    )


def test_reasons_are_words_for_a_supervisor():
    """A finding says what is wrong, the number, and what it should have been."""
    verdict = judge(card_of(conditioning_ssim=0.41, flicker=0.011), thresholds=DEFAULT)
    assert verdict.decision is Decision.RETAKE
    assert verdict.failure is FailureClass.CONDITIONING
    assert verdict.reasons == (
        "frame 0 does not look like the source: SSIM 0.41, at least 0.6",
        "flickers: 0.011, at most 0.0085",
    )
    assert verdict.thresholds == "default 2026-11-21.7"


def test_a_good_card_is_approved_with_every_limit_looked_at():
    """Approval lists what was looked at; metrics that were not measured are not invented."""
    verdict = judge(card_of(), thresholds=DEFAULT)
    assert verdict.decision is Decision.APPROVE
    assert verdict.failure is None
    assert {finding.metric for finding in verdict.findings} == set(GOOD)
    assert all(f.level is Level.PASS and f.failure is None for f in verdict.findings)


def test_numbers_of_two_backbones_are_never_held_against_one_limit():
    """The limit on LPIPS is the random backbone's; trained weights have none until the studio sets
    one or learns it, and the verdict keeps only what was held against it."""
    jumps = card_of(lpips_spike=7.0)
    own = {"lpips_spike": {"warn": 6.5}}
    learned = Learned(limits={"lpips_spike": (6.5, None)}, words="calibrated")
    for backbone, limits, level in (
        (RANDOM, DEFAULT, Level.WARN),
        ("alex (trained)", DEFAULT, None),
        ("alex (trained)", load_thresholds("default", own), Level.WARN),
        ("alex (trained)", load_thresholds("default", learned=learned), Level.WARN),
    ):
        verdict = judge(replace(jumps, backbone=backbone), thresholds=limits)
        found = {finding.metric: finding.level for finding in verdict.findings}
        assert found.get("lpips_spike") == level
        kept = {limit.metric for limit in verdict.limits}
        assert ("lpips_spike" in kept) == (level is not None)


def test_warnings_keep_the_take():
    """Between warn and fail a take is approved, with the reason told."""
    verdict = judge(card_of(flicker=0.007), thresholds=DEFAULT)
    assert verdict.decision is Decision.APPROVE
    assert verdict.reasons == ("flickers: 0.007, at most 0.0065",)


def test_hard_gates_come_first():
    """However bad a soft number is, a gate that was crossed is the failure."""
    verdict = judge(card_of(flicker=9.0, frozen=0.3, cut=0.9), thresholds=DEFAULT)
    assert verdict.failure is FailureClass.FROZEN
    assert [f.failure for f in verdict.findings[:3]] == ["frozen", "cut", "flicker"]


@pytest.mark.parametrize("metric", [limit.metric for limit in DEFAULT if limit.fail is not None])
def test_every_limit_with_a_fail_can_fail(metric):
    """Each `fail` of the table sends a take back by itself, in its class, at 1 or more."""
    limit = DEFAULT[metric]
    worse = limit.fail * 2 + 1 if limit.higher_is_worse else limit.fail / 2
    verdict = judge(card_of(**{metric: worse}), thresholds=DEFAULT)
    assert verdict.decision is Decision.RETAKE
    assert verdict.failure is limit.failure
    assert verdict.findings[0].severity >= 1
    assert verdict.failure in HARD or not limit.hard


def test_a_static_shot_may_stand_still():
    """Where no motion is expected a picture that fails as frozen warns and is kept, what would
    warn passes, and every other limit holds as ever."""
    frozen = DEFAULT["frozen"]
    assert frozen.warn is not None
    assert frozen.fail is not None
    for value, level in ((frozen.fail + 0.1, Level.WARN), (frozen.warn + 0.01, Level.PASS)):
        card = card_of(frozen=value, motion=0.0, flicker=0.007)
        verdict = judge(card, thresholds=DEFAULT, expects_motion=False)
        assert verdict.decision is Decision.APPROVE
        levels = {finding.metric: finding.level for finding in verdict.findings}
        assert (levels["frozen"], levels["motion"]) == (level, Level.PASS)
        assert levels["flicker"] is Level.WARN
    cut = judge(card_of(cut=0.9), thresholds=DEFAULT, expects_motion=False)
    assert cut.failure is FailureClass.CUT


def test_a_clip_of_something_else_is_told_so_before_its_colours():
    """Another picture than the source is the failure, by however much soft numbers fail too."""
    verdict = judge(card_of(conditioning_ssim=0.59, flicker=9.0), thresholds=DEFAULT)
    assert [f.failure for f in verdict.findings[:2]] == ["conditioning", "flicker"]
    assert verdict.findings[0].severity < verdict.findings[1].severity


def test_the_limit_itself_is_still_good():
    """A number exactly at its limit passes: `at most` and `at least` mean what they say."""
    for limit in DEFAULT:
        for bound in (limit.warn, limit.fail):
            if bound is not None:
                verdict = judge(card_of(**{limit.metric: bound}), thresholds=DEFAULT)
                assert verdict.decision is Decision.APPROVE, limit.metric


values = st.floats(0, 2, allow_nan=False)
metrics = st.sampled_from([limit.metric for limit in DEFAULT])


def moved(thresholds: Thresholds, metric: str, by: float) -> Thresholds:
    """The table with one metric's limits made laxer by `by` >= 0."""

    def lax(bound: float | None, up: bool) -> float | None:
        return None if bound is None else bound + by if up else bound - by

    return Thresholds(
        name="moved",
        limits=tuple(
            replace(
                limit,
                warn=lax(limit.warn, limit.higher_is_worse),
                fail=lax(limit.fail, limit.higher_is_worse),
            )
            if limit.metric == metric
            else limit
            for limit in thresholds
        ),
    )


@settings(deadline=None, max_examples=examples(60))
@given(st.dictionaries(metrics, values, max_size=6), metrics, st.floats(0, 1))
def test_judge_is_monotone_in_each_threshold(given_, metric, by):
    """A laxer limit never turns an approval into a retake, nor adds a failure."""
    card = card_of(**given_)
    strict = judge(card, thresholds=DEFAULT)
    lax = judge(card, thresholds=moved(DEFAULT, metric, by))
    failures = {f.metric for f in strict.findings if f.level is Level.FAIL}
    assert {f.metric for f in lax.findings if f.level is Level.FAIL} <= failures
    assert not (strict.decision is Decision.APPROVE and lax.decision is Decision.RETAKE)


@settings(deadline=None, max_examples=examples(60))
@given(st.dictionaries(metrics, values, max_size=6), metrics, values, values)
def test_judge_is_monotone_in_each_number(given_, metric, one, other):
    """A worse number never gives a better level or a lower severity."""
    limit = DEFAULT[metric]
    better, worse = sorted([one, other], reverse=not limit.higher_is_worse)
    levels, severities = [], []
    for value in (better, worse):
        verdict = judge(card_of(**{**given_, metric: value}), thresholds=DEFAULT)
        finding = next(f for f in verdict.findings if f.metric == metric)
        levels.append(list(Level).index(finding.level))
        severities.append(finding.severity)
    assert levels[0] <= levels[1]
    assert severities[0] <= severities[1]


@settings(deadline=None, max_examples=examples(60))
@given(st.dictionaries(metrics, values, max_size=8))
def test_severity_is_1_or_more_for_what_fails_and_for_nothing_else(given_):
    """A warning never weighs as much as a failure, however far it is beyond."""
    for finding in judge(card_of(**given_), thresholds=DEFAULT).findings:
        assert (finding.severity >= 1) == (finding.level is Level.FAIL)


@settings(deadline=None, max_examples=examples(30))
@given(st.dictionaries(metrics, values, max_size=8))
def test_findings_are_sorted_and_round_trip(given_):
    """Worst first: FAIL, WARN, PASS; card and verdict survive JSON-shaped data."""
    card = card_of(**given_)
    verdict = judge(card, thresholds=DEFAULT)
    order = [[Level.FAIL, Level.WARN, Level.PASS].index(f.level) for f in verdict.findings]
    assert order == sorted(order)
    assert Verdict.from_dict(verdict.to_dict()) == verdict
    assert Scorecard.from_dict(card.to_dict()) == card


def best(*cards: Scorecard) -> Scorecard:
    return min(cards, key=lambda card: rank(card, judge(card, thresholds=DEFAULT)))


def test_the_best_take_crosses_no_gate():
    """Any soft failure is better than a crossed gate."""
    soft, gated = card_of(flicker=0.5, boiling=3.0), card_of(cut=0.4)
    assert best(gated, soft) is soft


def test_the_best_take_fails_in_fewer_ways_and_then_by_less():
    """Fewest FAILs, then the lowest worst severity."""
    one, two = card_of(flicker=0.05), card_of(flicker=0.009, boiling=0.5)
    assert best(two, one) is one
    mild = card_of(flicker=0.008)
    assert best(one, mild) is mild


def test_of_takes_that_pass_the_best_warns_least_and_then_looks_most_like_its_source():
    """Of equal worst severities fewer warnings win, though all numbers together are nearer to their
    limits; and of equal findings the better first frame, where SSIM is no finding."""
    boiling, local = DEFAULT["boiling"].warn, DEFAULT["flicker_local"].warn
    one = card_of(flicker=0.0084, boiling=boiling, flicker_local=local)
    two = card_of(flicker=0.0084, boiling=boiling + 0.001, flicker_local=0.0)
    assert best(two, one) is one
    table = Thresholds(
        name="without", limits=tuple(limit for limit in DEFAULT if limit.metric == "flicker")
    )
    near, far = card_of(conditioning_ssim=0.95), card_of(conditioning_ssim=0.8)
    ranks = [rank(card, judge(card, thresholds=table)) for card in (near, far)]
    assert ranks[0] < ranks[1]


def test_stillness_does_not_win():
    """A take that hardly moves loses to one that moves, though its other numbers are perfect."""
    still = card_of(motion=0.0001, flicker=0.0, flicker_local=0.0, boiling=0.0, cut=0.0)
    moving = card_of(flicker=0.0064)
    assert best(still, moving) is moving


def test_stillness_does_not_win_by_failing_in_fewer_ways():
    """What hardly moves cannot flicker: it loses to a moving take that fails in more ways, as long
    as neither crosses a gate."""
    still = card_of(motion=0.0001, flicker=0.0, flicker_local=0.0, blur=2.0)
    moving = card_of(flicker=0.05, boiling=3.0)
    assert best(still, moving) is moving
    assert best(still, card_of(cut=0.4)) is still


@settings(deadline=None, max_examples=examples(40))
@given(st.dictionaries(metrics, values, max_size=6), st.dictionaries(metrics, values, max_size=6))
def test_an_approved_take_outranks_a_failed_one_that_moves(one, other):
    """Rank agrees with the verdict: an approved take that moves beats every failed one."""
    first, second = card_of(**one), card_of(**other)
    verdicts = [judge(card, thresholds=DEFAULT) for card in (first, second)]
    if [verdict.decision for verdict in verdicts] == [Decision.APPROVE, Decision.RETAKE]:
        assert rank(first, verdicts[0]) < rank(second, verdicts[1])


def test_every_limit_is_on_a_documented_metric():
    """The table of limits names only metrics that the registry describes."""
    assert {limit.metric for limit in DEFAULT} <= set(METRICS)
