"""Choosing among remedies: the table's order without evidence, what worked with it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from two_stage_recipe import RANGES, recipe

from manifests.remedy import load_remedies
from qc.scorecard import FailureClass
from tasks.remedy_choice import LEAST_EVIDENCE, Tally, draw, preferred
from tasks.retake import Attempt, Retake, decide

NAMES = ("denoise-down", "new-seed", "more-steps")

tallies = st.integers(0, 40).flatmap(
    lambda tried: st.builds(Tally, tried=st.just(tried), better=st.integers(0, tried))
)


@given(st.text(max_size=8), st.integers(0, LEAST_EVIDENCE - 1), st.sampled_from(NAMES))
def test_without_evidence_the_table_s_order_holds(key: str, tried: int, name: str) -> None:
    """Fewer outcomes than are evidence change nothing, whatever they were."""
    few = {name: Tally(tried=tried, better=tried)}
    assert preferred(NAMES, {}, key=key) == preferred(NAMES, few, key=key) == NAMES[0]


@given(st.text(max_size=8), st.integers(0, 9), tallies)
def test_a_success_never_lowers_a_draw_and_a_failure_never_raises_it(
    key: str, position: int, tally: Tally
) -> None:
    """The policy is monotone in its evidence, for every shot and not only on average."""
    now = draw(position, tally, key=key)
    better = Tally(tried=tally.tried + 1, better=tally.better + 1)
    worse = Tally(tried=tally.tried + 1, better=tally.better)
    assert draw(position, worse, key=key) <= now <= draw(position, better, key=key)


@given(st.text(max_size=8), st.lists(tallies, min_size=3, max_size=3))
def test_the_same_shot_is_told_the_same(key: str, found: list[Tally]) -> None:
    """The draws depend on shot, take and remedy alone: a night that was killed chooses again so."""
    evidence = dict(zip(NAMES, found, strict=True))
    assert preferred(NAMES, evidence, key=key) == preferred(NAMES, evidence, key=key)
    assert preferred(NAMES, evidence, key=key) in NAMES


def test_draws_are_of_the_beta_distribution() -> None:
    """Mean and variance over many shots are those of Beta(6 + 7, 4 + 2)."""
    draws = [draw(0, Tally(tried=9, better=7), key=str(n)) for n in range(4000)]
    mean = sum(draws) / len(draws)
    variance = sum((each - mean) ** 2 for each in draws) / len(draws)
    a, b = 13, 6
    assert abs(mean - a / (a + b)) < 0.005
    assert abs(variance - a * b / ((a + b) ** 2 * (a + b + 1))) < 0.001


def test_what_worked_is_preferred_over_what_stands_first() -> None:
    """A new seed that worked 27 of 30 times goes before a rule that worked 3 of 30, nearly always;
    the rule is still tried now and then where the record is short."""
    long = {"denoise-down": Tally(tried=30, better=3), "new-seed": Tally(tried=30, better=27)}
    short = {"denoise-down": Tally(tried=3, better=1), "new-seed": Tally(tried=3, better=2)}
    chosen = [preferred(NAMES[:2], long, key=str(n)) for n in range(300)]
    torn = [preferred(NAMES[:2], short, key=str(n)) for n in range(300)]
    assert chosen.count("new-seed") >= 297
    assert 60 < torn.count("denoise-down") < 240


def test_the_report_says_on_what_evidence_a_remedy_was_chosen() -> None:
    """Words, numbers and the preset; fewer outcomes than are evidence are told as such."""
    attempt = Attempt(recipe=recipe(), failure=FailureClass.FROZEN)

    def words(evidence: dict[str, Tally]) -> str:
        step = decide(
            [attempt], remedies=load_remedies(), ranges=RANGES, max_takes=3, evidence=evidence
        )
        assert isinstance(step, Retake)
        return step.words.partition("); ")[2]

    seven = {"new-seed": Tally(tried=9, better=7), "cfg-up": Tally(tried=30, better=0)}
    assert words(seven) == "worked 7 of 9 times for frozen on pocket/two-stage"
    assert words({"new-seed": Tally(tried=2, better=1)}) == (
        "worked 1 of 2 times for frozen on pocket/two-stage, too little to go by"
    )
    assert words({}) == ""


def test_the_report_says_which_remedy_of_the_table_was_passed_over() -> None:
    """Both records stand there, also where what was drawn was never tried."""
    never = {"new-seed": Tally(tried=200, better=0)}
    often = {**never, "cfg-up": Tally(tried=200, better=200)}
    attempt = Attempt(recipe=recipe(), failure=FailureClass.FROZEN)
    told = {}
    for name, evidence in (("never", never), ("often", often)):
        step = decide(
            [attempt], remedies=load_remedies(), ranges=RANGES, max_takes=3, evidence=evidence
        )
        assert isinstance(step, Retake)
        assert step.remedy.name == "cfg-up"
        told[name] = step.words.partition("); ")[2]
    passed = ", drawn before 'a new seed' (worked 0 of 200 times)"
    assert told["never"] == "not tried yet for frozen on pocket/two-stage" + passed
    assert told["often"] == "worked 200 of 200 times for frozen on pocket/two-stage" + passed
