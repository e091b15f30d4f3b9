"""Simulate a night of 10,000 shots on 64 mixed cards; how near is it to what no order can beat?

    python benchmarks/dispatch.py [--shots 10000] [--cards 64] [--json FILE]

Takes last what the planner expects, times a log-normal error of 20 %; every tenth shot starts from
the last frame of another. The makespan is held against the lower bound of the real lengths.
"""

from __future__ import annotations

import argparse
import heapq
import json
import platform
import random
import resource
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from tasks.chains import Work
from tasks.dispatch import Card, Dispatcher

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


def studio(cards: int, seed: int) -> list[Card]:
    """A mixed farm; at least one card of every kind."""
    dice = random.Random(seed)
    kinds = [KINDS[i] if i < len(KINDS) else dice.choice(KINDS) for i in range(cards)]
    return [
        Card(name=f"card{i}", memory=memory * GIB, speed=speed)
        for i, (memory, speed) in enumerate(kinds)
    ]


def sheet(shots: int, seed: int) -> list[Work]:
    """Shots of several models, priorities and lengths; one in ten follows another."""
    dice = random.Random(seed)
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
                after=after,
            )
        )
    return works


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
    by_name = {card.name: card for card in cards}
    events: list[tuple[float, int, str, str | None]] = [
        (0.0, i, card.name, None) for i, card in enumerate(cards)
    ]
    serial, idle, end, loaded, pulling = len(cards), set[str](), 0.0, 0, 0.0
    while events:
        now, _, card, finished = heapq.heappop(events)
        if finished is not None:
            dispatcher.done(finished)
            end = max(end, now)
        for asking in sorted({card, *idle}, key=lambda name: -by_name[name].speed):
            idle.discard(asking)
            warm_before = {model: dispatcher.is_warm(asking, model) for model in MODELS}
            begun = time.perf_counter()
            work = dispatcher.pull(asking, now)
            pulling += time.perf_counter() - begun
            if work is None:
                idle.add(asking)
                continue
            load = 0.0 if warm_before[work.model] else loads[work.model]
            loaded += load > 0
            serial += 1
            ends = now + load + real[work.id] / by_name[asking].speed
            heapq.heappush(events, (ends, serial, asking, work.id))
    if dispatcher.waiting:
        raise AssertionError(f"{dispatcher.waiting} shots were never taken")
    return {
        "makespan_hours": end / 3600,
        "bound_hours": bound / 3600,
        "ratio": end / bound,
        "loads": loaded,
        "plan_seconds": planned,
        "pull_milliseconds": 1000 * pulling / len(works),
    }


def main() -> None:
    """Simulate a few nights and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shots", type=int, default=10_000)
    parser.add_argument("--cards", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    nights = []
    for seed in range(given.seeds):
        works, cards = sheet(given.shots, seed), studio(given.cards, seed)
        nights.append(simulate(works, cards, error=0.2, seed=seed))
        print(seed, {key: round(value, 3) for key, value in nights[-1].items()}, flush=True)
    found = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "shots": given.shots,
        "cards": given.cards,
        "worst_ratio": max(night["ratio"] for night in nights),
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "nights": nights,
    }
    print({key: value for key, value in found.items() if key != "nights"})
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
