"""What the ledger tells the planner of earlier takes: seconds a step, and rungs of memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reports.take import TakeStatus


def test_step_seconds_answer_for_equal_work_only(maker):
    """Another size, device or a resumed stage says nothing about this one's speed."""
    with maker.ledger() as ledger:
        night = maker.begin(ledger)
        shot = maker.run(ledger, maker.shot(), night, TakeStatus.APPROVED)
        other = ledger.record_shot(night, "shots", maker.shot("other"), 1).id
        take = maker.add(ledger, other, night)
        receipt = maker.receipt(take.take_id, take.recipe)
        stages = tuple(replace(stage, resumed=True, seconds=0.0) for stage in receipt.stages)
        maker.render(ledger, take, night, stages=stages)
        size = {"width": 128, "height": 128, "frames": 17}
        (first,) = ledger.takes_of(shot)
        seconds = ledger.step_seconds(model_id=first.recipe.model_id, **size, device_prefix="cpu")
        assert seconds == pytest.approx([0.2, 0.2])
        model = first.recipe.model_id
        assert ledger.step_seconds(model_id=model, **size, guided=False) == []
        assert ledger.step_seconds(model_id=model, **size, device_prefix="cuda") == []
        assert ledger.step_seconds(model_id=model, **{**size, "width": 256}) == []
        assert ledger.step_seconds(model_id="another", **size) == []


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
