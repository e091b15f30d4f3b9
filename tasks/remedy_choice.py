"""Which remedy first: the table's order, until there is evidence; then what worked, by Thompson.

Each remedy's chance to work is drawn from its Beta distribution (Thompson 1933), and the largest
draw goes first: what worked is preferred, what is hardly known is still tried. The prior is worth
`PRIOR` tries, most of them good for the first remedy of the table and fewer for each that follows.

Beta(a, b) with whole a and b is the a-th smallest of a + b - 1 uniform numbers. Drawn so, from a
stream that depends on the shot, the take and the remedy alone, the same history gives the same
choice on every machine, and one more success never makes a remedy's draw smaller.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from manifests.remedy import Remedy

LEAST_EVIDENCE = 5
"""Outcomes over all remedies of a class on a preset; with fewer the table's order holds."""
PRIOR = 10
"""Tries that the table's order counts for, each remedy."""
_FIRST, _LEAST = 6, 2
"""Of these, good ones: of the first remedy, and of those far down the list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How a remedy did on takes of one preset that failed with one class."""

    tried: int
    better: int
    """How often the take that followed was better."""


NO_EVIDENCE: Mapping[str, Tally] = MappingProxyType({})


def preferred(names: Sequence[str], evidence: Mapping[str, Tally], *, key: str) -> str:
    """Of `names` (not empty, in the table's order) the one to try now; `key` seeds the draws."""
    if not is_evidence(evidence):
        return names[0]
    draws = [
        draw(position, evidence.get(name), key=f"{key}/{name}")
        for position, name in enumerate(names)
    ]
    return names[draws.index(max(draws))]


def is_evidence(evidence: Mapping[str, Tally]) -> bool:
    """Whether there are outcomes enough to look at."""
    return sum(tally.tried for tally in evidence.values()) >= LEAST_EVIDENCE


def draw(position: int, tally: Tally | None, *, key: str) -> float:
    """A draw from the remedy's Beta distribution, 0..1; `position` is its place in the table."""
    good = max(_FIRST - position, _LEAST)
    bad = PRIOR - good
    if tally is not None:
        good, bad = good + tally.better, bad + tally.tried - tally.better
    stream = random.Random(hashlib.sha256(key.encode()).digest())  # noqa: S311, no secret
    return sorted(stream.random() for _ in range(good + bad - 1))[good - 1]


def told(
    evidence: Mapping[str, Tally],
    name: str,
    *,
    failure: str,
    preset: str,
    passed: Remedy | None = None,
) -> str:
    """For the report, behind the remedy's words; empty where there is nothing to tell.

    `passed` is the remedy that stands first in the table, where another one was drawn.
    """
    words = f"; {_record(evidence, name)} for {failure} on {preset}"
    if passed is not None:
        return f"{words}, drawn before {passed.words!r} ({_record(evidence, passed.name)})"
    if name not in evidence or not evidence[name].tried:
        return ""
    return words if is_evidence(evidence) else f"{words}, too little to go by"


def _record(evidence: Mapping[str, Tally], name: str) -> str:
    tally = evidence.get(name)
    if tally is None or not tally.tried:
        return "not tried yet"
    return f"worked {tally.better} of {tally.tried} times"
