"""Grades by OpenColorIO: ASC CDL, then a .cube LUT, on display-referred RGB.

The CDL runs in OCIO's ASC style, which is the formula of ASC CDL v1.2 to the letter:

    v   = clamp(in * slope + offset) ** power        for each channel, clamp to 0..1
    Y   = 0.2126 R + 0.7152 G + 0.0722 B             of those
    out = clamp(Y + saturation * (v - Y))

Its other style leaves the clamps out; that is for scene-linear values above 1. Ours end at 1, and
any grading tool that reads the same ten numbers must show the same picture, so the clamps stay.
"""

from __future__ import annotations

import hashlib
import math
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import PyOpenColorIO as ocio  # noqa: N813  (the name by which OCIO's own documents import it)

from manifests.shot import Grade
from render.clip import Frame
from render.errors import GradeUnusable

HASH_DIGITS = 12
"""Hex digits of a hash that are told to a person."""

_NO_CDL = Grade()


def describe(grade: Grade | None) -> str:
    """The grade in words: `CDL slope 1.1 1 1, ...; LUT warm.cube (sha256 1f2e...)`, or `none`."""
    if grade is None or is_identity(grade):
        return "none"
    words = []
    if _has_cdl(grade):
        triples = (("slope", grade.slope), ("offset", grade.offset), ("power", grade.power))
        numbers = ", ".join(f"{name} {' '.join(f'{v:g}' for v in vs)}" for name, vs in triples)
        words.append(f"CDL {numbers}, saturation {grade.saturation:g}")
    if grade.lut is not None:
        digest = (grade.lut_sha256 or _read_lut(grade.lut)[1])[:HASH_DIGITS]
        words.append(f"LUT {grade.lut.name} (sha256 {digest})")
    return "; ".join(words)


def is_identity(grade: Grade) -> bool:
    """Whether the grade changes nothing: neutral numbers and no LUT."""
    return not _has_cdl(grade) and grade.lut is None


class Grader:
    """A grade made ready: the same OCIO processor for every frame of a clip."""

    def __init__(self, grade: Grade | None) -> None:
        """Read the LUT and build the processor. Raises GradeUnusable."""
        self._processor = None if grade is None or is_identity(grade) else _processor(grade)

    @property
    def changes(self) -> bool:
        """Whether `apply` does anything."""
        return self._processor is not None

    def apply(self, frame: Frame) -> Frame:
        """The graded frame, float32 (H, W, 3) RGB 0..1; the one given is left as it is."""
        if self._processor is None:
            return frame
        graded = np.array(frame, dtype=np.float32, order="C")
        self._processor.applyRGB(graded)
        return np.clip(graded, 0, 1)


def _processor(grade: Grade) -> Any:
    group = ocio.GroupTransform()
    try:
        if _has_cdl(grade):
            group.appendTransform(_cdl(grade))
        if grade.lut is None:
            return _compile(group)
        data, digest = _read_lut(grade.lut)
        if grade.lut_sha256 is not None and digest != grade.lut_sha256:
            raise GradeUnusable(
                f"{grade.lut}: the LUT changed since it was planned (sha256 "
                f"{digest[:HASH_DIGITS]}, planned {grade.lut_sha256[:HASH_DIGITS]}); "
                "restore it, or run again to plan with the new one"
            )
        with tempfile.TemporaryDirectory(prefix="rushes-lut-") as folder:
            # NOTE: OCIO keeps files by their path for the life of the process, and reads `$` and
            # `%` in a path as variables. A fresh plain name with the very bytes that were hashed
            # avoids a stale LUT, a wrong one, and a change between hash and use.
            copy = Path(folder) / "lut.cube"
            copy.write_bytes(data)
            group.appendTransform(ocio.FileTransform(str(copy), interpolation=ocio.INTERP_BEST))
            return _compile(group)
    except ocio.Exception as error:
        raise GradeUnusable(
            f"{grade.lut or 'CDL'}: OpenColorIO refuses it ({_reason(error).rstrip('.')}); "
            "correct the grade"
        ) from error


def _cdl(grade: Grade) -> Any:
    numbers = (*grade.slope, *grade.offset, *grade.power, grade.saturation)
    if not all(math.isfinite(number) for number in numbers):
        raise GradeUnusable(f"CDL: {describe(grade)} holds a number that is not finite; correct it")
    transform = ocio.CDLTransform(
        slope=list(grade.slope),
        offset=list(grade.offset),
        power=list(grade.power),
        sat=grade.saturation,
    )
    transform.setStyle(ocio.CDL_ASC)
    return transform


def _compile(group: Any) -> Any:
    # NOTE: OCIO's default allows a fast `pow` that is off by 1e-5; lossless keeps it near 1e-7.
    processor = ocio.Config.CreateRaw().getProcessor(group)
    return processor.getOptimizedCPUProcessor(ocio.OPTIMIZATION_LOSSLESS)


def _read_lut(path: Path) -> tuple[bytes, str]:
    if path.suffix.lower() != ".cube":
        raise GradeUnusable(f"{path}: not a .cube file; export the LUT as .cube")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise GradeUnusable(
            f"{path}: the LUT cannot be read ({error.strerror}); restore it"
        ) from error
    return data, hashlib.sha256(data).hexdigest()


def _reason(error: Exception) -> str:
    """Why OCIO refused, without the name of the copy: it tries each format and tells of each."""
    text = str(error).strip()
    told = re.search(r"\.cube file \([^)]*\)\.\s+(.*?)(?:\s{2,}'\w+' failed|$)", text)
    return told.group(1) if told else text.splitlines()[0]


def _has_cdl(grade: Grade) -> bool:
    return (grade.slope, grade.offset, grade.power, grade.saturation) != (
        _NO_CDL.slope,
        _NO_CDL.offset,
        _NO_CDL.power,
        _NO_CDL.saturation,
    )
