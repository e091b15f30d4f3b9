"""Speed levels: what each may change in the arithmetic, in one table. No torch in here.

A level is a promise about pictures, made by the preset. Each lever it allows is pulled where the
machine and the model can (`render.speed_levers`); one that cannot be pulled is named in the
receipt, and so is the level that was really kept to.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from manifests.stage import Speed


class Lever(StrEnum):
    """One way to be faster."""

    COMPILE = "compile"
    """The model's repeated blocks are compiled, once for all sizes and lengths; LoRAs are
    swapped inside the compiled blocks."""
    ATTENTION = "attention"
    """Attention by the fastest kernel of the same formula that is installed; torch's own, where
    that is it."""
    TF32 = "tf32"
    """Products of float32 numbers on the matrix units, with 10 bits of mantissa for 23."""
    STEP_CACHE = "step-cache"
    """A step whose first block changes little takes the other blocks' work from the step before."""
    FP8 = "fp8"
    """Products of the blocks' linear layers in 8 bits, scaled row by row."""


LEVELS: Mapping[Speed, tuple[Lever, ...]] = MappingProxyType(
    {
        Speed.EXACT: (),
        Speed.FAST: (Lever.COMPILE, Lever.ATTENTION, Lever.TF32),
        Speed.TURBO: (
            Lever.COMPILE,
            Lever.ATTENTION,
            Lever.TF32,
            Lever.STEP_CACHE,
            Lever.FP8,
        ),
    }
)
"""What each level may pull, slowest level first; a level may do all that the one before may."""

CHANGES: Mapping[Lever, str] = MappingProxyType(
    {
        Lever.COMPILE: "last bits: operations are fused and round less often",
        Lever.ATTENTION: "last bits, where it is another kernel: the same sums in another order",
        Lever.TF32: "about the fourth digit of float32 products; nothing in bfloat16",
        Lever.STEP_CACHE: "the picture, where steps are alike: some steps are not computed",
        Lever.FP8: "about the second digit of every product",
    }
)
"""What a lever may change in a picture."""

NEEDS: Mapping[Lever, str] = MappingProxyType(
    {
        Lever.COMPILE: "a card, a C compiler on the worker, blocks that repeat",
        Lever.ATTENTION: "a card; to differ from torch's choice, FlashAttention 3 on Hopper",
        Lever.TF32: "a card of compute capability 8.0",
        Lever.STEP_CACHE: "a transformer whose blocks diffusers knows, at least two of them",
        Lever.FP8: "compiled blocks, a card of compute capability 8.9, bfloat16, no LoRAs",
    }
)
"""Without what a lever stays as it is, with a note in the receipt."""

STEP_CACHE_THRESHOLD = 0.05
"""Relative change of the first block's residual under which the other blocks are not run."""


def levers(level: Speed) -> tuple[Lever, ...]:
    """What `level` allows."""
    return LEVELS[level]


def kept_level(pulled: tuple[Lever, ...]) -> Speed:
    """The level a take really kept to, from what was pulled: the slowest that allows all of it."""
    return next(level for level, allowed in LEVELS.items() if set(pulled) <= set(allowed))


def speed_table() -> str:
    """The levels as Markdown, for the docs."""
    rows = ["| lever | exact | fast | turbo | may change | needs |", "|---|---|---|---|---|---|"]
    for lever in Lever:
        marks = ["yes" if lever in LEVELS[level] else "" for level in Speed]
        rows.append(f"| {' | '.join([lever.value, *marks, CHANGES[lever], NEEDS[lever]])} |")
    return "\n".join(rows) + "\n"
