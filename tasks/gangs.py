"""One take on several cards: one worker leads, the others lend it theirs."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from render.errors import NonFinite, OutOfMemory, WorkerLost
from render.ladder import Phase, Rung, allowed_rungs, known_rungs, next_rung
from render.order import Gang, Receipt, RenderOrder
from tasks.engine import Engine

GRACE_SECONDS = 10.0
"""What the other ranks of a gang get to end by themselves when one of them fails."""

Send = Callable[[str, str, RenderOrder], Coroutine[Any, Any, Any]]
"""Calls the worker of that name: (name, function, order)."""


async def render_together(
    order: RenderOrder,
    names: Sequence[str],
    *,
    budget: float,
    meetings: Path,
    engine: Engine,
    send: Send,
) -> Receipt:
    """Render a take on the cards of these workers, the first of which leads.

    They meet through a file in `meetings`, a folder of their host. Where memory runs out on one of
    them, all begin anew one rung further down the ladder, and go on from the take's checkpoints.
    Raises what the rank that failed met, and gives those that did not end well new processes: their
    common ground is gone.
    """
    allowed = allowed_rungs(order.recipe.concessions, on_card=order.device != "cpu")
    known = {name for rungs in order.rungs.values() for name in rungs}
    taken = list(known_rungs(known, allowed=allowed))
    begun_with = len(taken)
    while True:
        try:
            receipt = await _render_once(
                order, names, taken, budget=budget, meetings=meetings, engine=engine, send=send
            )
            return replace(receipt, forced=tuple(rung.value for rung in taken[begun_with:]))
        except OutOfMemory as error:
            rung = next_rung(Phase(error.phase), taken, allowed=allowed) if error.phase else None
            if rung is None:
                raise
            taken.append(rung)


async def _render_once(
    order: RenderOrder,
    names: Sequence[str],
    taken: Sequence[Rung],
    *,
    budget: float,
    meetings: Path,
    engine: Engine,
    send: Send,
) -> Receipt:
    """One try, all ranks with these rungs in force. Raises as `render_together`."""
    processes = engine.pids()
    meeting = meetings / f"meeting-{uuid.uuid4().hex}"
    gangs = [
        Gang(
            size=len(names),
            rank=rank,
            meeting=meeting,
            seconds=budget,
            rungs=tuple(rung.value for rung in taken),
        )
        for rank in range(len(names))
    ]
    calls = [
        asyncio.create_task(
            send(name, "lend" if gang.rank else "render", replace(order, gang=gang))
        )
        for name, gang in zip(names, gangs, strict=True)
    ]
    try:
        await asyncio.wait(calls, return_when=asyncio.FIRST_EXCEPTION)
        await asyncio.wait(calls, timeout=GRACE_SECONDS)
        reason = _reason(calls)  # before the rest is killed, which is no reason
        await _restart_broken(dict(zip(names, calls, strict=True)), processes, engine)
    finally:
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        meeting.unlink(missing_ok=True)
    if reason is not None:
        raise reason
    receipt = calls[0].result()
    assert isinstance(receipt, Receipt)
    return receipt


async def _restart_broken(
    calls: Mapping[str, asyncio.Task[Any]], processes: dict[str, int], engine: Engine
) -> None:
    """Restart the workers of the ranks that did not end well.

    Those that have a new process already, because the old one of `processes` died, keep it.
    """
    for name, call in calls.items():
        now = engine.pids().get(name)
        ended_well = call.done() and isinstance(call.exception(), NonFinite | None)
        if not ended_well and now == processes.get(name, now):
            await engine.restart(name)


def _reason(calls: list[asyncio.Task[Any]]) -> BaseException | None:
    """Why a gang failed, of those of its calls that ended; None where none failed."""
    errors = [call.exception() for call in calls if call.done()]
    failed = [error for error in errors if error is not None]
    # A rank that lost another says so; what the other met is the reason.
    return min(failed, key=lambda error: isinstance(error, WorkerLost), default=None)
