"""What a monitoring system is told, in the format of Prometheus. Read from the ledger when asked.

Nothing is counted in memory: the figures survive every restart, and any process may serve them.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from manifests.settings import Studio
from reports.ledger_counts import LedgerCounts
from reports.ledger_reads import LedgerReads
from reports.records import NightRecord
from reports.take import ShotStatus
from tasks.card_load import CardLoad, card_loads
from tasks.estimate import Estimator
from tasks.host_book import BOOK, read_book

Cards = Callable[[], tuple[CardLoad, ...]]


class StudioCollector(Collector):
    """The figures of one studio's root."""

    def __init__(self, studio: Studio, *, cards: Cards = card_loads) -> None:
        """`cards` reads the cards of this machine."""
        self._studio = studio
        self._cards = cards

    def collect(self) -> Iterator[Metric]:
        """Every metric family, anew. Raises a named error of the ledger where it cannot be read."""
        yield from self._machine()
        if self._studio.ledger_path.exists():
            path = self._studio.ledger_path
            with LedgerCounts(path) as counts, LedgerReads(path) as ledger:
                yield from _totals(counts)
                yield from _latest_night(ledger)
                yield from _in_hand(ledger, counts)

    def _machine(self) -> Iterator[Metric]:
        folder = self._studio.root
        with suppress(OSError):
            disk = shutil.disk_usage(folder)
            yield _gauge("rushes_disk_free_bytes", "Free where takes are written.", disk.free)
            yield _gauge("rushes_disk_total_bytes", "Size of that disk.", disk.total)
        yield _hosts(self._studio)
        families = [
            GaugeMetricFamily(f"rushes_gpu_{name}", words, labels=("gpu", "uuid"))
            for name, words in (
                ("busy_ratio", "Share of the last second in which a kernel ran, 0..1."),
                ("memory_used_bytes", "Memory in use on the card, by anybody."),
                ("memory_total_bytes", "Memory of the card."),
                ("temperature_celsius", "Of the chip."),
            )
        ]
        for card in self._cards():
            values = (card.busy, card.memory_used, card.memory_total, card.temperature)
            for family, value in zip(families, values, strict=True):
                family.add_metric((card.name, card.uuid), value)
        yield from families


def _hosts(studio: Studio) -> Metric:
    cards = GaugeMetricFamily(
        "rushes_host_cards", "Cards of the hosts that are here.", labels=("host", "state")
    )
    for host in (read_book(studio.state_dir / BOOK) or {}).get("hosts", []):
        states = Counter(_state(card) for card in host["cards"])
        for state in ("rendering", "idle", "away"):
            cards.add_metric((host["host"], state), states[state])
    return cards


def _state(card: Mapping[str, Any]) -> str:
    return "away" if card["away"] else "rendering" if card["takes"] else "idle"


def _totals(counts: LedgerCounts) -> Iterator[Metric]:
    takes = CounterMetricFamily(
        "rushes_takes", "Takes that came to a status.", labels=("preset", "status")
    )
    for (preset, status), number in sorted(counts.takes_by_end().items()):
        takes.add_metric((preset, status.value), number)
    verdicts = CounterMetricFamily(
        "rushes_verdicts", "Takes by what was decided and why.", labels=("decision", "failure")
    )
    for (decision, failure), number in sorted(counts.verdicts().items()):
        verdicts.add_metric((decision, failure), number)
    retakes = CounterMetricFamily("rushes_retakes", "Takes after the first of their shot.")
    retakes.add_metric((), counts.retakes())
    events = CounterMetricFamily(
        "rushes_events", "What happened beside the takes: machine failures ...", labels=("kind",)
    )
    for kind, number in sorted(counts.events().items()):
        events.add_metric((kind,), number)
    labels = ("part", "model")
    seconds = CounterMetricFamily("rushes_work_seconds", "Time of takes and parts.", labels=labels)
    pieces = CounterMetricFamily("rushes_work_pieces", "Takes and parts done.", labels=labels)
    for spent in counts.spent():
        seconds.add_metric((spent.what, spent.model), spent.seconds)
        pieces.add_metric((spent.what, spent.model), spent.count)
    yield from (takes, verdicts, retakes, events, seconds, pieces)


def _latest_night(ledger: LedgerReads) -> Iterator[Metric]:
    nights = ledger.nights()
    if not nights:
        return
    night = nights[-1]
    shots = GaugeMetricFamily(
        "rushes_night_shots", "Shots of the latest night by status.", labels=("status",)
    )
    found = _statuses(ledger, night)
    for status in ShotStatus:
        shots.add_metric((status.value,), found.count(status))
    yield shots
    queue = sum(status not in (ShotStatus.APPROVED, ShotStatus.HELD) for status in found)
    yield _gauge("rushes_queue_shots", "Shots of the latest night with work left.", queue)
    open_now = float(night.ended is None)
    yield _gauge("rushes_night_open", "1 while the latest night has not ended.", open_now)
    began = night.started.timestamp()
    yield _gauge("rushes_night_started_timestamp_seconds", "When it began.", began)


def _statuses(ledger: LedgerReads, night: NightRecord) -> list[ShotStatus]:
    return [ledger.shot_status(record.id) for record in ledger.shot_records(night.id)]


def _in_hand(ledger: LedgerReads, counts: LedgerCounts) -> Iterator[Metric]:
    running = GaugeMetricFamily(
        "rushes_take_running_seconds", "How long a take has been in work.", labels=("shot", "take")
    )
    expected = GaugeMetricFamily(
        "rushes_take_expected_seconds", "How long it should take.", labels=("shot", "take")
    )
    now, estimator = datetime.now(UTC), Estimator(ledger)
    for take in counts.in_hand():
        labels = (take.shot, take.take_id)
        running.add_metric(labels, (now - take.since).total_seconds())
        recipe = ledger.take(take.take_id).recipe
        expected.add_metric(labels, estimator.of(recipe).seconds)
    yield running
    yield expected


def _gauge(name: str, words: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, words, value=value)
