"""A ledger of judged takes, written through the real one: one transaction, no pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from manifests.shot import FinishSpec, Shot
from manifests.stage import Recipe, Stage, StageKind
from qc.judge import judge
from qc.scorecard import Scorecard
from qc.thresholds import Thresholds, load_thresholds
from render.order import Receipt
from reports.ledger import Ledger
from reports.take import TakeStatus

RANDOM = "alex, random, seed 0 (uncalibrated)"
TRAINED = "alex (trained)"
VERSIONS = {"flicker": "1", "boiling": "1", "flow": "1 (DIS medium, OpenCV 4.12.0)"}


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A take as it is to stand in the ledger."""

    after: TakeStatus
    metrics: Mapping[str, float]
    preset: str = "wan/two-stage"
    width: int = 832
    height: int = 480
    fps: float = 16.0
    backbone: str = RANDOM
    versions: Mapping[str, str] | None = None


def write_night(
    path: Path,
    takes: Sequence[Judged],
    *,
    night: str = "2026-11-20",
    ended: bool = True,
    thresholds: Thresholds | None = None,
) -> None:
    """A night over a sheet of its own name, a shot for each of `takes`: sh0, sh1 ..."""
    with Ledger(path) as ledger, ledger.snapshot():
        ledger.begin_night(night_id=night, arguments_key=night, arguments={})
        for number, take in enumerate(takes):
            _write(ledger, night, f"sh{number}", take, thresholds or load_thresholds("wan"))
        if ended:
            ledger.end_night(night, "over")


def _write(ledger: Ledger, night: str, name: str, take: Judged, thresholds: Thresholds) -> None:
    recipe = Recipe(
        preset=take.preset,
        family=take.preset.partition("/")[0],
        model="wan",
        model_id="wan@1",
        prompt="",
        negative="",
        width=take.width,
        height=take.height,
        frames=81,
        fps=take.fps,
        seed=1,
        stages=(Stage(kind=StageKind.RENOISE, steps=4, cfg=1.0, shift=5.0),),
    )
    shot = Shot(id=name, row=2, recipe=recipe, source=None, finish=FinishSpec())
    shot_id = ledger.record_shot(night, night, shot, 0).id
    take_id = f"{night}/{name}/t1"
    ledger.add_take(
        shot_id,
        take_id=take_id,
        number=1,
        recipe=recipe,
        remedy_words="",
        remedy=None,
        night=night,
    )
    ledger.move(take_id, TakeStatus.RENDERING, night=night, words="started")
    ledger.rendered(take_id, _receipt(take_id, recipe), night)
    card = Scorecard(
        frames=81,
        width=take.width,
        height=take.height,
        fps=take.fps,
        metrics=dict(take.metrics),
        versions={**(take.versions or VERSIONS), "decoder": f"1 (of {name})"},
        backbone=take.backbone,
    )
    verdict = judge(card, thresholds=thresholds)
    ledger.judged(take_id, card, verdict, take.after, night, "; ".join(verdict.reasons) or "well")


def _receipt(take_id: str, recipe: Recipe) -> Receipt:
    return Receipt(
        take_id=take_id,
        recipe_fingerprint=recipe.fingerprint,
        clip=Path("/takes") / take_id / "take.mkv",
        clip_sha256="ef" * 32,
        frames=recipe.frames,
        width=recipe.width,
        height=recipe.height,
        fps=recipe.fps,
        stages=(),
        seconds=1.0,
        load_seconds=0.0,
        encode_seconds=0.0,
        decode_seconds=0.0,
        peak_memory=0,
        device="cpu",
        versions={},
    )
