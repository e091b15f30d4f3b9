"""What remedies did: for each family, preset, class of failure and remedy, how often it helped.

Nothing is stored for it: every take in the ledger names the remedy that led to it, so the outcomes
are the takes themselves, those of the earliest nights too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from qc.judge import rank
from qc.scorecard import Decision, FailureClass
from reports.records import RetakePair


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a remedy did on takes of one preset that failed with one class."""

    family: str
    preset: str
    failure: FailureClass
    remedy: str
    tried: int
    better: int
    """The take that followed was approved, or ranks before the one that failed."""
    approved: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for `--json`."""
        return asdict(self)


def outcomes(pairs: Iterable[RetakePair]) -> list[Outcome]:
    """The outcomes of these retakes, by preset, class and remedy; what was tried most first."""
    groups: dict[tuple[str, str, FailureClass, str], list[RetakePair]] = defaultdict(list)
    for pair in pairs:
        if pair.before.failure is not None:
            groups[pair.family, pair.preset, pair.before.failure, pair.remedy].append(pair)
    found = [
        Outcome(
            family=family,
            preset=preset,
            failure=failure,
            remedy=remedy,
            tried=len(group),
            better=sum(is_better(pair) for pair in group),
            approved=sum(pair.after.decision is Decision.APPROVE for pair in group),
        )
        for (family, preset, failure, remedy), group in groups.items()
    ]
    return sorted(found, key=lambda each: (each.preset, each.failure, -each.tried, each.remedy))


def is_better(pair: RetakePair) -> bool:
    """Whether the second take ended better than the first: by verdict, else by rank.

    A take without a clip (NaN, out of memory) ranks behind every one that has one.
    """
    if pair.after.decision is Decision.APPROVE:
        return True
    if pair.after_card is None or pair.before_card is None:
        return pair.before_card is None and pair.after_card is not None
    return rank(pair.after_card, pair.after) < rank(pair.before_card, pair.before)
