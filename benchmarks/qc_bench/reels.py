"""Clips of the bench as files: filmed, spoilt, encoded, with what they are labelled as.

Filming takes as long as measuring. A folder that is kept holds what was filmed before; nothing is
measured here, so a half can be filmed before limits are fixed.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from benchmarks.qc_bench.defects import DEFECTS, GRADES, Defect
from benchmarks.qc_bench.scenes import SIZES, Clip, Film, Scene, clean_scene, defect_scene, film
from manifests.files import write_atomic

FPS = 24
VERSION = "5"
"""Of scenes, defects and encoding together: another one films everything anew."""
_SALTS, _ATTEMPTS = 97, 20
_MIDDLE = GRADES.index("middle")
_OUTER = ("weak", "strong")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is filmed."""

    clean: int
    """Clean clips of each half."""
    scenes: int
    """Scenes of each defect in which its middle grade is seen."""
    graded: int = 8
    """So many of them in the other two grades as well (the weak one where it is seen)."""
    frames: int = 33
    defects: tuple[Defect, ...] = DEFECTS
    size: tuple[int, int] | None = None
    """(width, height) of every clip; None: one of `SIZES` by its seed."""

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Those that a clip may have."""
        return (self.size,) if self.size else SIZES

    def of(self, scene: Scene) -> Scene:
        """`scene` as this plan films it."""
        width, height = self.size or (scene.width, scene.height)
        return replace(scene, frames=self.frames, width=width, height=height)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reel:
    """One encoded clip and what it is."""

    defect: str
    """`clean`, or the name of a defect."""
    grade: str
    """Empty for clean clips."""
    scene: Scene
    clip: Path
    source: Path
    """The picture of its first frame, before it was spoilt."""


def reels(half: str, plan: Plan, *, folder: Path) -> Iterator[Reel]:
    """Every clip of a half, filmed where `folder` does not have it yet.

    In turns, so that a run that is broken off has seen a part of everything: clean clips, all of
    them in the first half of the turns, and the middle grade of the next scene of every defect; the
    other grades last.
    """
    turns = max(plan.scenes, 1)
    early = (turns + 1) // 2
    for turn in range(turns):
        for index in range(plan.clean * turn // early, plan.clean * (turn + 1) // early):
            if index < plan.clean:
                yield from _of(half, None, index, plan, folder, ("",))
        if turn < plan.scenes:
            for defect in plan.defects:
                yield from _of(half, defect, turn, plan, folder, (GRADES[_MIDDLE],))
    for turn in range(min(plan.graded, plan.scenes)):
        for defect in plan.defects:
            yield from _of(half, defect, turn, plan, folder, _OUTER)


def _of(
    half: str,
    defect: Defect | None,
    index: int,
    plan: Plan,
    folder: Path,
    wanted: tuple[str, ...],
) -> Iterator[Reel]:
    """The wanted clips of one scene, as far as their defect is seen; all of the plan are filmed."""
    name = "clean" if defect is None else defect.name
    stem = f"{half}-{name}-{index:03d}".replace(" ", "_")
    label = folder / f"{stem}.json"
    graded = defect is not None and index < plan.graded
    known = _known(label, plan, graded=graded)
    if known is None:
        scene, clips, source = _filmed(half, defect, index, plan)
        for grade, clip in clips.items():
            encode(folder / f"{stem}-{grade or 'as-is'}.mp4", clip)
        Image.fromarray(source).save(folder / f"{stem}.png")
        known = {
            "version": VERSION,
            "frames": plan.frames,
            "scene": asdict(scene),
            "grades": list(clips),
        }
        write_atomic(label, json.dumps(known))
    for grade in known["grades"]:
        if grade not in wanted:
            continue
        yield Reel(
            defect=name,
            grade=grade,
            scene=Scene(**known["scene"]),
            clip=folder / f"{stem}-{grade or 'as-is'}.mp4",
            source=folder / f"{stem}.png",
        )


def _known(label: Path, plan: Plan, *, graded: bool) -> dict[str, Any] | None:
    """What was filmed before under this label; None where it has to be filmed.

    `graded`: all grades are wanted, of which an earlier plan may have filmed the middle one alone.
    """
    if not label.is_file():
        return None
    found: dict[str, Any] = json.loads(label.read_text(encoding="utf-8"))
    alike = (found["version"], found["frames"]) == (VERSION, plan.frames)
    alike &= (found["scene"]["width"], found["scene"]["height"]) in plan.sizes
    return found if alike and (not graded or "strong" in found["grades"]) else None


def _filmed(
    half: str, defect: Defect | None, index: int, plan: Plan
) -> tuple[Scene, dict[str, Clip], Clip]:
    """The scene, its clips by grade, and the source (H, W, 3)."""
    if defect is None:
        scene = plan.of(clean_scene(half, index))
        clip = film(scene).clip
        return scene, {"": clip}, clip[0]
    salt = zlib.crc32(defect.name.encode()) % _SALTS
    for attempt in range(_ATTEMPTS):
        scene = defect_scene(
            half,
            index,
            salt=salt + _SALTS * attempt,
            colourful=defect.colourful,
            kind=defect.kind,
        )
        scene = plan.of(scene)
        shot = film(scene)
        middle = _spoilt(defect, shot, scene, _MIDDLE, salt)
        if defect.seen(shot, middle):
            if index >= plan.graded:
                return scene, {"middle": middle}, shot.clip[0]
            clips = {"middle": middle, "strong": _spoilt(defect, shot, scene, _MIDDLE + 1, salt)}
            weak = _spoilt(defect, shot, scene, 0, salt)
            if defect.seen(shot, weak):
                clips = {"weak": weak, **clips}
            return scene, clips, shot.clip[0]
    raise ValueError(f"{defect.name} shows in none of {_ATTEMPTS} scenes of the {half} half")


def _spoilt(defect: Defect, shot: Film, scene: Scene, at: int, salt: int) -> Clip:
    return defect.spoil(
        shot, scene, defect.strengths[at], np.random.default_rng([scene.seed, salt])
    )


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
