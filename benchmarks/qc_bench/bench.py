"""Film, spoil, encode and measure every case of a half; AUC, false alarms and recall."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from benchmarks.qc_bench.defects import DEFECTS, GRADES, Defect
from benchmarks.qc_bench.scenes import Clip, Film, Scene, clean_scene, defect_scene, film
from qc.judge import judge
from qc.lpips import LpipsBackbone
from qc.measure import measure
from qc.metrics import METRICS
from qc.scorecard import Decision, Level, Scorecard
from qc.thresholds import Limit, load_thresholds

FPS = 24
_SALTS, _ATTEMPTS = 97, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One clip of the bench and what was found in it."""

    half: str
    defect: str
    """`clean`, or the name of a defect."""
    grade: str
    """Empty for clean clips."""
    scene: dict[str, Any]
    metrics: dict[str, float]
    failures: tuple[str, ...]
    """Classes that failed with the shipped limits, worst first."""
    warnings: tuple[str, ...]
    """Metrics that warned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is filmed."""

    clean: int
    """Clean clips of each half."""
    scenes: int
    """Scenes of each defect, each in three grades."""
    frames: int = 33
    defects: tuple[Defect, ...] = DEFECTS


def cases(half: str, plan: Plan, *, lpips: LpipsBackbone | None) -> Iterator[Case]:
    """Every case of a half, measured from its x264 file against the picture of its first frame."""
    for index in range(plan.clean):
        scene = replace(clean_scene(half, index), frames=plan.frames)
        shot = film(scene)
        yield _case(scene, "clean", "", shot.clip, shot.clip[0], lpips)
    for defect in plan.defects:
        salt = zlib.crc32(defect.name.encode()) % _SALTS
        for index in range(plan.scenes):
            scene, shot = _shot_for(defect, half, index, salt=salt, frames=plan.frames)
            for grade, strength in zip(GRADES, defect.strengths, strict=True):
                rng = np.random.default_rng([scene.seed, salt])
                spoilt = defect.spoil(shot, scene, strength, rng)
                backbone = lpips if any("lpips" in name for name in defect.metrics) else None
                yield _case(scene, defect.name, grade, spoilt, shot.clip[0], backbone)


def _shot_for(
    defect: Defect, half: str, index: int, *, salt: int, frames: int
) -> tuple[Scene, Film]:
    """The first scene in which the defect can show."""
    for attempt in range(_ATTEMPTS):
        scene = defect_scene(
            half,
            index,
            salt=salt + _SALTS * attempt,
            colourful=defect.colourful,
            kind=defect.kind,
        )
        scene = replace(scene, frames=frames)
        shot = film(scene)
        if defect.shows(shot):
            return scene, shot
    raise ValueError(f"{defect.name} shows in none of {_ATTEMPTS} scenes of the {half} half")


def _case(
    scene: Scene, defect: str, grade: str, clip: Clip, source: Any, lpips: LpipsBackbone | None
) -> Case:
    with tempfile.TemporaryDirectory() as folder:
        path, still = Path(folder, "clip.mp4"), Path(folder, "source.png")
        encode(path, clip)
        Image.fromarray(source).save(still)
        card = measure(path, source=still, expected=None, lpips=lpips)
    failures, warnings = found(card)
    return Case(
        half=scene.half,
        defect=defect,
        grade=grade,
        scene=asdict(scene),
        metrics=card.metrics,
        failures=failures,
        warnings=warnings,
    )


