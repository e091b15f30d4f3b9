"""Scorecard: the measured numbers of one clip. Verdict: what they mean, in words."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Decision(StrEnum):
    """What is to be done with a take."""

    APPROVE = "approve"
    """It goes to the finish."""
    RETAKE = "retake"
    """It failed; another take is worth making."""
    HOLD = "hold"
    """It failed and no further take is allowed: a person decides."""


class FailureClass(StrEnum):
    """Why a clip failed, as the remedies know it."""

    UNDECODABLE = "undecodable"
    WRONG_LENGTH = "wrong_length"
    NAN = "nan"
    """Latents of NaN or infinity, or out of all proportion: nothing to decode."""
    NAN_FRAMES = "nan_frames"
    """Frames of NaN or infinity, decoded from sound latents; only the renderer sees them."""
    MEMORY = "memory"
    """It did not fit in memory, whatever its recipe let be given up; only the renderer sees it."""
    BLACK = "black"
    FROZEN = "frozen"
    CUT = "cut"
    CONDITIONING = "conditioning"
    """Frame 0 does not look like the source."""
    FLICKER = "flicker"
    BOILING = "boiling"
    WOBBLE = "wobble"
    """The ground sways like jelly under a camera that does not."""
    OVERSATURATED = "oversaturated"
    COLOUR_DRIFT = "colour_drift"
    """Colours wander off from the source's; their strength is `oversaturated`'s matter."""
    IDENTITY = "identity"
    """A part of the picture turned into something else while the rest held."""
    COLLAPSE = "collapse"
    BLUR = "blur"
    BANDING = "banding"
    """Smooth ramps in visible steps."""
    DUPLICATED = "duplicated"
    DROPPED = "dropped"
    """Frames are missing: one step is as long as several."""


class Level(StrEnum):
    """How far a number is from what is wanted."""

    PASS = "pass"
    WARN = "warn"
    """Kept, and ranked lower."""
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorecard:
    """Measured numbers of one clip. No judgement in it."""

    frames: int
    width: int
    height: int
    fps: float
    metrics: dict[str, float]
    """Name -> value. Only what could be measured is in it: no NaN, no placeholders."""
    versions: dict[str, str]
    """Name -> version of every metric's implementation."""
    backbone: str
    """LPIPS backbone in words: `alex (trained)` or `alex, random, seed 0 (uncalibrated)`."""
    problems: tuple[str, ...] = ()
    """Hard faults seen while decoding, in words: `25 frames, 17 expected`."""
    curves: dict[str, tuple[float, ...]] | None = None
    """Per-frame values worth drawing: name -> one value per frame or pair."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `from_dict` is its inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Scorecard:
        """The scorecard that `to_dict` wrote."""
        curves = data["curves"]
        return cls(
            **{
                **data,
                "problems": tuple(data["problems"]),
                "curves": None
                if curves is None
                else {name: tuple(curve) for name, curve in curves.items()},
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One number held against its threshold."""

    metric: str
    value: float
    level: Level
    limit: float | None
    """The threshold that was crossed, or the nearest one that was kept."""
    failure: FailureClass | None
    """Class of the failure; None when it passed."""
    words: str
    """For a person: `flickers: 0.011, at most 0.0065`."""
    severity: float
    """(value / limit) so that 1 is the limit and more is worse; 0 for a pass far inside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitInForce:
    """What a metric was allowed when a verdict was given, and who said so."""

    metric: str
    warn: float | None
    fail: float | None
    warn_from: str
    """`default 2026-11-21`, `calibrated 2026-11-22 on 87 clips of ...`, `studio.yaml`."""
    fail_from: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Approve, retake or hold, with the reasons."""

    decision: Decision
    failure: FailureClass | None
    """The worst failure, by hard gates first; None when approved."""
    findings: tuple[Finding, ...]
    """Every threshold that was looked at, worst first."""
    thresholds: str
    """Name and version of the threshold table: a verdict can be explained years later."""
    limits: tuple[LimitInForce, ...] = ()
    """Every limit in force, those of metrics that were not measured too; empty in verdicts that
    are older than this record, and where there was no clip to measure."""
    versions: dict[str, str] = field(default_factory=dict)
    """Name -> version of the metrics' implementations, as in the scorecard."""
    backbone: str = ""
    """LPIPS backbone of the scorecard."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """The words of every failure and warning, worst first."""
        return tuple(f.words for f in self.findings if f.level is not Level.PASS)

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `from_dict` is its inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Verdict:
        """The verdict that `to_dict` wrote."""
        findings = tuple(
            Finding(
                **{
                    **item,
                    "level": Level(item["level"]),
                    "failure": None if item["failure"] is None else FailureClass(item["failure"]),
                }
            )
            for item in data["findings"]
        )
        failure = data["failure"]
        return cls(
            decision=Decision(data["decision"]),
            failure=None if failure is None else FailureClass(failure),
            findings=findings,
            thresholds=data["thresholds"],
            limits=tuple(LimitInForce(**item) for item in data.get("limits", ())),
            versions=dict(data.get("versions", {})),
            backbone=data.get("backbone", ""),
        )
