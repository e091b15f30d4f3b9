"""A look at a take between its stages: what renders shows it, who judges says what it is worth.

Rendering and quality control do not know each other. The worker hands the backend a `Look`, as it
hands it a `Watch`; the backend shows it small pictures of what an early stage left, and asks
whether the rest is worth rendering, or which of several seeds is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A part of the frame, as shares of its width and height: 0..1, right and bottom not in it."""

    left: float = 0.0
    top: float = 0.0
    right: float = 1.0
    bottom: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Glimpse:
    """What a look is shown of an early stage; at least one of the two is there."""

    colours: Any | None
    """float32 (T, h, w, 3), RGB, 0..1: the whole picture, a pixel for each latent pixel and a
    picture for each latent frame, without a decode; None for a VAE whose factors are not known."""
    frames: Any | None
    """float32 (F, H, W, 3), RGB, 0..1: the frames of a part of the picture, decoded as the clip
    will be; None where the VAE has no room beside what samples."""
    box: Box = field(default_factory=Box)
    """Which part `frames` show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What a look came to."""

    words: str
    """For a person: `nothing to object to`, `stands still: share of steps 1`."""
    rank: tuple[float, ...]
    """Smallest is best, among opinions of one look."""
    metrics: dict[str, float] = field(default_factory=dict)
    """The numbers behind it."""
    failure: str | None = None
    """Class of the failure of a take that is certainly lost; None: render on."""
    told: dict[str, Any] = field(default_factory=dict)
    """Plain data for whoever concludes a take that was stopped; the renderer only carries it."""


class Look(ABC):
    """Sees what an early stage of a take left."""

    @abstractmethod
    def see(self, glimpse: Glimpse) -> Opinion:
        """What is to be thought of it.

        What it raises is noted in the receipt and never fails the take.
        """
