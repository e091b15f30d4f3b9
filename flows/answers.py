"""Which occasions for a night have been answered by `rushes serve`, and which are answered anew."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

AGAIN_AFTER = timedelta(minutes=15)
"""A night that broke before it could begin is started again so long after: what kept it from
beginning (a share, a card, a disk) may be mended by then."""


def _now() -> datetime:
    return datetime.now(UTC)


class Answers:
    """An occasion is answered once, by starting a night; again where that night's run broke."""

    def __init__(
        self,
        broken_since: Callable[[datetime], Awaitable[str | None]],
        *,
        say: Callable[[str], None],
        clock: Callable[[], datetime] = _now,
    ) -> None:
        """`broken_since` tells in words how the newest run that began since an instant broke, None
        where it did not; `say` hears of each that broke, once."""
        self._broken_since = broken_since
        self._say = say
        self._clock = clock
        self._given: dict[str, datetime] = {}
        self._told: dict[str, datetime] = {}

    def give(self, mark: str) -> None:
        """A night is started for this occasion."""
        self._given[mark] = self._clock()

    async def hold(self, mark: str) -> bool:
        """Whether nothing more is to be done on this occasion now."""
        given = self._given.get(mark)
        if given is None:
            return False
        broken = await self._broken_since(given)
        if broken is None:
            return True
        if self._told.get(mark) != given:
            self._told[mark] = given
            minutes = AGAIN_AFTER.seconds // 60
            self._say(f"the night broke: {broken}; it is started again {minutes} minutes later")
        return self._clock() - given < AGAIN_AFTER
