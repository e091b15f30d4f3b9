"""Latents to colours by one matrix: a rough look at latents without a decode.

A latent pixel's channels are weighed into red, green and blue. That is far from a decode (a pixel
for each 8 x 8, no texture), and costs next to nothing. The tables are in `latent_rgb.json`: those
of the public VAEs as they are published, the pocket model's fitted by `render.pocket.fit_preview`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TABLE = Path(__file__).parent / "latent_rgb.json"
_SAME_MEAN = 1e-3
"""Two VAEs whose latents have means this near are one VAE, or tunings of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewFactors:
    """The linear map of one VAE: `2 * rgb - 1 = z @ factors + bias`, z in the model's space."""

    name: str
    """Of its VAE: `wan-2.1`."""
    factors: tuple[tuple[float, float, float], ...]
    """One row for each latent channel: its weight in red, green, blue."""
    bias: tuple[float, float, float]

    @property
    def channels(self) -> int:
        """Latent channels that it maps."""
        return len(self.factors)

    def colours(self, latents: NDArray[np.float32]) -> NDArray[np.float32]:
        """Normalised latents (1, C, T, h, w) as pictures (T, h, w, 3), RGB, 0..1.

        Raises ValueError for another number of channels.
        """
        if latents.ndim != 5 or latents.shape[:2] != (1, self.channels):
            raise ValueError(
                f"latents {latents.shape}: the factors of {self.name} want (1, {self.channels}, "
                "T, h, w)"
            )
        weights = np.asarray(self.factors, np.float32)
        rgb = np.tensordot(latents[0], weights, axes=(0, 0)) + np.asarray(self.bias, np.float32)
        return np.clip(rgb * np.float32(0.5) + np.float32(0.5), 0, 1)


@cache
def known_factors(name: str) -> PreviewFactors:
    """The factors of a VAE by its name in the table. Raises KeyError."""
    entry = _table()[name]
    return PreviewFactors(
        name=name,
        factors=tuple((float(r), float(g), float(b)) for r, g, b in entry["factors"]),
        bias=tuple(map(float, entry["bias"])),  # type: ignore[arg-type]  # three of them
    )


def factors_for(latents_mean: Sequence[float] | None) -> PreviewFactors | None:
    """The factors of the VAE whose configuration has these means; None for an unknown one.

    Going by the means, not by the number of channels: the map of another VAE would show colours
    that the take does not have.
    """
    if latents_mean is None:
        return None
    for name, entry in _table().items():
        known = entry.get("latents_mean")
        if known is not None and len(known) == len(latents_mean):
            apart = max(abs(a - b) for a, b in zip(known, latents_mean, strict=True))
            if apart <= _SAME_MEAN:
                return known_factors(name)
    return None


@cache
def _table() -> Mapping[str, Mapping[str, Any]]:
    table: dict[str, dict[str, Any]] = json.loads(TABLE.read_text(encoding="utf-8"))
    return table
