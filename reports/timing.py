"""Where a night's time went, and its headline numbers."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from render.order import Receipt, Spent
from reports.busy import CardBusy, card_busy
from reports.records import DeliveryRecord, EventKind, EventRecord, NightRecord, TakeRecord
from reports.take import ShotStatus, TakeStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseSeconds:
    """Seconds that one phase took."""

    phase: str
    """`load`, `encode`, `stage 1` ..., `decode`, `finish`."""
    seconds: float
    resumed: bool = False
    """Taken from a checkpoint: the time was spent in an earlier try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """The night in numbers."""

    shots: int
    by_status: dict[ShotStatus, int]
    """Every status, zeros included."""
    first_take: int
    """Approved without any take having failed as a picture."""
    after_retake: int
    """Approved after at least one take had failed as a picture."""
    carried: int
    """Of the approved: delivered by an earlier night."""
    takes: int
    """Takes that this night rendered."""
    retakes: int
    """Takes that this night asked for because the one before failed as a picture."""
    retake_rate: float
    """Share of the shots that this night worked on that it had to retake; 0 without any."""
    phases: tuple[PhaseSeconds, ...]
    """Machine seconds of this night's takes and deliveries, summed by phase."""
    wall_seconds: float
    """From start to end (to the last trace of a night that has not ended), stops left out."""
    resumed: int
    """How often the night was taken up again."""
    cards: tuple[CardBusy, ...] = ()
    """How busy each card was with this night's takes; empty on a machine without cards."""

    @property
    def machine_seconds(self) -> float:
        """Sum over all phases."""
        return sum(phase.seconds for phase in self.phases)

    @property
    def busy(self) -> float:
        """Share of the cards' time in which a take computed, 0..1; 0 without cards."""
        seconds = sum(card.seconds for card in self.cards)
        return sum(card.computing for card in self.cards) / seconds if seconds > 0 else 0.0

    @property
    def approved(self) -> int:
        """Shots with a delivered file."""
        return self.by_status[ShotStatus.APPROVED]


def phases_of(receipt: Receipt) -> tuple[PhaseSeconds, ...]:
    """The phases of one take in the order in which they ran."""
    stages = (
        PhaseSeconds(phase=f"stage {stage.index + 1}", seconds=stage.seconds, resumed=stage.resumed)
        for stage in receipt.stages
    )
    return (
        PhaseSeconds(phase="load", seconds=receipt.load_seconds),
        PhaseSeconds(phase="encode", seconds=receipt.encode_seconds),
        *stages,
        PhaseSeconds(phase="decode", seconds=receipt.decode_seconds),
    )


def phases_spent(spent: Spent) -> tuple[PhaseSeconds, ...]:
    """The phases of a take that was stopped early, in the order in which they ran."""
    return tuple(
        PhaseSeconds(phase=span.kind, seconds=span.ended - span.begun) for span in spent.timeline
    )


def headline_of(
    night_id: str,
    shots: Sequence[tuple[ShotStatus, bool, Sequence[TakeRecord]]],
    deliveries: Iterable[DeliveryRecord],
    *,
    wall: float,
    resumed: int,
    stopped: Sequence[Spent] = (),
) -> Headline:
    """The headline of a night from its shots: (status, carried over, takes in order).

    `stopped` is what takes of this night had used that were stopped after an early stage.
    """
    by_status = Counter(status for status, _, _ in shots)
    approved = [takes for status, _, takes in shots if status is ShotStatus.APPROVED]
    later = sum(any(t.was_rejected or t.by_hand is not None for t in takes) for takes in approved)
    rendered = [take for _, _, takes in shots for take in takes if _rendered_in(take, night_id)]
    retakes = [
        sum(
            before.was_rejected and take.night == night_id
            for before, take in itertools.pairwise(takes)
        )
        for _, _, takes in shots
    ]
    worked = sum(any(_worked_in(take, night_id) for take in takes) for _, _, takes in shots)
    return Headline(
        shots=len(shots),
        by_status={status: by_status[status] for status in ShotStatus},
        first_take=len(approved) - later,
        after_retake=later,
        carried=sum(carried for _, carried, _ in shots),
        takes=len(rendered),
        retakes=sum(retakes),
        retake_rate=sum(map(bool, retakes)) / worked if worked else 0.0,
        phases=_summed(
            [
                *(phase for take in rendered if take.receipt for phase in phases_of(take.receipt)),
                *(phase for spent in stopped for phase in phases_spent(spent)),
                *(
                    PhaseSeconds(phase="finish", seconds=delivery.delivery.seconds)
                    for delivery in deliveries
                    if delivery.night == night_id
                ),
            ]
        ),
        wall_seconds=wall,
        resumed=resumed,
        cards=card_busy(
            [*(take.receipt for take in rendered if take.receipt is not None), *stopped]
        ),
    )


def wall_seconds(
    night: NightRecord,
    events: Sequence[EventRecord],
    takes: Iterable[TakeRecord],
    made: datetime,
) -> float:
    """Seconds the night ran. A stop between a kill and the resume is left out.

    `made` bounds it: nothing counts that the ledger did not see.
    """
    traces = [event.at for event in events]
    traces += [step.at for take in takes for step in take.transitions if step.night == night.id]
    traces = sorted(at for at in traces if night.started <= at <= made)
    stopped = 0.0
    for event in events:
        if event.kind is EventKind.RESUMED:
            before = max((at for at in traces if at < event.at), default=night.started)
            stopped += (event.at - before).total_seconds()
    end = night.ended or (traces[-1] if traces else night.started)
    return max(0.0, (end - night.started).total_seconds() - stopped)


def _rendered_in(take: TakeRecord, night_id: str) -> bool:
    return any(
        step.after is TakeStatus.RENDERED and step.night == night_id for step in take.transitions
    )


def _worked_in(take: TakeRecord, night_id: str) -> bool:
    return any(step.night == night_id for step in take.transitions)


def _summed(phases: Iterable[PhaseSeconds]) -> tuple[PhaseSeconds, ...]:
    totals: Counter[str] = Counter()
    for phase in phases:
        totals[phase.phase] += phase.seconds  # type: ignore[assignment]  # Counter adds floats too
    order = {"load": 0, "encode": 1, "decode": 3, "finish": 4}
    names = sorted(totals, key=lambda name: (order.get(name, 2), name))
    return tuple(PhaseSeconds(phase=name, seconds=totals[name]) for name in names)
