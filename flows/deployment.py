"""The studio's nights as Prefect knows them: one deployment, its schedule, its runs.

Prefect is asked for runs and told to start them; what was done in a night only the ledger knows.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import FlowRunSort
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.runner import Runner
from prefect.schedules import Cron, Schedule
from prefect.states import Crashed
from prefect.types.entrypoint import EntrypointType

from flows.studio import studio_night
from manifests.errors import BadInput, Fault
from manifests.secret import without_user
from manifests.settings import Studio
from manifests.window import EVERY_DAY, Window

SLUG = "hours"
"""Names the schedule in Prefect, so that what a person did to it outlives a restart."""
AHEAD = timedelta(minutes=2)
"""A run that is scheduled within so much counts as begun."""
_ALIVE = [StateType.RUNNING, StateType.PENDING, StateType.PAUSED, StateType.CANCELLING]
_ENDED = [StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED]


class NightRunner(Runner):
    """Starts the nights, one at a time; a stop is the server's to decide, not the runner's."""

    def __init__(self, name: str, stop: Callable[[], object]) -> None:
        """`stop` is called on SIGTERM."""
        # NOTE: a person who pauses the schedule means it; a stop of the service must not.
        super().__init__(name=name, limit=1, pause_on_shutdown=False)
        self._stop = stop

    def handle_sigterm(self, *_: Any, **__: Any) -> None:
        """See `Runner`, which would cancel the night and leave at once."""
        self._stop()


def cron_of(window: Window) -> str:
    """The hours' beginning as cron tells it, in the window's own zone."""
    days = "*" if window.days == EVERY_DAY else ",".join(day.value for day in window.days)
    return f"{window.start.minute} {window.start.hour} * * {days}"


def deployment_name(studio: Studio, *, own_server: bool) -> str:
    """`night`; on a server that others use too, the root's name and this machine's."""
    if own_server:
        return "night"
    name = f"{studio.root.name} on {platform.node()}"
    return name.replace("/", "-").replace("%", "-")


class NightDeployment:
    """The deployment of one studio, on the server that this process's settings name."""

    def __init__(self, studio: Studio, *, name: str) -> None:
        """`name` as `deployment_name` gives it."""
        self._studio = studio
        self.name = name
        self.id: UUID | None = None

    async def register(self, runner: Runner) -> None:
        """Tell Prefect of it; a schedule that a person has paused stays paused.

        Raises BadInput where the name belongs to another studio.
        """
        async with get_client() as client:
            known = await _by_name(client, f"{studio_night.name}/{self.name}")
        self._must_be_ours(known)
        self.id = await runner.aadd_deployment(await self.made(known))

    async def made(self, known: DeploymentResponse | None = None) -> RunnerDeployment:
        """The deployment as it is to be; `known` as it is."""
        schedules = [] if self._studio.window is None else [self._schedule(known)]
        return await studio_night.ato_deployment(
            self.name,
            schedules=schedules,
            parameters={"root": str(self._studio.root)},
            tags=[_host_tag()],
            description=f"Nights over the sheets in `{self._studio.inbox_dir}`.",
            paused=known is not None and known.paused,
            entrypoint_type=EntrypointType.MODULE_PATH,
        )

    def _schedule(self, known: DeploymentResponse | None) -> Schedule:
        window = self._studio.window
        assert window is not None
        paused = known is not None and any(
            each.slug == SLUG and not each.active for each in known.schedules
        )
        return Cron(cron_of(window), timezone=window.timezone.key, active=not paused, slug=SLUG)

    def _must_be_ours(self, known: DeploymentResponse | None) -> None:
        if known is None or (
            known.parameters.get("root") == str(self._studio.root) and _host_tag() in known.tags
        ):
            return
        other = f"{known.parameters.get('root')} ({', '.join(known.tags)})"
        fault = Fault(
            file=self._studio.root,
            problem=f"on this Prefect server {self.name!r} is the studio {other} already",
            remedy="rename one of the folders, or remove the other deployment in Prefect; if it is "
            f"this machine that was renamed, remove {self._studio.state_dir / 'prefect'} where the "
            "server has SQLite, or give the name back",
        )
        raise BadInput([fault])

    async def bury(self) -> int:
        """Mark runs that died with an earlier server as crashed, shots included; how many nights.

        Call it before the runner starts: a living run looks the same.
        """
        async with get_client() as client:
            dead = await self._runs(client, _ALIVE)
            for night in dead:
                within = FlowRunFilterParentFlowRunId(any_=[night.id])
                alive = FlowRunFilter(parent_flow_run_id=within, state=_in_state(_ALIVE))
                for run in [*await client.read_flow_runs(flow_run_filter=alive), night]:
                    words = "what ran it had stopped; the ledger knows how far it came"
                    await client.set_flow_run_state(run.id, Crashed(message=words), force=True)
        return len(dead)

    async def busy(self) -> bool:
        """Whether a night runs, or will within a moment."""
        async with get_client() as client:
            if await self._runs(client, _ALIVE):
                return True
            soon = datetime.now(UTC) + AHEAD
            return any(
                run.expected_start_time is not None and run.expected_start_time <= soon
                for run in await self._runs(client, [StateType.SCHEDULED])
            )

    async def paused(self) -> bool:
        """Whether a person has paused the nights in Prefect."""
        async with get_client() as client:
            known = await client.read_deployment(self._known_id)
        return known.paused or any(not each.active for each in known.schedules)

    async def was_cancelled(self) -> bool:
        """Whether the last night that was run here was cancelled in Prefect."""
        begun = await self._ended_runs()
        return bool(begun) and begun[0].state_type is StateType.CANCELLED

    async def ran_since(self, instant: datetime) -> bool:
        """Whether a run has begun after `instant` and ended without breaking."""
        return any(
            run.state_type is StateType.COMPLETED
            and run.start_time is not None
            and run.start_time >= instant
            for run in await self._ended_runs()
        )

    async def broken_since(self, instant: datetime) -> str | None:
        """How the newest run that began after `instant` broke, in words; None: it did not."""
        begun = (run for run in await self._ended_runs() if _began(run) >= instant)
        newest = next(begun, None)
        if newest is None or newest.state_type not in (StateType.FAILED, StateType.CRASHED):
            return None
        words = None if newest.state is None else newest.state.message
        return without_user(words or "it says nothing")

    async def _ended_runs(self) -> list[FlowRun]:
        """The last ones first; without those that were cancelled before they began."""
        async with get_client() as client:
            runs = await client.read_flow_runs(
                deployment_filter=self._filter,
                flow_run_filter=FlowRunFilter(state=_in_state(_ENDED)),
                sort=FlowRunSort.END_TIME_DESC,
                limit=20,
            )
        return [run for run in runs if run.start_time is not None]

    async def is_another(self, flow_run_id: str | None) -> bool:
        """Whether a run is known here and was started by something else: by hand, say."""
        if flow_run_id is None:
            return False
        async with get_client() as client:
            try:
                run = await client.read_flow_run(UUID(flow_run_id))
            except (ObjectNotFound, ValueError):
                return False
        return run.deployment_id != self.id

    async def start(self) -> None:
        """Let a night be run as soon as the runner sees it."""
        async with get_client() as client:
            await client.create_flow_run_from_deployment(self._known_id)

    async def _runs(self, client: PrefectClient, states: list[StateType]) -> list[FlowRun]:
        return await client.read_flow_runs(
            deployment_filter=self._filter,
            flow_run_filter=FlowRunFilter(state=_in_state(states)),
            sort=FlowRunSort.EXPECTED_START_TIME_ASC,
        )

    @property
    def _filter(self) -> DeploymentFilter:
        return DeploymentFilter(id=DeploymentFilterId(any_=[self._known_id]))

    @property
    def _known_id(self) -> UUID:
        assert self.id is not None, "register() comes first"
        return self.id


def _began(run: FlowRun) -> datetime:
    assert run.start_time is not None, "only runs that began are asked"
    return run.start_time


def _in_state(states: list[StateType]) -> FlowRunFilterState:
    return FlowRunFilterState(type=FlowRunFilterStateType(any_=states))


def _host_tag() -> str:
    return f"host:{platform.node()}"


async def _by_name(client: PrefectClient, name: str) -> DeploymentResponse | None:
    try:
        return await client.read_deployment_by_name(name)
    except ObjectNotFound:
        return None
