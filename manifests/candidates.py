"""Seeds of a take's candidates: several first stages, of which the best is gone on with."""

from __future__ import annotations

import hashlib

MOST_CANDIDATES = 8
"""Beyond it the first stages cost more than the takes that they spare."""


def candidate_seeds(seed: int, count: int) -> tuple[int, ...]:
    """Base seeds of `count` candidates (1..8) of a recipe with base seed `seed`, in order.

    The first is the recipe's own, so that one candidate is the plain take. The others are the
    first 63 bits of SHA-256 over `candidate <n> of seed <seed>`: far from each other and from the
    seeds that stages make by adding their offset, and the same on every machine. Each candidate is
    the plain take of its seed, bit for bit, later stages included.

    Raises ValueError for another count.
    """
    if not 1 <= count <= MOST_CANDIDATES:
        raise ValueError(f"{count} candidates; 1..{MOST_CANDIDATES} are possible")
    return (seed, *(_derived(seed, number) for number in range(2, count + 1)))


def _derived(seed: int, number: int) -> int:
    digest = hashlib.sha256(f"candidate {number} of seed {seed}".encode()).digest()
    return int.from_bytes(digest[:8]) >> 1
