"""Ready work: the shots that a card may take now, put together by what decides who takes them.

Pure, as `tasks.dispatch`, whose books these are. A shot that is taken, or moved elsewhere, stays
where it was until somebody comes upon it: entries are checked as they are looked at.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple


class Kind(NamedTuple):
    """What the shots of one bucket have in common."""

    priority: int
    fits: int
    """Memory of the smallest card that holds it."""
    model: str
    cards: int


class _Entry(NamedTuple):
    """A shot in a bucket; the least comes first."""

    seconds: float
    """Of its chain, negative."""
    arrival: int
    name: str


@dataclass(slots=True)
class Bucket:
    """Ready work of one kind."""

    kind: Kind
    heap: list[_Entry] = field(default_factory=list)
    """May hold shots that are taken already, or moved."""

    @property
    def longest(self) -> float:
        """Seconds of the chain that comes first. Raises IndexError where there is none."""
        return -self.heap[0].seconds


class ReadyWork:
    """The buckets, and in which order shots became ready."""

    def __init__(self, is_ready: Callable[[str], bool]) -> None:
        """`is_ready` says whether a shot may be taken at this moment."""
        self._is_ready = is_ready
        self._arrivals = count()
        self._arrival: dict[str, int] = {}
        self._buckets: dict[Kind, Bucket] = {}

    @property
    def buckets(self) -> Collection[Bucket]:
        """All there are, in the order in which they were first needed; some may be empty."""
        return self._buckets.values()

    def clear(self) -> None:
        """Empty them; the order in which shots became ready is kept."""
        self._buckets = {}

    def arrive(self, name: str, kind: Kind, seconds: float) -> None:
        """A shot became ready, with the seconds of its chain, or is of another kind from now on."""
        self._arrival[name] = next(self._arrivals)
        self.put(name, kind, seconds)

    def put(self, name: str, kind: Kind, seconds: float) -> None:
        """Put a shot into its bucket that became ready before. Raises KeyError."""
        bucket = self._buckets.get(kind)
        if bucket is None:
            bucket = self._buckets[kind] = Bucket(kind)
        heapq.heappush(bucket.heap, _Entry(-seconds, self._arrival[name], name))

    def by_arrival(self) -> list[str]:
        """Those that may be taken now, in the order in which they became ready: it decides ties."""
        ready = filter(self._is_ready, self._arrival)
        return sorted(ready, key=self._arrival.__getitem__)

    def first(self, bucket: Bucket) -> str | None:
        """The longest of a bucket; entries that are out of date are dropped on the way."""
        while bucket.heap:
            if self._holds(bucket.heap[0]):
                return bucket.heap[0].name
            heapq.heappop(bucket.heap)
        return None

    def by_length(self, bucket: Bucket) -> Iterator[str]:
        """All of a bucket, the longest first."""
        return (entry.name for entry in sorted(bucket.heap) if self._holds(entry))

    def _holds(self, entry: _Entry) -> bool:
        """Whether an entry is still true: a shot that was moved has a later one elsewhere."""
        return self._is_ready(entry.name) and self._arrival[entry.name] == entry.arrival
