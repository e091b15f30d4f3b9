"""The buttons on the night's page in Prefect: suspend, resume and cancel, said to the night.

What holds is `tasks.control`, where the commands write too; here page and control are kept alike.

NOTE: a suspended run of Prefect's own ends its process at the next task, loses what is in work back
to its checkpoint, cannot be resumed once its timeout (five minutes unless typed otherwise) is over,
and gives the pages of its shots to other shots when it is. A night that is suspended is paused
instead: the run stays in its process as *Paused*, without an end, and Resume goes on with it.

NOTE: a cancel is carried out by the runner that started the run, when it hears of it: on a busy
server tens of seconds late, and not at all where the runner is dead or its connection is gone. So
the night begins nothing new as soon as its page says so, and after a while ends by itself.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any
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
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.states import Cancelled, Paused, Running

from manifests.errors import RushesError
from tasks.control import cancel_shots, change_control
from tasks.desk import Desk
from tasks.night_book import CANCELLED, note_night

LOOK_EVERY = 2.0
"""Seconds between looks at the page."""
RUNNER_ENDS = 10.0
"""Seconds that Prefect's runner has to end a night that it started, once this is cancelled."""
PAUSED = (
    "Nothing new is started; takes in work go on to the end of their step. "
    "Resume (or `rushes resume`) goes on."
)
RESUMED = "The night goes on."
ENDING = "Nothing new is begun; what is finished and its checkpoints are kept."
ENDED = "The night was cancelled; what is finished and its checkpoints are kept."
UNKNOWN = (
    "Prefect was silent when the night was cancelled: a shot's page that says Crashed may be one "
    "that was only cut"
)
UNSETTLED = "the pages of shots that were cut do not say so: Prefect is silent"


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
        self._cancelled: float | None = None
        """When it was first seen that the night was cancelled on its page."""
        self._late = asyncio.Event()
        """Set when the runner has had its time."""

    @property
    def cancelled(self) -> bool:
        """Whether the night was cancelled on its page."""
        return self._cancelled is not None

    async def until_cancelled(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the night's work, as far as it gets before a cancel that nobody else carries out."""
        doing, late = asyncio.create_task(work), asyncio.create_task(self._late.wait())
        broken: frozenset[UUID] | None = frozenset()
        try:
            await asyncio.wait([doing, late], return_when=asyncio.FIRST_COMPLETED)
            if late.done():
                broken = await self._broken()
        finally:
            late.cancel()
            cut = doing.cancel()
            (came,) = await asyncio.gather(doing, return_exceptions=True)
        if cut:
            log = get_run_logger()
            log.warning("ended: Prefect's runner did not end it")
            if isinstance(came, Exception):
                # The night ends all the same, with its report; what broke meanwhile is not lost.
                log.error("the work that was cut broke", exc_info=came)
            await self._tell_shots(broken)
        else:
            doing.result()
        if self.cancelled:
            _hear_no_stop()

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
        told = ""
        try:
            while True:
                try:
                    # A server that is away is asked again: the night does not wait for it.
                    with suppress(HTTPError, PrefectException):
                        await self.look()
                except (RushesError, OSError) as error:
                    # What was said could not be kept (a full disk): the next look tries again.
                    if told != (told := str(error)):
                        get_run_logger().warning("not heard yet: %s", told)
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
        """The night, or single shots."""
        where, night, log = self._desk.studio.state_dir, self._desk.night_id, get_run_logger()
        said = self._desk.control()
        if _is_cancelling(run):
            self._wait_for_runner(run)
            if said.ended != night:
                change_control(where, lambda known: replace(known, ended=night))
                log.warning("%s. %s", CANCELLED, ENDING)
        for shot in await self._cancelling(client):
            job = self._desk.jobs[int(shot.parameters["shot_id"])]
            key = job.key
            if said.stops(key, night=night) is None:
                keys = frozenset([key])
                change_control(where, partial(cancel_shots, shots=keys, night=night))
                log.warning("%s cancelled in Prefect: nothing more is done on it tonight", key)

    def _wait_for_runner(self, run: FlowRun) -> None:
        """Give the runner its time. A night of `rushes run` has none: the steps in work end."""
        now = time.monotonic()
        self._cancelled = self._cancelled or now
        if run.deployment_id is not None and now - self._cancelled >= RUNNER_ENDS:
            self._late.set()

    async def _cancelling(self, client: PrefectClient) -> list[FlowRun]:
        """Runs of shots on whose pages Cancel was pressed."""
        return await self._shots(client, StateType.CANCELLING)

    async def _broken(self) -> frozenset[UUID] | None:
        """Runs of shots that crashed by themselves: those that are cut will look the same. None:
        the server does not say."""
        with suppress(HTTPError, PrefectException):
            async with get_client() as client:
                return frozenset(shot.id for shot in await self._shots(client, StateType.CRASHED))
        return None

    async def _tell_shots(self, broken: frozenset[UUID] | None) -> None:
        """Say on the pages of the shots that were in work what became of them; where the server is
        silent the report tells what the pages do not."""
        if broken is None:
            self._note(UNKNOWN)
        try:
            await self._settle_shots(broken)
        except (HTTPError, PrefectException) as error:
            self._note(f"{UNSETTLED} ({type(error).__name__})")

    async def _settle_shots(self, broken: frozenset[UUID] | None) -> None:
        """The pages of shots that were in work say Cancelled; those that were `broken` before keep
        their own end, as do all that crashed where it is not known which those are."""
        cut = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
        if broken is not None:
            cut.append(StateType.CRASHED)
        async with get_client() as client:
            for shot in await self._shots(client, *cut):
                if shot.id not in (broken or ()):
                    await client.set_flow_run_state(shot.id, Cancelled(message=ENDED), force=True)

    def _note(self, words: str) -> None:
        """Into the night's log, and into the report: a silent server may not have the log."""
        get_run_logger().warning(words)
        note_night(self._desk, words)

    async def _shots(self, client: PrefectClient, *states: StateType) -> list[FlowRun]:
        """The runs of shots in these states, however many pages the server makes of them.

        NOTE: how many it gives at once is its own setting, and to ask for more is refused.
        """
        within = FlowRunFilterParentFlowRunId(any_=[self._run_id])
        state = FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states)))
        wanted = FlowRunFilter(parent_flow_run_id=within, state=state)
        found: dict[UUID, FlowRun] = {}
        while page := await client.read_flow_runs(
            flow_run_filter=wanted, sort=FlowRunSort.ID_DESC, offset=len(found)
        ):
            known = len(found)
            found.update((run.id, run) for run in page)
            if len(found) == known:
                break
        return list(found.values())


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


async def end_state(run_id: UUID, state: State[Any]) -> State[Any]:
    """The state in which a night's run ends: `state`, or Cancelled with its words where its page
    says that it is being cancelled, since Prefect takes no other then."""
    with suppress(HTTPError, ObjectNotFound):
        async with get_client() as client:
            if _is_cancelling(await client.read_flow_run(run_id)):
                return Cancelled(message=state.message)
    return state


def _hear_no_stop() -> None:
    """From here on to its end the process is not stopped by the runner, whose word comes late: the
    night is over but for its report. Nobody listens off the main thread anyway."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _is_cancelling(run: FlowRun) -> bool:
    return run.state is not None and run.state.is_cancelling()
