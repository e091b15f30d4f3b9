"""Shots that a person approves while their night runs: they are finished and delivered in it.

A shot that is held has had its turn. The person's word stands in the ledger, where the night looks
for it; what comes after the shot was told that it waits, and has its turn in the next night.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from reports.errors import LedgerBusy, LedgerUnwritable
from reports.records import decisive
from reports.take import ShotStatus
from tasks.desk import Desk, Job
from tasks.next_action import Action
from tasks.night_book import cancelled
from tasks.steps import action_for

LOOK_EVERY = 10.0
"""Seconds between two looks at the ledger."""


class Approvals:
    """The shots of one night whose turn is over, in case a person approves one."""

    def __init__(
        self,
        desk: Desk,
        finish: Callable[[Job], Awaitable[None]],
        *,
        look_every: float = LOOK_EVERY,
    ) -> None:
        """`finish` takes a shot with an approved take as far as it gets."""
        self._desk, self._finish = desk, finish
        self._look_every = look_every
        self._had: dict[int, Job] = {}
        """Shots whose turn is over, by key in the ledger; each is finished once at most."""

    def had_its_turn(self, job: Job) -> None:
        """From now on a person's word about the shot is looked for."""
        self._had[job.shot_id] = job

    @asynccontextmanager
    async def heard(self) -> AsyncIterator[None]:
        """Inside the block the night looks for approvals, and behind it until there are no more.

        Where the block is cut, so is what is being finished: the next night goes on with it.
        """
        over = asyncio.Event()
        listening = asyncio.create_task(self._listen(over), name="approvals")
        try:
            yield
            over.set()
            await listening
        finally:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening

    async def _listen(self, over: asyncio.Event) -> None:
        last = False
        while not last:
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), self._look_every)
            found: list[Job] = []
            # Asked again at the next look; what the last one misses the next night delivers.
            with suppress(LedgerBusy, LedgerUnwritable):
                found = self._approved()
                for job in found:
                    del self._had[job.shot_id]
                    await self._finish(job)
            # To finish takes minutes, in which more may have been said.
            last = over.is_set() and not found

    def _approved(self) -> list[Job]:
        ledger = self._desk.ledger
        # NOTE: held is also one whose finish failed in an earlier night, whatever is approved now.
        perhaps = {
            shot.id
            for shot in ledger.standings(self._desk.night_id)
            if shot.is_chosen and shot.status is not ShotStatus.APPROVED and shot.id in self._had
        }
        return [
            job
            for shot_id, job in self._had.items()
            if shot_id in perhaps
            and decisive(ledger.takes_of(shot_id)).by_hand is not None
            and action_for(self._desk, job)[0] is Action.FINISH
            and cancelled(self._desk, job) is None
        ]
