"""Simulate a night of 10,000 shots on 64 mixed cards; how near is it to what no order can beat?

    python -m benchmarks.dispatch [--shots 10000] [--cards 64] [--wide 0.02] [--json FILE]

Takes last what the planner expects, times a log-normal error of 20 %; every tenth shot starts from
the last frame of another, and every tenth is due at some moment of the night. With `--wide` that
share of the shots is rendered by two cards of one host, of four cards each. The makespan is held
against the lower bound of the real lengths. The rule and the loop that drives it are those of
`rushes plan`; the night asks the same rule.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from tasks.card_groups import Card
from tasks.chains import Work
from tasks.dispatch import Dispatcher
from tasks.forecast import Slot, forecast

GIB = 2**30
KINDS = ((24, 0.25), (32, 0.45), (48, 0.5), (80, 0.8), (141, 1.0))
"""(memory in GiB, speed against the fastest) of cards that studios have side by side."""
MODELS = {
    "wan-1.3b": (12, 40.0, 45.0),
    "wan-5b": (22, 120.0, 70.0),
    "ltx-2": (44, 90.0, 120.0),
    "wan-14b": (46, 420.0, 180.0),
    "wan-14b-720p": (76, 1100.0, 180.0),
}
"""(GiB needed, mean seconds of a take on the fastest card, seconds to load)."""
A_HOST = 4
"""Cards of one host."""


def studio(cards: int, seed: int) -> list[Card]:
    """A mixed farm; at least one card of every kind."""
    dice = random.Random(seed)
    kinds = [KINDS[i] if i < len(KINDS) else dice.choice(KINDS) for i in range(cards)]
    return [
        Card(name=f"card{i}", memory=memory * GIB, speed=speed, group=f"host{i // A_HOST}")
        for i, (memory, speed) in enumerate(kinds)
    ]


def sheet(shots: int, seed: int, wide: float) -> list[Work]:
    """Shots of several models, priorities and lengths; one in ten follows another, and a share is
    `wide`: for two cards."""
    dice, widths = random.Random(seed), random.Random(f"two cards {seed}")
    works: list[Work] = []
    for index in range(shots):
        model = dice.choice(list(MODELS))
        memory, seconds, _ = MODELS[model]
        after = (dice.choice(works).id,) if works and dice.random() < 0.1 else ()
        works.append(
            Work(
                id=f"sh{index:05d}",
                model=model,
                seconds=seconds * dice.uniform(0.5, 2.0),
                memory=memory * GIB,
                priority=dice.choices((0, 1, 5), (0.8, 0.15, 0.05))[0],
                deadline=dice.uniform(4.0, 40.0) * 3600 if dice.random() < 0.1 else None,
                after=after,
                cards=2 if widths.random() < wide else 1,
            )
        )
    return works


def late_ones(slots: list[Slot], works: list[Work]) -> int:
    """How many shots with a deadline ended after it."""
    due = {work.id: work.deadline for work in works if work.deadline is not None}
    return sum(slot.ends > due[slot.work.id] for slot in slots if slot.work.id in due)


def simulate(works: list[Work], cards: list[Card], *, error: float, seed: int) -> dict[str, float]:
    """Run the night; the figures of it."""
    dice = random.Random(seed)
    real = {work.id: work.seconds * dice.lognormvariate(0.0, error) for work in works}
    loads = {model: load for model, (_, _, load) in MODELS.items()}
    begun = time.perf_counter()
    dispatcher = Dispatcher(works, cards=cards, load_seconds=loads)
    planned = time.perf_counter() - begun
    told = [replace(work, seconds=real[work.id]) for work in works]
    bound = Dispatcher(told, cards=cards, load_seconds=loads).lower_bound()
    begun = time.perf_counter()
    slots = forecast(dispatcher, cards=cards, loads=loads, seconds=lambda work: real[work.id])
    pulling = time.perf_counter() - begun
    if len(slots) < len(works):
        raise AssertionError(f"{len(works) - len(slots)} shots were never taken")
    end = max(slot.ends for slot in slots)
    # The same night by the same rule, had nobody told it of deadlines.
    untold = [replace(work, deadline=None) for work in works]
    dispatcher = Dispatcher(untold, cards=cards, load_seconds=loads)
    blind = forecast(dispatcher, cards=cards, loads=loads, seconds=lambda work: real[work.id])
    return {
        "dated": sum(work.deadline is not None for work in works),
        "late": late_ones(slots, works),
        "late_untold": late_ones(blind, works),
        "makespan_hours": end / 3600,
        "bound_hours": bound / 3600,
        "ratio": end / bound,
        "loads": sum(slot.loads for slot in slots),
        "plan_seconds": planned,
        "night_seconds": pulling,
    }


def run_nights(
    about: str | None,
    night: Callable[[int, int, int, float], dict[str, float]],
    *,
    shots: int,
    cards: int,
    seeds: int,
) -> None:
    """The command line of a simulation: `night` of so many shots, cards, a seed and a share of wide
    shots, a few times.

    Prints them, and writes them where `--json` says; the three numbers are the defaults.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--shots", type=int, default=shots)
    parser.add_argument("--cards", type=int, default=cards)
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--wide", type=float, default=0.0, help="share of shots on two cards")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    nights = []
    for seed in range(given.seeds):
        nights.append(night(given.shots, given.cards, seed, given.wide))
        print(seed, {key: round(value, 3) for key, value in nights[-1].items()}, flush=True)
    found = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "shots": given.shots,
        "cards": given.cards,
        "wide": given.wide,
        "worst_ratio": max(night["ratio"] for night in nights),
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "nights": nights,
    }
    print({key: value for key, value in found.items() if key != "nights"})
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def _night(shots: int, cards: int, seed: int, wide: float) -> dict[str, float]:
    return simulate(sheet(shots, seed, wide), studio(cards, seed), error=0.2, seed=seed)


if __name__ == "__main__":
    run_nights(__doc__, _night, shots=10_000, cards=64, seeds=5)
