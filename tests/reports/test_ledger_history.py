"""What the ledger tells the planner of earlier takes: seconds a step, and rungs of memory."""

from __future__ import annotations

from datetime import timedelta
from itertools import count

import pytest

from reports.ledger_times import REMEMBERED_NIGHTS
from reports.take import TakeStatus


def test_what_was_rendered_last_comes_first_with_what_it_took(maker):
    """Takes that were rendered, whatever became of them, newest first and no more than asked."""
    with maker.ledger() as ledger:
        night = maker.begin(ledger)
        maker.run(ledger, maker.shot("one"), night, TakeStatus.REJECTED, TakeStatus.APPROVED)
        maker.run(ledger, maker.shot("two"), night, TakeStatus.FAILED)
        found = ledger.latest_rendered(10)
        newest = ledger.latest_rendered(1)
    assert [each.recipe.seed for each in found] == [42, 41]
    assert [each.receipt.recipe_fingerprint for each in found] == [
        each.recipe.fingerprint for each in found
    ]
    assert newest == found[:1]


def test_nights_come_in_the_order_in_which_they_were_begun(maker):
    """Also where the clock was put back between two: the later one is the last one, the one to take
    up, and the one that says how a shot is meant."""
    with maker.ledger() as ledger:
        first = maker.begin(ledger, "2026-11-20")
        maker.run(ledger, maker.shot("one"), first)
        maker.clock.now -= timedelta(hours=1)
        arguments = ledger.night(first).arguments_key
        later = ledger.begin_night(night_id="b", arguments_key=arguments, arguments={})
        known = ledger.record_shot(later.id, "shots", maker.shot("one", notes="new"), 0)
        maker.run(ledger, maker.shot("one", recipe=maker.recipe(seed=7)), later.id)
        assert later.started < ledger.night(first).started
        assert [night.id for night in ledger.nights()] == [first, later.id]
        assert ledger.open_night(arguments) == later
        latest = ledger.latest_shot("shots", "one")
    assert latest is not None
    assert latest.shot.recipe.seed == 7
    assert known.id != latest.id


@pytest.fixture
def rendering(maker):
    """Renders a take of a new shot: `render(ledger, night, device=..., forced=...)`."""
    names = map(str, count())

    def render(ledger, night, **changes):
        shot = ledger.record_shot(night, "shots", maker.shot(next(names)), 1).id
        take = maker.add(ledger, shot, night)
        maker.render(ledger, take, night, **changes)
        return take.recipe.model_id

    return render


SIZE = {"width": 128, "height": 128, "frames": 17}


def test_rungs_are_those_that_such_takes_were_forced_to_on_each_card(maker, rendering):
    """Another card, model or size has its own; what a take only began with is nobody's need, and
    a take that began with what is known does not make it forgotten."""
    with maker.ledger() as ledger:
        night = maker.begin(ledger)
        rendering(ledger, night, device="cuda:0 small", rungs=("cache",), forced=("cache",))
        rungs = ("cache", "alone", "swap")
        rendering(ledger, night, device="cuda:0 small", rungs=rungs, forced=("alone",))
        rendering(ledger, night, device="cuda:0 large", rungs=("tiling",), forced=("tiling",))
        rendering(ledger, night, device="cuda:0 large", rungs=("tiling",))
        model = rendering(ledger, night, device="cpu (2 threads)")
        found = ledger.rungs(model_id=model, **SIZE)
        assert found == {"cuda:0 small": ("alone", "cache"), "cuda:0 large": ("tiling",)}
        assert ledger.rungs(model_id="another", **SIZE) == {}
        assert ledger.rungs(model_id=model, **{**SIZE, "frames": 13}) == {}


@pytest.mark.slow
def test_a_rung_is_forgotten_after_seven_nights_with_such_takes(maker, rendering):
    """Nights on which the card rendered nothing of the kind do not count; forced to it again, it
    is remembered again."""
    card = {"device": "cuda:0 small"}
    with maker.ledger() as ledger:
        known = []
        for number in range(REMEMBERED_NIGHTS + 2):
            night = maker.begin(ledger, f"night {number}")
            forced = ("alone",) if number in (0, REMEMBERED_NIGHTS + 1) else ()
            model = rendering(ledger, night, forced=forced, **card)
            rendering(ledger, night, **card)
            known.append(ledger.rungs(model_id=model, **SIZE))
            ledger.end_night(night, "all done")
            quiet = maker.begin(ledger, f"quiet night {number}")
            rendering(ledger, quiet, device="cuda:0 large")
            ledger.end_night(quiet, "all done")
    needed = {"cuda:0 small": ("alone",)}
    assert known == [*[needed] * REMEMBERED_NIGHTS, {}, needed]