def found(card: Scorecard) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Classes that fail (worst first, each once) and metrics that warn, by the default limits."""
    verdict = judge(card, thresholds=load_thresholds("default"))
    failed = [f.failure for f in verdict.findings if f.level is Level.FAIL and f.failure]
    assert bool(failed) == (verdict.decision is Decision.RETAKE)
    warned = [f.metric for f in verdict.findings if f.level is Level.WARN]
    return tuple(dict.fromkeys(map(str, failed))), tuple(warned)


def encode(path: Path, clip: Clip) -> None:
    """The clip as a review file: x264, crf 18, 4:2:0, bt709."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=Fraction(FPS), options={"crf": "18", "preset": "veryfast"}
        )
        stream.width, stream.height, stream.pix_fmt = clip.shape[2], clip.shape[1], "yuv420p"
        context = stream.codec_context
        context.thread_count = 1
        context.colorspace, context.color_range = 1, 1
        for picture in clip:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=1, dst_color_range=1)
            frame.colorspace = 1
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def auc(clean: Sequence[float], spoilt: Sequence[float], *, higher_is_worse: bool) -> float:
    """Share of (clean, spoilt) pairs in which the spoilt clip is the worse one; ties half."""
    sign = 1.0 if higher_is_worse else -1.0
    good, bad = sign * np.asarray(clean)[:, None], sign * np.asarray(spoilt)[None, :]
    return float((bad > good).mean() + 0.5 * (bad == good).mean())


def summary(measured: Sequence[Case], plan: Plan) -> dict[str, Any]:
    """False alarms of the clean clips; per defect AUC of each metric and recall, by grade."""
    clean = [case for case in measured if case.defect == "clean"]
    alarms = [case for case in clean if case.failures]
    rows = {}
    for defect in plan.defects:
        spoilt = {
            grade: [c for c in measured if (c.defect, c.grade) == (defect.name, grade)]
            for grade in GRADES
        }
        rows[defect.name] = {
            "auc": {
                **{name: _auc_by_grade(name, clean, spoilt) for name in defect.metrics},
                "all by their limits": _auc_by_limits(defect.metrics, clean, spoilt),
            },
            "sent_back": {
                g: _share(c, lambda case: bool(case.failures)) for g, c in spoilt.items()
            },
            "by_its_class": {
                g: _share(c, lambda case, wanted=defect.failure: wanted in case.failures)
                for g, c in spoilt.items()
            },
        }
    return {
        "clean_clips": len(clean),
        "false_alarms": len(alarms),
        "false_alarm_share": len(alarms) / len(clean) if clean else None,
        "false_alarms_are": [
            {"kind": c.scene["kind"], "picture": c.scene["picture"], "failures": c.failures}
            for c in alarms
        ],
        "clean_clips_with_warnings": sum(bool(case.warnings) for case in clean),
        "defects": rows,
    }


def _auc_by_grade(
    metric: str, clean: Sequence[Case], spoilt: Mapping[str, Sequence[Case]]
) -> dict[str, float | None]:
    worse_up = METRICS[metric].higher_is_worse
    # A metric that could not be measured has found nothing: it counts as the best of all values.
    best = -np.inf if worse_up else np.inf
    good = [case.metrics.get(metric, best) for case in clean]
    return {
        grade: auc(good, [c.metrics.get(metric, best) for c in bad], higher_is_worse=worse_up)
        if good and bad
        else None
        for grade, bad in spoilt.items()
    }


def _auc_by_limits(
    metrics: Sequence[str], clean: Sequence[Case], spoilt: Mapping[str, Sequence[Case]]
) -> dict[str, float | None]:
    """Of the metrics together: each as a multiple of its limit, the worst of them."""
    limits = [limit for limit in load_thresholds("default") if limit.metric in metrics]

    def worst(case: Case) -> float:
        return max(
            (_severity(limit, case.metrics[limit.metric]) for limit in limits
             if limit.metric in case.metrics),
            default=-np.inf,
        )  # fmt: skip

    good = [worst(case) for case in clean]
    return {
        grade: auc(good, list(map(worst, bad)), higher_is_worse=True) if good and bad else None
        for grade, bad in spoilt.items()
    }


def _severity(limit: Limit, value: float) -> float:
    at = limit.fail if limit.fail is not None else limit.warn
    assert at is not None
    if METRICS[limit.metric].higher_is_worse:
        return value / at if at else value
    return at / max(value, 1e-6)


def _share(group: Sequence[Case], holds: Any) -> float | None:
    return sum(map(holds, group)) / len(group) if group else None
