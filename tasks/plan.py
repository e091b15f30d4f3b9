"""The plan of a night: what is rendered in which order, how, how long, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from graphlib import TopologicalSorter
from typing import Any

from manifests.errors import Fault
from manifests.files import nearest_folder
from manifests.schedules import stage_sigmas
from manifests.sequence import shot_key
from manifests.settings import Studio
from manifests.shot import Manifest, Shot
from manifests.stage import Stage
from reports.fingerprint import shot_fingerprint
from reports.ledger_reads import LedgerReads
from reports.records import EventKind
from reports.take import ShotStatus
from reports.words import size_words
from tasks.card_groups import Card
from tasks.cards import cards_of
from tasks.estimate import Estimator, disk_bytes, start_words
from tasks.gpus import count_cards
from tasks.last_frame import approved_take, starting_from
from tasks.order_plan import Terms, in_order, not_of_these, reference_card, terms_for, with_waits
from tasks.plan_line import PlanLine, PlanStage
from tasks.plan_memory import UNSEEN, look_at_memory
from tasks.waiting import REFUSED


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A night before it runs."""

    lines: tuple[PlanLine, ...]
    """In the order in which they are rendered."""
    refused: tuple[Fault, ...]
    """What of the sheets will not run."""
    disk_free: int
    """Bytes free where takes are written."""
    terms: Terms
    """What the order is made from."""

    @property
    def open_lines(self) -> tuple[PlanLine, ...]:
        """The shots that there is work on."""
        return tuple(line for line in self.lines if line.is_open)

    @property
    def seconds(self) -> float:
        """Of the open shots, one take each."""
        return sum(line.estimate.seconds for line in self.open_lines)

    @property
    def disk_bytes(self) -> int:
        """Of the open shots, one take each."""
        return sum(line.disk_bytes for line in self.open_lines)

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain data, for `--json`."""
        return {
            "shots": [line.to_dict() for line in self.lines],
            "refused": [fault.to_dict() for fault in self.refused],
            "open": len(self.open_lines),
            "seconds": round(self.seconds, 1),
            "disk_bytes": self.disk_bytes,
            "disk_free": self.disk_free,
        }


def make_plan(
    sheets: Sequence[Manifest],
    *,
    studio: Studio,
    ledger: LedgerReads | None,
    now: datetime | None = None,
    ignore_hours: bool = False,
) -> Plan:
    """Plan these sheets. `ledger` is None where no night has run yet. Raises BadInput.

    The order is the dispatcher's (`tasks.dispatch`), for a night that begins at `now`.
    """
    cards = count_cards(studio.device, studio.placement, rules=studio.cards)
    estimator = Estimator(ledger, card=reference_card(studio))
    lines: list[PlanLine] = []
    shots = _bound([(sheet.name, shot) for sheet in sheets for shot in sheet.shots], ledger)
    for manifest, shot in shots:
        lines.append(_line(manifest, shot, ledger=ledger, cards=cards, estimator=estimator))
    lines = with_waits(lines, not_of_these(sheets, ledger))
    terms = terms_for(studio, estimator=estimator, lines=lines, now=now, ignore_hours=ignore_hours)
    return Plan(
        lines=in_order(lines, terms, studio),
        refused=tuple(fault for sheet in sheets for fault in sheet.faults),
        disk_free=shutil.disk_usage(nearest_folder(studio.root)).free,
        terms=terms,
    )


def _bound(shots: Sequence[tuple[str, Shot]], ledger: LedgerReads | None) -> list[tuple[str, Shot]]:
    """The shots, those bound whose first picture is there: the last frame of an approved take.

    Along a chain, the first ones first: what a shot starts from decides what it is.
    """
    found = {shot_key(manifest, shot.id): (manifest, shot) for manifest, shot in shots}
    if ledger is None:
        return list(found.values())
    starts = {key: shot.start_from for key, (_, shot) in found.items()}
    graph = {key: [start] if start in found else [] for key, start in starts.items()}
    for key in TopologicalSorter(graph).static_order():
        manifest, shot = found[key]
        if shot.start_from is not None:
            found[key] = manifest, _starting(shot, found.get(shot.start_from), ledger)
    return list(found.values())


def _starting(shot: Shot, before: tuple[str, Shot] | None, ledger: LedgerReads) -> Shot:
    """The shot bound, where the shot before it, of this night or of an earlier one, allows it."""
    assert shot.start_from is not None, "asked for only where it starts from another"
    manifest, _, name = shot.start_from.partition("/")
    if before is None:
        known = ledger.latest_shot(manifest, name)
    else:
        known = ledger.find_shot(manifest, name, shot_fingerprint(before[1]))
    return shot if known is None else starting_from(shot, approved_take(ledger, known.id))


def with_memory(plan: Plan, studio: Studio, *, card_gb: float | None = None) -> Plan:
    """The plan with the memory of every open shot; one that fits on no card is refused, with what
    would fit. Quick on a CPU, where nothing is measured."""
    looked_at = [line for line in plan.lines if line.is_open]
    shots = [(line.manifest, line.shot) for line in looked_at]
    verdicts = dict(
        zip(map(id, looked_at), look_at_memory(shots, studio=studio, card_gb=card_gb), strict=True)
    )
    lines, faults, refused = list[PlanLine](), list[Fault](), set[str]()
    for line in plan.lines:
        verdict = verdicts.get(id(line), UNSEEN)
        if verdict.fault is not None:
            faults.append(verdict.fault)
            refused.add(line.key)
            continue
        warnings = (*line.warnings, *verdict.warnings)
        lines.append(replace(line, memory=verdict.memory, warnings=warnings))
    terms = plan.terms
    if card_gb is not None:
        sizes = cards_of(studio, card_gb=card_gb)
        terms = replace(terms, cards=tuple(Card(name=c.name, memory=c.memory) for c in sizes))
    lines = with_waits(lines, lambda key: REFUSED if key in refused else None)
    return replace(
        plan,
        lines=in_order(lines, terms, studio),
        refused=(*plan.refused, *faults),
        terms=terms,
    )


def with_disk(plan: Plan, studio: Studio) -> Plan:
    """The plan, with the fault that the disk is too small for it among what is refused."""
    fault = disk_fault(plan, studio)
    return plan if fault is None else replace(plan, refused=(*plan.refused, fault))


def disk_fault(plan: Plan, studio: Studio) -> Fault | None:
    """The fault that the disk is too small for the plan; None when it is not."""
    needed = plan.disk_bytes + int(studio.stop_disk_gb * 1e9)
    if plan.disk_free >= needed:
        return None
    return Fault(
        file=studio.root,
        problem=(
            f"{size_words(plan.disk_free)} are free, the night may write "
            f"{size_words(plan.disk_bytes)} and {studio.stop_disk_gb:g} GB are to stay free"
        ),
        remedy="free some space, or give --root on a larger disk",
    )


def _line(
    manifest: str,
    shot: Shot,
    *,
    ledger: LedgerReads | None,
    cards: int | None,
    estimator: Estimator,
) -> PlanLine:
    stages = tuple(_planned(stage) for stage in shot.recipe.stages)
    sigma_warnings = (
        start_words(planned.stage, index, planned.start_sigma)
        for index, planned in enumerate(stages)
    )
    status, postponed, chosen = _history(manifest, shot, ledger)
    return PlanLine(
        manifest=manifest,
        shot=shot,
        stages=stages,
        estimate=estimator.of(shot.recipe),
        disk_bytes=disk_bytes(shot.recipe),
        status=status,
        chosen=chosen,
        postponed=postponed,
        warnings=(
            *shot.warnings,
            *(words for words in sigma_warnings if words),
            *_card_words(shot, cards),
        ),
    )


def _card_words(shot: Shot, cards: int | None) -> tuple[str, ...]:
    """A warning where more cards are asked for than render here; None: not known here."""
    if cards is None or shot.gpus <= cards:
        return ()
    here = "one card renders" if cards == 1 else f"{cards} cards render"
    return (f"gpus {shot.gpus}: {here} here, so the shot takes longer, and is the same",)


@lru_cache(maxsize=1024)
def _planned(stage: Stage) -> PlanStage:
    sigmas = stage_sigmas(stage)
    return PlanStage(stage=stage, start_sigma=sigmas[0], steps=len(sigmas) - 1)


def _history(
    manifest: str, shot: Shot, ledger: LedgerReads | None
) -> tuple[ShotStatus, bool, bool]:
    """Where the shot stands, whether a night before had no time for it, and whether it is held with
    an approved take, which could not be finished."""
    known = None
    if ledger is not None:
        known = ledger.find_shot(manifest, shot.id, shot_fingerprint(shot))
    if ledger is None or known is None:
        return ShotStatus.WAITING, False, False
    events = ledger.events_of(shot_id=known.id, kind=EventKind.POSTPONED)
    status = ledger.shot_status(known.id)
    chosen = status is ShotStatus.HELD and approved_take(ledger, known.id) is not None
    return status, bool(events), chosen
