"""What the ledger tells the planner of earlier takes: seconds a step, and rungs of memory."""

from __future__ import annotations

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


def test_rungs_are_those_of_the_latest_such_take_on_each_card(maker):
    """Another card, model or size has its own; a take that needed none forgets what was needed."""
    with maker.ledger() as ledger:
        night = maker.begin(ledger)

        def render(name, **changes):
            shot = ledger.record_shot(night, "shots", maker.shot(name), 1).id
            take = maker.add(ledger, shot, night)
            maker.render(ledger, take, night, **changes)
            return take.recipe.model_id

        size = {"width": 128, "height": 128, "frames": 17}
        model = render("a", device="cuda:0 small", rungs=("cache", "alone", "swap"))
        render("b", device="cuda:0 small", rungs=("alone",))
        render("c", device="cuda:0 large", rungs=("tiling",))
        render("d", device="cpu (2 threads)")
        found = ledger.rungs(model_id=model, **size)
        assert found == {"cuda:0 small": ("alone",), "cuda:0 large": ("tiling",)}
        assert ledger.rungs(model_id="another", **size) == {}
        assert ledger.rungs(model_id=model, **{**size, "frames": 13}) == {}
        render("e", device="cuda:0 large")
        assert ledger.rungs(model_id=model, **size) == {"cuda:0 small": ("alone",)}
