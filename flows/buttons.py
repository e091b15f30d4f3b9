"""The buttons on the night's page in Prefect: suspend, resume and cancel, said to the night.

What holds is `tasks.control`, where the commands write too; here page and control are kept alike.

NOTE: a suspended run of Prefect's own ends its process at the next task, loses what is in work back
to its checkpoint, cannot be resumed once its timeout (five minutes unless typed otherwise) is over,
and gives the pages of its shots to other shots when it is. A night that is suspended is paused
instead: the run stays in its process as *Paused*, without an end, and Resume goes on with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from uuid import UUID

from httpx import HTTPError
from prefect import get_run_logger
from prefect._flow_run_suspension import (
    FlowRunSuspensionRequest,
    register_flow_run_suspension_request,
)
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.states import Cancelled, Paused, Running

from tasks.control import cancel_shots, change_control, shot_key
from tasks.desk import Desk

LOOK_EVERY = 2.0
"""Seconds between looks at the page."""
PAUSED = (
    "Nothing new is started; takes in work go on to the end of their step. "
    "Resume (or `rushes resume`) goes on."
)
RESUMED = "The night goes on."
ENDING = "Ends when the steps in work are done; what is finished and its checkpoints are kept."


class _Heard(FlowRunSuspensionRequest):
    """Takes Prefect's word that the run is suspended, and lets nothing raise for it."""

    def mark_requested(self, state: State) -> None:
        """See above: the next look at the page makes it a pause."""


class Buttons:
    """The page of one night's run."""

    def __init__(self, desk: Desk, run_id: UUID) -> None:
        """`run_id` is that of the night's run in Prefect."""
        self._desk, self._run_id = desk, run_id
        self._held = False
        """Whether page and control were paused when they were last alike."""

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        """Inside the block, inside the night's flow: what the page is told holds for the night."""
        with register_flow_run_suspension_request(self._run_id, _Heard()):
            following = asyncio.create_task(self._follow(), name="buttons")
            try:
                yield
            finally:
                following.cancel()
                with suppress(asyncio.CancelledError):
                    await following

    async def _follow(self) -> None:
        try:
            while True:
                # A server that is away is asked again: the night does not wait for it.
                with suppress(HTTPError, PrefectException):
                    await self.look()
                await asyncio.sleep(LOOK_EVERY)
        except Exception:
            get_run_logger().exception("the buttons of this page are not heard any more")

    async def look(self) -> None:
        """Look once. Raises what the server raises."""
        async with get_client() as client:
            run = await client.read_flow_run(self._run_id)
            await self._agree(client, run)
            await self._cancel(client, run)

    async def _agree(self, client: PrefectClient, run: FlowRun) -> None:
        """Who changed since they were alike is right; the page, where both did."""
        state = run.state
        if state is None or state.type not in (StateType.RUNNING, StateType.PAUSED):
            return
        page, control = state.is_paused(), self._desk.control().paused
        wanted = page if page != self._held else control
        if wanted != control:
            where = self._desk.studio.state_dir
            change_control(where, lambda known: replace(known, paused=wanted))
        if wanted != page or state.state_details.pause_reschedule:
            shown: State = Paused(message=PAUSED) if wanted else Running(message=RESUMED)
            await client.set_flow_run_state(self._run_id, shown, force=True)
        if wanted != self._held:
            said = "in Prefect" if wanted == page else "with `rushes`"
            verb = "paused" if wanted else "resumed"
            get_run_logger().warning("%s %s. %s", verb, said, PAUSED if wanted else RESUMED)
        self._held = wanted

    async def _cancel(self, client: PrefectClient, run: FlowRun) -> None:
        """The night, where nobody else ends it, or single shots."""
        where, night, log = self._desk.studio.state_dir, self._desk.night_id, get_run_logger()
        said = self._desk.control()
        if _is_cancelling(run) and run.deployment_id is None and said.ended != night:
            change_control(where, lambda known: replace(known, ended=night))
            log.warning("cancelled in Prefect. %s", ENDING)
        for shot in await self._cancelling(client):
            job = self._desk.jobs[int(shot.parameters["shot_id"])]
            key = shot_key(job.manifest, job.shot.id)
            if said.stops(key, night=night) is None:
                keys = frozenset([key])
                change_control(where, partial(cancel_shots, shots=keys, night=night))
                log.warning("%s cancelled in Prefect: nothing more is done on it tonight", key)

    async def _cancelling(self, client: PrefectClient) -> list[FlowRun]:
        """Runs of shots on whose pages Cancel was pressed."""
        within = FlowRunFilterParentFlowRunId(any_=[self._run_id])
        state = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CANCELLING]))
        return await client.read_flow_runs(
            flow_run_filter=FlowRunFilter(parent_flow_run_id=within, state=state)
        )


async def settle(run_id: UUID | None, words: str) -> None:
    """Say *Cancelled* on the page of a run that is over and still says that it is being cancelled.

    Prefect refuses every other end of such a run, also that of a shot which was just delivered. A
    server that does not answer, or a page that a person deleted, costs the words, nothing else.
    """
    with suppress(HTTPError, ObjectNotFound):
        async with get_client() as client:
            if run_id is not None and _is_cancelling(await client.read_flow_run(run_id)):
                state: State = Cancelled(message=words)
                await client.set_flow_run_state(run_id, state, force=True)


def _is_cancelling(run: FlowRun) -> bool:
    return run.state is not None and run.state.is_cancelling()
