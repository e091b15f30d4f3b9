"""What makes two lines of a sheet the same work: the recipe and the finish, nothing else."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from manifests.shot import FinishSpec, Grade, Shot, Upscale


def canonical_json(data: object) -> str:
    """One text for equal data: sorted keys, no spaces, ASCII."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def shot_fingerprint(shot: Shot) -> str:
    """SHA-256, hex, over all that decides the delivered pixels of `shot`'s first take.

    Words (title, notes, priority, row) are left out: editing a note renders nothing again. A LUT
    or upscaler counts by its hash where that is known, so a moved file renders nothing again.
    """
    finish = finish_to_dict(shot.finish)
    for part, file in (("grade", "lut"), ("upscale", "model")):
        values = finish[part]
        if values is not None and values[f"{file}_sha256"] is not None:
            values.pop(file)
    text = canonical_json({"recipe": shot.recipe.to_dict(), "finish": finish})
    return hashlib.sha256(text.encode()).hexdigest()


def finish_to_dict(finish: FinishSpec) -> dict[str, Any]:
    """The finish as plain data; `finish_from_dict` is its inverse."""
    data = asdict(finish)
    for part, file in (("grade", "lut"), ("upscale", "model")):
        if data[part] is not None and data[part][file] is not None:
            data[part][file] = str(data[part][file])
    return data


def finish_from_dict(data: dict[str, Any]) -> FinishSpec:
    """The finish that `finish_to_dict` wrote. Raises TypeError or KeyError on foreign data."""
    grade, upscale = data["grade"], data["upscale"]
    return FinishSpec(
        grade=None if grade is None else _grade(grade),
        upscale=None
        if upscale is None
        else Upscale(**{**upscale, "model": _path(upscale, "model")}),
        crf=data["crf"],
    )


def _grade(data: dict[str, Any]) -> Grade:
    triples = {name: tuple(data[name]) for name in ("slope", "offset", "power")}
    return Grade(**{**data, **triples, "lut": _path(data, "lut")})


def _path(data: dict[str, Any], name: str) -> Path | None:
    return None if data[name] is None else Path(data[name])
