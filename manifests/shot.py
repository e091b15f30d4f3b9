"""Shot: one line of the sheet, checked and meant; and the manifest that holds them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from manifests.errors import Fault
from manifests.stage import Lora, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The still a shot starts from, opened and hashed when the sheet was checked."""

    path: Path
    """Absolute."""
    sha256: str
    """Of the file's bytes."""
    width: int
    """Pixels, after EXIF rotation."""
    height: int
    """Pixels, after EXIF rotation."""
    notes: tuple[str, ...] = ()
    """What was done to read it, in words: `turned upright by its EXIF tag`, `alpha over black`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """A grade: ASC CDL (slope, offset, power, then saturation), then a LUT."""

    slope: tuple[float, float, float] = (1.0, 1.0, 1.0)
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    power: tuple[float, float, float] = (1.0, 1.0, 1.0)
    saturation: float = 1.0
    lut: Path | None = None
    """Absolute path of a `.cube` file."""
    lut_sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Upscale:
    """How much larger the delivered clip is, and by what."""

    factor: float
    """1 < factor <= 4. Delivered width and height are rounded to even numbers."""
    model: Path | None = None
    """Absolute path of a `.safetensors` upscaler for spandrel; None means Lanczos, named so."""
    model_sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishSpec:
    """What is done to an approved take."""

    grade: Grade | None = None
    upscale: Upscale | None = None
    crf: int = 18
    """x264 quality of the review file, 0..51."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One line of the sheet, resolved: the first take's recipe, the finish, and the words.

    Resolution order: studio < preset < manifest defaults < row (< remedy, in later takes).
    """

    id: str
    """Text, never a number: `001` stays `001`. Letters, digits, `.`, `_`, `-`; at most 64."""
    row: int
    """Where it stands in its file, as a spreadsheet counts."""
    recipe: Recipe
    """Of the first take."""
    source: Source | None
    finish: FinishSpec
    priority: int = 0
    """Higher renders first; ties keep the sheet's order."""
    gpus: int = 1
    """Cards that render this shot together, where the machine has as many: for a shot that must
    be ready soon. Not of the recipe: it changes the time, and the last bits as any card does."""
    deadline: datetime | None = None
    """UTC; it should be delivered before. It decides the order, never whether it is rendered."""
    after: tuple[str, ...] = ()
    """Shots that must be approved before it begins, each `sheet/shot`; `start_from` among them."""
    start_from: str | None = None
    """`sheet/shot` from whose approved take's last frame it starts. Until that is there `source`
    is None and the recipe names the shot in place of a hash (`last_frame_of`)."""
    title: str = ""
    """The prompt as typed, before the style snippet."""
    style: str | None = None
    notes: str = ""
    """As typed; carried to the report."""
    snaps: tuple[str, ...] = ()
    """What was changed to fit the model, in words: `frames 16 -> 17 (Wan renders 4n+1)`."""
    warnings: tuple[str, ...] = ()
    """What will run but deserves a look: `stage 2 restarts at sigma 0.10: it refines nothing`."""

    @property
    def is_bound(self) -> bool:
        """Whether it is known from which picture it starts, if from any."""
        return self.start_from is None or self.source is not None

    def bound(self, source: Source) -> Shot:
        """The shot with the picture that it starts from."""
        return replace(
            self, source=source, recipe=replace(self.recipe, source_sha256=source.sha256)
        )

    def unbound(self) -> Shot:
        """The shot as the sheet has it, before the one that it starts from is approved."""
        if self.start_from is None:
            return self
        waiting = replace(self.recipe, source_sha256=last_frame_of(self.start_from))
        return replace(self, source=None, recipe=waiting)


def last_frame_of(key: str) -> str:
    """What stands in a recipe for the hash of a picture that is still to be made.

    No hash: so the recipe says that it has a still, and no picture can ever have it.
    """
    return f"last frame of {key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A sheet as read: the shots that are good and every fault of the others."""

    path: Path
    """Absolute."""
    name: str
    """File name without its suffix; folders of the night are named by it."""
    sha256: str
    """Of the file's bytes."""
    shots: tuple[Shot, ...]
    faults: tuple[Fault, ...] = ()


__all__ = ["FinishSpec", "Grade", "Lora", "Manifest", "Shot", "Source", "Upscale", "last_frame_of"]
