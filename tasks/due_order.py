"""Work with deadlines: when it is tight, and which comes first then. Pure.

Earliest deadline first, the rule that meets every deadline where one card can meet them at all.
It is asked only when it is needed: as long as all dated work would be done in time though nothing
of it were begun for a while, models stay warm and long shots go first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping

from tasks.chains import Work

SAFETY = 1.25
"""Dated work counts for this much more than is expected: takes are rendered again at times."""
LOOKS = 64
"""Once it is tight, it is looked at again after one in so many of the dated shots was taken."""


class DueOrder:
    """The dated shots of a night that nobody has taken yet."""

    def __init__(
        self,
        *,
        works: Mapping[str, Work],
        priority: Mapping[str, int],
        is_left: Callable[[str], bool],
        load: Mapping[str, float],
    ) -> None:
        """`works`, and what `priority` holds for each, as they are now.

        `is_left` says of one whether it is still to be done; `load` holds the seconds to load
        each model.
        """
        self._works, self._priority, self._is_left = works, priority, is_left
        self._load = load
        self._due: dict[str, float] = {}
        self._stale = False
        self._lines: dict[int, list[str]] = defaultdict(list)
        """Of each priority, the earliest first."""
        self._tight_at: dict[int, float] = {}
        """Before this moment nothing of that priority is tight."""
        self._looks: dict[int, int] = {}

    def know(self, due: Mapping[str, float]) -> None:
        """These are the times by which shots must have ended, as `due_times` tells them."""
        self._due = dict(due)
        self._stale = False
        self._lines.clear()
        for name in sorted(due, key=lambda name: due[name]):
            if self._is_left(name):
                self._lines[self._priority[name]].append(name)
        self._tight_at.clear()
        self._looks.clear()

    def moved(self) -> None:
        """Priorities or what is left have changed."""
        self._stale = True

    def first(
        self,
        ready: Callable[[str], bool],
        *,
        priority: int,
        now: float,
        margin: float,
        speed: float,
        takes: Callable[[str], float],
    ) -> str | None:
        """The dated shot that must come next; None: there is time, or none that is `ready`.

        `margin`: seconds for which the card that asks would be gone with something else. `speed`
        is that of all cards together; `takes` says how long this card needs for a shot. What
        cannot end in time any more comes behind what can, and before all without a deadline.
        """
        if self._stale:
            self.know(self._due)
        if not self._is_tight(priority, now + margin, speed):
            return None
        late: str | None = None
        for name in self._lines[priority]:
            if not (self._is_left(name) and ready(name)):
                continue
            if now + takes(name) <= self._due[name]:
                return name
            late = late or name
        return late

    def _is_tight(self, priority: int, now: float, speed: float) -> bool:
        line = self._lines.get(priority)
        if not line or now < self._tight_at.get(priority, float("-inf")):
            return False
        if self._looks.get(priority, 0) > 0:
            self._looks[priority] -= 1
            return True
        line[:] = [name for name in line if self._is_left(name)]
        self._tight_at[priority] = min(self._latest_starts(line, speed), default=float("inf"))
        tight = now >= self._tight_at[priority]
        self._looks[priority] = len(line) // LOOKS if tight else 0
        return tight

    def _latest_starts(self, line: Iterable[str], speed: float) -> Iterator[float]:
        """For each deadline, when all cards must begin at the latest with what is due until then.

        A shot is rendered by one card, so none can begin later than its own length before it.
        """
        until = 0.0
        for name in line:
            work = self._works[name]
            until += work.area
            load = self._load.get(work.model, 0.0)
            yield self._due[name] - SAFETY * max(until / speed, work.span) - load
