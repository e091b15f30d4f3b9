"""A night's hours while it runs: what may still be started, on a clock that cannot be put back."""

from __future__ import annotations

import time
from asyncio import timeout
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar

from manifests.errors import BadInput, Fault
from manifests.settings import Studio
from manifests.window import Gate, Hours, Overrun, may_start
from render.errors import OutOfHours

OPEN = Gate(open=True, words="")
_Seat = TypeVar("_Seat")


@asynccontextmanager
async def within_hours(
    stop_at: float | None, seat: AbstractAsyncContextManager[_Seat]
) -> AsyncIterator[_Seat]:
    """A seat that is waited for until `stop_at` (seconds since the epoch; None: for ever).

    Raises OutOfHours then; what is done on the seat is not cut short.
    """
    async with AsyncExitStack() as stack:
        try:
            async with timeout(None if stop_at is None else stop_at - time.time()):
                got = await stack.enter_async_context(seat)
        except TimeoutError:
            raise OutOfHours("the night's hours ended while it waited for a card") from None
        yield got


class NightHours:
    """The hours of the night that is running.

    Wall time is read once, at the start; from then on a monotonic timer says how much is left, so
    that a clock that is set right in the middle of the night neither ends nor prolongs it.
    """

    def __init__(
        self,
        studio: Studio,
        *,
        now: datetime | None = None,
        timer: Callable[[], float] = time.monotonic,
        ignore: bool = False,
    ) -> None:
        """`ignore` runs the night as if the studio had no hours."""
        self._begun = datetime.now(UTC) if now is None else now
        self._timer, self._zero = timer, timer()
        self._window = None if ignore else studio.window
        self.hours: Hours | None = None if self._window is None else self._window.now(self._begun)
        self._file = studio.settings_file

    @property
    def evening(self) -> date:
        """The date that names the night."""
        if self.hours is not None:
            return self.hours.evening
        return self._begun.astimezone().date()

    def check(self) -> None:
        """Raise BadInput outside the studio's hours, with when they begin."""
        if self._window is None or self.hours is not None:
            return
        coming = self._window.next(self._begun)
        opens = coming.opens.astimezone(self._window.timezone)
        fault = Fault(
            file=self._file,
            column="window",
            problem=f"the studio's hours begin {opens:%A %Y-%m-%d %H:%M} ({opens.tzname()})",
            remedy="run it then, or now with --now",
        )
        raise BadInput([fault])

    @property
    def stop_at(self) -> float | None:
        """Seconds since the epoch at which takes in work are to stop; None: they run over."""
        if self._window is None or self.hours is None or self._window.overrun is Overrun.FINISH:
            return None
        return time.time() + self.hours.seconds_left(self._now())

    @property
    def stop_keeps(self) -> bool:
        """Whether a take that stops is kept as it stands."""
        return self._window is None or self._window.overrun is not Overrun.ABORT

    def gate(self, seconds: float) -> Gate:
        """Whether a take of about `seconds` may be started at this moment."""
        if self._window is None or self.hours is None:
            return OPEN
        return may_start(self.hours, self._now(), seconds=seconds, overrun=self._window.overrun)

    def _now(self) -> datetime:
        return self._begun + timedelta(seconds=self._timer() - self._zero)
