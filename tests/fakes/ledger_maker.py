"""Plausible shots, recipes, receipts, scores and deliveries, and the ledger they go into."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from manifests.shot import FinishSpec, Grade, Shot, Source, Upscale
from manifests.stage import Lora, Recipe, Sampler, Schedule, Stage, StageKind
from qc.scorecard import (
    Decision,
    FailureClass,
    Finding,
    Level,
    LimitInForce,
    Scorecard,
    Verdict,
)
from render.order import Delivery, Receipt, StageReceipt
from reports.ledger import Ledger
from reports.records import TakeRecord
from reports.take import TakeStatus


@dataclass
class Clock:
    """A clock that goes on by `step` whenever it is read."""

    now: datetime = datetime(2026, 11, 20, 22, 0, tzinfo=UTC)
    step: timedelta = timedelta(seconds=7)

    def __call__(self) -> datetime:
        self.now += self.step
        return self.now


@dataclass
class Maker:
    """Contract objects with sane values; what a test cares about it gives."""

    root: Path
    clock: Clock = field(default_factory=Clock)

    def recipe(self, **changes: Any) -> Recipe:
        stages = (
            Stage(kind=StageKind.RENOISE, steps=18, cfg=8.5, shift=8.0, sampler=Sampler.DPMPP_2M),
            Stage(
                kind=StageKind.RENOISE,
                steps=25,
                cfg=7.5,
                shift=8.0,
                schedule=Schedule.KARRAS,
                denoise=0.45,
                seed_offset=1,
            ),
        )
        values: dict[str, Any] = {
            "preset": "pocket/two-stage",
            "family": "pocket",
            "model": "pocket-wan",
            "model_id": "pocket-wan@1f0c",
            "prompt": "slow push in, cinematic realism",
            "negative": "",
            "width": 128,
            "height": 128,
            "frames": 17,
            "fps": 8.0,
            "seed": 41,
            "stages": stages,
        }
        return Recipe(**{**values, **changes})

    def shot(self, name: str = "seq010_sh0010", **changes: Any) -> Shot:
        values: dict[str, Any] = {
            "id": name,
            "row": 2,
            "recipe": self.recipe(),
            "source": Source(
                path=self.root / "stills" / f"{name}.png", sha256="ab" * 32, width=640, height=480
            ),
            "finish": FinishSpec(upscale=Upscale(factor=2.0)),
            "title": "slow push in",
            "style": "cinematic realism",
        }
        return Shot(**{**values, **changes})

    def full_shot(self) -> Shot:
        """A shot in which every optional field is used."""
        lora = Lora(path=str(self.root / "grain.safetensors"), sha256="12" * 32, strength=0.8)
        stage = Stage(
            kind=StageKind.SPLIT, steps=20, cfg=3.5, shift=5.0, end_step=10, loras=(lora,)
        )
        return self.shot(
            "001",
            recipe=self.recipe(stages=(stage,), boundary=0.9, source_sha256="ab" * 32),
            finish=FinishSpec(
                grade=Grade(
                    slope=(1.1, 1.0, 0.9), lut=self.root / "warm.cube", lut_sha256="34" * 32
                ),
                upscale=Upscale(
                    factor=2.0, model=self.root / "up.safetensors", model_sha256="56" * 32
                ),
                crf=16,
            ),
            priority=3,
            gpus=2,
            deadline=datetime(2026, 11, 25, 17, tzinfo=UTC),
            after=("monday/000", "night/002"),
            start_from="monday/000",
            notes="client likes the slow ones",
            snaps=("frames 16 -> 17 (Wan renders 4n+1)",),
            warnings=("stage 2 restarts at sigma 0.10: it refines nothing",),
        )

    def folder(self, take_id: str) -> Path:
        return self.root / "takes" / take_id

    def receipt(self, take_id: str, recipe: Recipe, **changes: Any) -> Receipt:
        stages = tuple(
            StageReceipt(
                index=index,
                start_sigma=1.0 if index == 0 else 0.87,
                steps=stage.steps,
                seed=recipe.seed + stage.seed_offset,
                seconds=stage.steps * 0.2,
                resumed=False,
                latents=self.folder(take_id) / f"stage{index + 1}.safetensors",
                latents_sha256="cd" * 32,
                latents_std=0.98,
                preview=self.folder(take_id) / f"stage-{index + 1}.jpg",
            )
            for index, stage in enumerate(recipe.stages)
        )
        values: dict[str, Any] = {
            "take_id": take_id,
            "recipe_fingerprint": recipe.fingerprint,
            "clip": self.folder(take_id) / "take.mkv",
            "clip_sha256": "ef" * 32,
            "frames": recipe.frames,
            "width": recipe.width,
            "height": recipe.height,
            "fps": recipe.fps,
            "stages": stages,
            "seconds": sum(stage.seconds for stage in stages) + 1.5,
            "load_seconds": 2.1,
            "encode_seconds": 0.4,
            "decode_seconds": 1.1,
            "peak_memory": 900_000_000,
            "device": "cpu (2 threads)",
            "versions": {"torch": "2.15.0"},
        }
        return Receipt(**{**values, **changes})

    def scorecard(self, **metrics: float) -> Scorecard:
        values = {"conditioning_ssim": 0.91, "flicker": 0.0021, "boiling": 0.17, **metrics}
        curve = tuple(0.9 + 0.01 * (index % 4) for index in range(16))
        return Scorecard(
            frames=17,
            width=128,
            height=128,
            fps=8.0,
            metrics=values,
            versions=dict.fromkeys(values, "1"),
            backbone="alex, random, seed 0 (uncalibrated)",
            curves={"ssim": curve, "motion": tuple(value * 3 for value in curve)},
        )

    def verdict(self, decision: Decision = Decision.APPROVE, flicker: float = 0.0021) -> Verdict:
        failed = decision is not Decision.APPROVE
        findings = (
            Finding(
                metric="flicker",
                value=flicker,
                level=Level.FAIL if failed else Level.PASS,
                limit=0.0065,
                failure=FailureClass.FLICKER if failed else None,
                words=f"flickers: {flicker}, at most 0.0065" if failed else "flicker 0.0021",
                severity=flicker / 0.0065,
            ),
            Finding(
                metric="boiling",
                value=0.31,
                level=Level.WARN,
                limit=0.3,
                failure=None,
                words="texture boils a little: 0.31, best below 0.3",
                severity=1.03,
            ),
            Finding(
                metric="conditioning_ssim",
                value=0.91,
                level=Level.PASS,
                limit=0.7,
                failure=None,
                words="first frame matches the still: 0.91",
                severity=0.5,
            ),
        )
        return Verdict(
            decision=decision,
            failure=FailureClass.FLICKER if failed else None,
            findings=findings,
            thresholds="defaults 1",
            limits=(
                LimitInForce(
                    metric="flicker",
                    warn=0.005,
                    fail=0.0065,
                    warn_from="defaults 1",
                    fail_from="studio.yaml",
                ),
            ),
            versions={"flicker": "1"},
            backbone="alex (trained)",
        )

    def delivery(self, path: Path, **changes: Any) -> Delivery:
        values: dict[str, Any] = {
            "path": path,
            "sha256": "09" * 32,
            "width": 256,
            "height": 256,
            "frames": 17,
            "fps": 8.0,
            "upscaler": "lanczos 2x",
            "grade": "none",
            "checks": ("17 frames of 17", "legal range"),
            "strip": None,
            "seconds": 1.3,
        }
        return Delivery(**{**values, **changes})

    def ledger(self, name: str = "ledger.db") -> Ledger:
        return Ledger(self.root / name, clock=self.clock)

    def begin(self, ledger: Ledger, night: str = "2026-11-20") -> str:
        arguments = {"manifests": ["shots.csv"]}
        ledger.begin_night(night_id=night, arguments_key=f"key of {night}", arguments=arguments)
        return night

    def add(self, ledger: Ledger, shot_id: int, night: str, **changes: Any) -> TakeRecord:
        """The next take of a shot, queued."""
        takes = ledger.takes_of(shot_id)
        number = len(takes) + 1
        remedy = None if number == 1 else {"seed": number}
        values: dict[str, Any] = {
            "take_id": f"shots/{shot_id}/t{number}",
            "number": number,
            "recipe": self.recipe(seed=40 + number),
            "remedy_words": "" if number == 1 else "new seed",
            "remedy": remedy,
            "night": night,
        }
        return ledger.add_take(shot_id, **{**values, **changes})

    def render(self, ledger: Ledger, take: TakeRecord, night: str, **changes: Any) -> None:
        ledger.move(take.take_id, TakeStatus.RENDERING, night=night, words="started")
        ledger.rendered(take.take_id, self.receipt(take.take_id, take.recipe, **changes), night)

    def judge(self, ledger: Ledger, take: TakeRecord, night: str, after: TakeStatus) -> None:
        decisions = {
            TakeStatus.APPROVED: Decision.APPROVE,
            TakeStatus.REJECTED: Decision.RETAKE,
            TakeStatus.HELD: Decision.HOLD,
        }
        flicker = 0.0021 if after is TakeStatus.APPROVED else 0.011
        verdict = self.verdict(decisions[after], flicker)
        has_clip = ledger.take(take.take_id).receipt is not None
        card = self.scorecard(flicker=flicker) if has_clip else None
        words = "; ".join(verdict.reasons) or "all scores pass"
        ledger.judged(take.take_id, card, verdict, after, night, words)

    def deliver(self, ledger: Ledger, take: TakeRecord, night: str, **changes: Any) -> None:
        path = self.root / "delivered" / f"shot{take.shot_id}_v001.mp4"
        ledger.delivered(
            take.shot_id,
            take.take_id,
            self.delivery(path, **changes),
            1,
            path.with_suffix(".json"),
            night=night,
        )

    def run(
        self, ledger: Ledger, shot: Shot, night: str, *ends: TakeStatus, position: int = 0
    ) -> int:
        """Record a shot and its takes, each ended as given; an approved one is delivered."""
        shot_id = ledger.record_shot(night, "shots", shot, position).id
        for after in ends:
            take = self.add(ledger, shot_id, night)
            if after is TakeStatus.FAILED:
                ledger.move(take.take_id, TakeStatus.RENDERING, night=night, words="started")
                ledger.move(take.take_id, after, night=night, words="out of memory three times")
                continue
            self.render(ledger, take, night)
            self.judge(ledger, take, night, after)
            if after is TakeStatus.APPROVED:
                self.deliver(ledger, take, night)
        return shot_id
