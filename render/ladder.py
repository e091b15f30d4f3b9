"""The memory ladder: what is given up, one rung at a time, when a take runs out of memory.

Exact rungs come first and change no bit of a take; the others are taken only where the recipe
concedes them. What changes the format of the picture (frames, size, stages) is no rung: it makes
another recipe, and so another take, which the retake policy decides.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from enum import StrEnum
from types import MappingProxyType

from manifests.stage import Concession


class Phase(StrEnum):
    """The parts of a render that fill a card, each with its own peak."""

    ENCODE = "encode"
    """Text encoder, and the VAE's encoder with the image encoder where there is a still."""
    SAMPLE = "sample"
    DECODE = "decode"


class Rung(StrEnum):
    """A step down in memory. Cheapest first; each stays in force to the end of the take."""

    CACHE = "cache"
    """Caches are freed before each phase; costs milliseconds."""
    ALONE = "alone"
    """One module at a time on the card: the idle expert, the encoders and the VAE wait in host
    memory; costs a transfer at each change."""
    SWAP = "swap"
    """Blocks of the transformer come from host memory one after the other while the one before
    computes; the text encoder layer by layer. Costs what the transfer cannot hide."""
    TILING = "tiling"
    """The clip is decoded in tiles: other last bits, faint seams at worst."""
    FP8 = "fp8"
    """Weights of the transformer are stored in 8 bits and widened layer by layer."""


RUNG_WORDS: MappingProxyType[Rung, str] = MappingProxyType(
    {
        Rung.CACHE: "caches freed before each phase",
        Rung.ALONE: "one module at a time on the card",
        Rung.SWAP: "blocks swapped from host memory",
        Rung.TILING: "decoded in tiles",
        Rung.FP8: "weights stored in 8 bits",
    }
)
"""For plans, notes and reports."""

CONCEDED: MappingProxyType[Rung, Concession] = MappingProxyType(
    {Rung.TILING: Concession.TILING, Rung.FP8: Concession.FP8}
)
"""Rungs that change pixels, and the permission each one needs."""

_HELPS: MappingProxyType[Rung, frozenset[Phase]] = MappingProxyType(
    {
        Rung.CACHE: frozenset(Phase),
        Rung.ALONE: frozenset(Phase),
        Rung.SWAP: frozenset({Phase.ENCODE, Phase.SAMPLE}),
        Rung.TILING: frozenset({Phase.DECODE}),
        Rung.FP8: frozenset({Phase.SAMPLE}),
    }
)
_NEEDS_CARD = frozenset({Rung.ALONE, Rung.SWAP})
"""There is nowhere to move to from host memory."""


def allowed_rungs(concessions: Collection[Concession], *, on_card: bool) -> tuple[Rung, ...]:
    """The rungs that a recipe with these concessions may take, in the order of the ladder."""
    return tuple(
        rung
        for rung in Rung
        if (on_card or rung not in _NEEDS_CARD)
        and (rung not in CONCEDED or CONCEDED[rung] in concessions)
    )


def next_rung(phase: Phase, taken: Collection[Rung], *, allowed: Iterable[Rung]) -> Rung | None:
    """The first allowed rung that eases `phase` and is not taken yet; None: none is left."""
    return next((r for r in allowed if phase in _HELPS[r] and r not in taken), None)


def eases(rung: Rung, phase: Phase) -> bool:
    """Whether taking `rung` makes the peak of `phase` lower."""
    return phase in _HELPS[rung]


def known_rungs(names: Iterable[str], *, allowed: Sequence[Rung]) -> tuple[Rung, ...]:
    """Rungs by name, in the ladder's order; unknown and forbidden ones are left out.

    Names come from receipts: an older or newer version may have written others.
    """
    wanted = set(names)
    return tuple(rung for rung in allowed if rung.value in wanted)


def pixel_rungs(rungs: Iterable[Rung]) -> tuple[str, ...]:
    """Those of `rungs` that change latents, by name: no exact run goes on from what they left.

    Tiling is not among them: it is in force while a clip is decoded, when no latents are made.
    """
    return tuple(sorted(rung.value for rung in rungs if rung is Rung.FP8))


def rung_words(rungs: Iterable[str]) -> str:
    """`one module at a time on the card, decoded in tiles`; empty for none."""
    known = {rung.value for rung in Rung}
    return ", ".join(RUNG_WORDS[Rung(name)] if name in known else name for name in rungs)


def phase_of(component: str) -> Phase:
    """The phase in which a component of a model runs, by its name in the pipeline."""
    if component.startswith(("transformer", "unet")):
        return Phase.SAMPLE
    return Phase.DECODE if component.startswith("vae") else Phase.ENCODE
