"""Which limits a clip of this studio is judged by: bundled, learned here, or written down."""

from __future__ import annotations

from pathlib import Path

from manifests.settings import Studio
from manifests.stage import Recipe
from qc.cells import Cell, Measured
from qc.scorecard import Scorecard
from qc.studio_limits import NAME, StudioLimits, read_limits
from qc.thresholds import Thresholds, load_thresholds


def limits_path(studio: Studio) -> Path:
    """Where the studio's learned limits stand, or would stand."""
    return studio.root / NAME


def check_limits(studio: Studio) -> None:
    """Refuse limits that no clip could be judged by, those written down and those learned.

    They must be found before the evening, not after the first render. Raises BadInput.
    """
    for family in sorted({model.family for model in studio.models.values()}):
        load_thresholds(family, studio.thresholds, where=studio.settings_file)
    read_limits(limits_path(studio))


def cell_of(recipe: Recipe) -> Cell:
    """The clips that share limits with a take of this recipe."""
    return Cell(preset=recipe.preset, width=recipe.width, height=recipe.height, fps=recipe.fps)


def limits_for(
    card: Scorecard, *, recipe: Recipe, studio: Studio, learned: StudioLimits | None
) -> Thresholds:
    """The limits for a take's scorecard; the name and each limit say where they come from.

    `learned` as the night read it when it began. Limits in studio.yaml win over it.
    """
    found = None
    if learned is not None:
        measured = Measured.of(card.versions, card.backbone)
        found = learned.learned(cell_of(recipe), measured=measured)
    return load_thresholds(
        recipe.family, studio.thresholds, where=studio.settings_file, learned=found
    )
