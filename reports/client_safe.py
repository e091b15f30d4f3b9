"""A report that may leave the house: without prompts, machine names, paths and free text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from manifests.stage import Recipe
from qc.scorecard import Verdict
from render.order import Receipt
from reports.lines import Failure, NightReport, ShotLine, TakeLine
from reports.needs import needs_of
from reports.records import DeliveryRecord, ShotRecord, TakeRecord
from reports.words import plain_words


def client_safe(report: NightReport) -> NightReport:
    """The report with prompts, notes, presets, models, devices, paths and error texts taken out.

    Words that a program took from elsewhere (errors, notes, findings) may hold a path or a name,
    so none of them is kept: findings are told again from their numbers, failures by their class.
    Files are named without their folders.
    """
    shots = tuple(_shot(line) for line in report.shots)
    night = replace(report.night, arguments={}, arguments_key="", flow_run_id=None, words="")
    return replace(
        report,
        night=night,
        headline=replace(
            report.headline, cards=tuple(replace(card, card="") for card in report.headline.cards)
        ),
        shots=shots,
        needs=tuple(replace(need, remedy="", command="") for need in needs_of(night, shots, ())),
        refused=tuple({} for _ in report.refused),
        notes=(),
        client_safe=True,
    )


def _shot(line: ShotLine) -> ShotLine:
    takes = tuple(_take(take) for take in line.takes)
    best = None
    if line.best is not None:
        number = line.best.record.number
        best = next(take for take in takes if take.record.number == number)
    return replace(
        line,
        record=_record(line.record),
        takes=takes,
        delivery=None if line.delivery is None else _delivery(line.delivery),
        best=best,
        notes=(),
        waits="",
    )


def _record(record: ShotRecord) -> ShotRecord:
    shot = replace(
        record.shot,
        recipe=_recipe(record.shot.recipe),
        source=None,
        deadline=None,
        after=(),
        start_from=None,
        title="",
        style=None,
        notes="",
        snaps=(),
        warnings=(),
    )
    return replace(record, shot=shot)


def _recipe(recipe: Recipe) -> Recipe:
    stages = tuple(replace(stage, loras=()) for stage in recipe.stages)
    # A preset is named by its family of models.
    return replace(recipe, prompt="", negative="", preset="", model="", model_id="", stages=stages)


def _take(line: TakeLine) -> TakeLine:
    record = line.record
    steps = tuple(replace(step, words="") for step in record.transitions)
    safe = replace(
        record,
        recipe=_recipe(record.recipe),
        remedy=None,
        transitions=steps,
        receipt=None if record.receipt is None else _receipt(record.receipt),
        scorecard=None if record.scorecard is None else replace(record.scorecard, problems=()),
        verdict=None if record.verdict is None else _verdict(record.verdict),
    )
    failures = tuple(
        Failure(error=failure.error, attempt=failure.attempt, words="") for failure in line.failures
    )
    # How a take came about is the studio's own: rough pictures of its stages are left out too.
    spent = None if line.spent is None else replace(line.spent, device="", card="")
    return replace(line, record=_again(safe), failures=failures, stage_strips=(), spent=spent)


def _again(record: TakeRecord) -> TakeRecord:
    # The policy quotes an error where the machine failed a take before; the class is enough.
    words = record.remedy_words.partition(":")[0]
    return replace(record, remedy_words=words)


def _receipt(receipt: Receipt) -> Receipt:
    stages = tuple(
        replace(stage, latents=Path(stage.latents.name), preview=None) for stage in receipt.stages
    )
    clip = Path(receipt.clip.name)
    nowhere = replace(receipt, device="", card="", host="")
    return replace(nowhere, clip=clip, stages=stages, notes=(), looks=(), versions={})


def _verdict(verdict: Verdict) -> Verdict:
    findings = tuple(replace(item, words=plain_words(item)) for item in verdict.findings)
    # What the studio lets pass, and with what it measures, is its own.
    return replace(verdict, findings=findings, limits=(), versions={}, backbone="")


def _delivery(record: DeliveryRecord) -> DeliveryRecord:
    delivery = record.delivery
    return replace(
        record,
        sidecar=Path(record.sidecar.name),
        delivery=replace(
            delivery, path=Path(delivery.path.name), upscaler="", grade="", checks=(), strip=None
        ),
    )
