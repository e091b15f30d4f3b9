"""Which stage of a failed take broke its picture: measured, by decoding what the earlier ones left.

Only for failures that are a matter of degree: a black or frozen clip is no stage's fault that a
dial would mend. A stage that hands noise on has no picture of its own and is passed over.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from manifests.files import link_or_copy
from manifests.stage import Recipe
from qc.errors import QCError
from qc.judge import HARD
from qc.scorecard import FailureClass, Finding, Level, Verdict
from render.errors import RenderError
from reports.records import EventKind, TakeRecord
from tasks.desk import Desk, Job
from tasks.judge_clip import judge_clip
from tasks.naming import take_folder
from tasks.take_order import render_order


@dataclass(frozen=True, slots=True, kw_only=True)
class StageScore:
    """The number that failed, measured on what one stage left."""

    stage: int
    """1-based."""
    value: float
    failed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """The failing number stage by stage, and the stage that is to blame."""

    failure: FailureClass
    metric: str
    limit: float | None
    scores: tuple[StageScore, ...]
    """In the order of the stages, the last one always among them."""
    stage: int | None
    """1-based: the one behind the last good stage, or 1 where that fails already; None where the
    stage before it could not be measured."""

    @property
    def blamed(self) -> int | None:
        """The stage to blame, 0-based, as the policy counts."""
        return None if self.stage is None else self.stage - 1

    @property
    def words(self) -> str:
        """For a person: every number, and what they say."""
        numbers = ", ".join(f"{each.value:.3g} after stage {each.stage}" for each in self.scores)
        match self.stage:
            case None:
                said = "no single stage is to blame"
            case 1:
                said = "stage 1 fails already"
            case _:
                said = f"stage {self.stage} made it worse"
        name = self.metric.replace("_", " ")
        return f"{said} ({name} {numbers})"

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for the ledger."""
        return {**asdict(self), "failure": self.failure.value}


def is_attributable(take: TakeRecord, verdict: Verdict) -> bool:
    """Whether the take failed in a way that one of several stages may be to blame for."""
    failure = verdict.failure
    return (
        failure is not None
        and failure not in HARD
        and failure is not FailureClass.MEMORY
        and take.receipt is not None
        and len(take.recipe.stages) > 1
    )


def attribute_failure(
    final: Verdict, earlier: Mapping[int, Verdict], *, stages: int
) -> Attribution | None:
    """Whose fault the worst failure of `final` is, given the verdicts over earlier stages.

    `earlier` is by stage (0-based); `stages` is how many the recipe has. None where no earlier
    stage has that number.
    """
    failing = next(
        each
        for each in final.findings
        if each.level is Level.FAIL and each.failure is final.failure
    )
    found = {k: _finding(verdict, failing.metric) for k, verdict in earlier.items()}
    scores = [
        StageScore(stage=k + 1, value=each.value, failed=each.level is Level.FAIL)
        for k, each in sorted(found.items())
        if each is not None
    ]
    if not scores:
        return None
    good = [score.stage for score in scores if not score.failed]
    known = {score.stage for score in scores} | {stages}
    stage = max(good) + 1 if good else 1
    scores.append(StageScore(stage=stages, value=failing.value, failed=True))
    assert failing.failure is not None, "a failing number has its class"
    return Attribution(
        failure=failing.failure,
        metric=failing.metric,
        limit=failing.limit,
        scores=tuple(scores),
        # A stage between the good one and the bad one that has no picture may be the culprit.
        stage=stage if stage in known else None,
    )


def _finding(verdict: Verdict, metric: str) -> Finding | None:
    return next((each for each in verdict.findings if each.metric == metric), None)


async def attribute(
    night: Desk, job: Job, take: TakeRecord, verdict: Verdict
) -> Attribution | None:
    """Decode and score the earlier stages of a failed take; None where that says nothing.

    What goes wrong with it is noted in the ledger; the take is then judged without.
    """
    if not is_attributable(take, verdict):
        return None
    earlier = {}
    try:
        for k, stage in enumerate(take.recipe.stages[:-1]):
            if not stage.leftover_noise:
                earlier[k] = await _judge_stage(night, job, take, k)
    except (RenderError, QCError, OSError) as error:
        night.ledger.event(
            kind=EventKind.NOTE,
            words=f"take {take.number}: its stages were not compared: "
            f"{type(error).__name__}: {error}",
            night=night.night_id,
            take_id=take.take_id,
        )
        return None
    return attribute_failure(verdict, earlier, stages=len(take.recipe.stages))


async def _judge_stage(night: Desk, job: Job, take: TakeRecord, k: int) -> Verdict:
    """The verdict over what stage `k` (0-based) left. Raises RenderError or QCError.

    It is a take of the stages so far, whose latents are all there: the worker finds nothing to
    sample and only decodes, by the same model and under the same care as any take.
    """
    name = f"{take.take_id}/stage-{k + 1}"
    folder = take_folder(night.studio.takes_dir, name)
    assert take.receipt is not None, "only a rendered take has stages"
    recipe = recipe_so_far(take.recipe, k, first_seed=take.receipt.stages[0].seed)
    order = render_order(night, job, replace(take, take_id=name, recipe=recipe))
    order = replace(order, score=None, look=None)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for stage in take.receipt.stages[: k + 1]:
            # What is gone is no loss but of time: it is computed again.
            with suppress(FileNotFoundError):
                link_or_copy(stage.latents, folder / stage.latents.name)
        place = night.lanes.place(job.key, job.number)
        receipt = await night.pool.render(order, budget=job.budget, place=place)
        _, verdict = await judge_clip(night, job, recipe, receipt.clip)
        return verdict
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def recipe_so_far(recipe: Recipe, k: int, *, first_seed: int) -> Recipe:
    """The recipe that ends with stage `k` (0-based), of the candidate that the take went on with.

    `first_seed` is the seed of stage 1's noise, from the receipt.
    """
    seed = first_seed - recipe.stages[0].seed_offset
    return replace(recipe, seed=seed, candidates=1, stages=recipe.stages[: k + 1])
