"""The order of the night that runs: its lanes, made from its plan."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from reports.take import ShotStatus
from tasks.card_groups import Card
from tasks.chains import Work
from tasks.control import Control
from tasks.estimate import card_kind
from tasks.lanes import Lanes, Queued
from tasks.order_plan import rank_of, works_of
from tasks.plan import Plan
from tasks.pool import Pool

UNKNOWN = 2**62
"""Memory of a card that nobody can tell: all fits it, until it is seen not to."""


def lanes_for(
    plan: Plan,
    *,
    night: str,
    pool: Pool,
    control: Callable[[], Control],
    timer: Callable[[], float] = time.monotonic,
) -> Lanes:
    """The lanes of a night over this plan. `timer` counts seconds that are never put back."""
    said, begun = control(), timer()
    already = plan.terms.clock.seconds(datetime.now(UTC))  # workers took their time to start
    lines = {line.key: line for line in plan.lines}
    works = works_of(plan.lines, plan.terms, said)
    known = {work.id for work in works}
    # A held shot whose finish failed is finished again; that takes a lane, and no card.
    held = [
        Work(
            id=line.key,
            model=line.shot.recipe.model,
            seconds=0.0,
            priority=said.priority_of(line.key, line.shot.priority),
        )
        for line in plan.lines
        if line.status is ShotStatus.HELD and line.key not in known
    ]

    def rank(control: Control, key: str) -> int:
        line = lines[key]
        return rank_of(control.priority_of(key, line.shot.priority), line.postponed)

    def cards() -> list[Card]:
        return [
            Card(
                name=card.name,
                memory=UNKNOWN if card.memory is None else card.memory,
                speed=plan.terms.speed(card_kind(card.title)),
                group=card.host,
            )
            for card in pool.here
        ]

    return Lanes(
        lambda: pool.lanes,
        night=night,
        control=control,
        queued=Queued(works=[*works, *held], loads=plan.terms.loads, rank=rank),
        cards=cards,
        clock=lambda: already + timer() - begun,
    )
