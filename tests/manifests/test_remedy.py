"""What one remedy changes in a recipe, and what it leaves."""

from __future__ import annotations

from dataclasses import replace

from ledger_maker import Maker

from manifests.remedy import Remedy
from manifests.stage import StageKind

MORE_STEPS = Remedy.model_validate(
    {"name": "more-steps", "words": "four more steps", "change": {"steps": {"add": 4}}}
)


def test_the_steps_of_a_split_schedule_are_left(tmp_path):
    """Several stages share them: more in one would part the schedule at another noise."""
    recipe = Maker(tmp_path).recipe()
    split = replace(
        recipe,
        stages=tuple(
            replace(stage, kind=StageKind.SPLIT, steps=20, denoise=1.0, start_step=start)
            for stage, start in zip(recipe.stages, (0, 10), strict=True)
        ),
    )
    assert MORE_STEPS.apply(split, ranges={}, take=2) == split
    more = MORE_STEPS.apply(recipe, ranges={"steps": (10, 27)}, take=2)
    assert [stage.steps for stage in more.stages] == [22, 27]
