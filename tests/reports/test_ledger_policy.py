"""What the retake policy asks the ledger."""

from __future__ import annotations

import pytest

from qc.scorecard import FailureClass
from reports.ledger import Ledger
from reports.outcomes import outcomes
from reports.records import TakeRecord
from reports.take import TakeStatus

NIGHT, NEXT = "2026-11-20", "2026-11-21"
NEW_SEED = {"name": "new-seed"}
CHANGED = {"name": "cfg-down", "names": ["cfg-down"], "preset": True}
APPROVED, REJECTED, HELD = TakeStatus.APPROVED, TakeStatus.REJECTED, TakeStatus.HELD


@pytest.fixture
def ledger(maker):
    with maker.ledger() as made:
        maker.begin(made, NIGHT)
        yield made


def shot(maker, ledger: Ledger, name: str, night: str = NIGHT) -> int:
    return ledger.record_shot(night, "shots", maker.shot(name), 0).id


def take(maker, ledger: Ledger, shot_id: int, after: TakeStatus | None, **given) -> TakeRecord:
    """The next take of a shot, rendered in 8 s and 2 s of loading, and judged."""
    night = given.pop("night", NIGHT)
    made = maker.add(ledger, shot_id, night, **given)
    if after is not None:
        maker.render(ledger, made, night, seconds=8.0, load_seconds=2.0)
        maker.judge(ledger, made, night, after)
    return made


def test_only_retakes_of_the_night_are_spent(maker, ledger: Ledger) -> None:
    """Made ones with the seconds that they took, those to be made without; first takes, also of a
    changed preset, never."""
    first = shot(maker, ledger, "a")
    take(maker, ledger, first, REJECTED, remedy=CHANGED)
    assert [each.seconds for each in ledger.spendings(NIGHT)] == [None], "decided, to be made"
    take(maker, ledger, first, REJECTED, remedy=NEW_SEED)
    assert [each.seconds for each in ledger.spendings(NIGHT)] == [10.0, None]
    take(maker, ledger, first, None, remedy=NEW_SEED)
    assert [each.seconds for each in ledger.spendings(NIGHT)] == [10.0, None], "not yet rendered"
    take(maker, ledger, shot(maker, ledger, "b"), APPROVED, remedy=None)
    assert len(ledger.spendings(NIGHT)) == 2
    maker.begin(ledger, NEXT)
    assert ledger.spendings(NEXT) == []


def test_outcomes_pair_a_take_with_the_judged_one_before_it(maker, ledger: Ledger) -> None:
    """Better is approved or ranked before; a take that the machine failed lies in no pair, and the
    first take of a changed preset has nothing to be held against."""
    one, two = shot(maker, ledger, "a"), shot(maker, ledger, "b")
    take(maker, ledger, one, REJECTED, remedy=CHANGED)
    failed = take(maker, ledger, one, None, remedy=NEW_SEED)
    ledger.move(failed.take_id, TakeStatus.RENDERING, night=NIGHT, words="")
    ledger.move(failed.take_id, TakeStatus.FAILED, night=NIGHT, words="out of memory")
    take(maker, ledger, one, APPROVED, remedy=NEW_SEED)
    take(maker, ledger, two, REJECTED, remedy=None)
    take(maker, ledger, two, REJECTED, remedy=NEW_SEED)
    take(maker, ledger, two, HELD, remedy={"name": "denoise-down"})
    found = {each.remedy: each for each in outcomes(ledger.retake_pairs())}
    assert set(found) == {"new-seed", "denoise-down"}
    new_seed = found["new-seed"]
    assert (new_seed.failure, new_seed.tried, new_seed.better, new_seed.approved) == (
        FailureClass.FLICKER,
        2,
        1,
        1,
    )
    assert (found["denoise-down"].tried, found["denoise-down"].better) == (1, 0), "as bad as before"


def test_outcomes_are_narrowed_and_the_latest_come_first(maker, ledger: Ledger) -> None:
    """By family, preset and class; `most` forgets the oldest."""
    one = shot(maker, ledger, "a")
    for remedy in (None, {"name": "first"}, {"name": "second"}):
        take(maker, ledger, one, REJECTED, remedy=remedy)
    (pair,) = ledger.retake_pairs(most=1)
    assert pair.remedy == "second"
    given = {"family": pair.family, "preset": pair.preset, "failure": FailureClass.FLICKER}
    assert len(ledger.retake_pairs(**given)) == 2
    for other in ({"family": "x"}, {"preset": "x"}, {"failure": FailureClass.CUT}):
        assert ledger.retake_pairs(**{**given, **other}) == []


def test_a_night_counts_the_first_judged_take_of_each_shot(maker, ledger: Ledger) -> None:
    """Not takes that followed, not shots judged in another night, not those of other presets."""
    one, two = shot(maker, ledger, "a"), shot(maker, ledger, "b")
    preset = take(maker, ledger, one, REJECTED, remedy=None).recipe.preset
    take(maker, ledger, one, APPROVED, remedy=NEW_SEED)
    take(maker, ledger, two, APPROVED, remedy=None)
    shot(maker, ledger, "not begun")
    assert ledger.first_failures(night=NIGHT, preset=preset) == [FailureClass.FLICKER, None]
    assert ledger.first_failures(night=NIGHT, preset="x/y") == []
    maker.begin(ledger, NEXT)
    again = shot(maker, ledger, "a", NEXT)
    assert again == one
    assert ledger.first_failures(night=NEXT, preset=preset) == []


def test_what_belongs_to_a_verdict_is_written_with_it_or_not_at_all(maker, ledger: Ledger) -> None:
    """An event that cannot be written takes the verdict with it."""
    made = maker.add(ledger, shot(maker, ledger, "a"), NIGHT)
    maker.render(ledger, made, NIGHT)
    with pytest.raises(ValueError, match="nothing"):
        ledger.judged(
            made.take_id,
            None,
            maker.verdict(),
            REJECTED,
            NIGHT,
            "words",
            events=[("nothing", "of this kind", {})],
        )
    assert ledger.take(made.take_id).verdict is None
    assert ledger.take(made.take_id).status is TakeStatus.RENDERED
