"""A step of a take as a Prefect task: tried again where the machine failed, never the picture."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE

from render.errors import MachineFailure

MACHINE_RETRIES = 2
"""Further tries of one step after a machine failure, in one night."""
P = ParamSpec("P")
R = TypeVar("R")


async def retry_machine_failures(_task: Any, _run: Any, state: Any) -> bool:
    """Whether Prefect may try again: only when the machine failed, never the picture."""
    error = await state.aresult(raise_on_failure=False)
    return isinstance(error, MachineFailure)


def machine_task(
    name: str,
) -> Callable[
    [Callable[P, Coroutine[Any, Any, R]]],
    Task[P, Coroutine[Any, Any, R]],
]:
    """Decorate a step that is about take `number` of a shot: `render take 2` on its page."""
    return task(
        name=name,
        task_run_name=f"{name} take {{number}}",
        retries=MACHINE_RETRIES,
        retry_delay_seconds=[1, 5],
        retry_condition_fn=retry_machine_failures,
        cache_policy=NO_CACHE,
        persist_result=False,
    )
