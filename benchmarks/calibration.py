"""What learned limits do, on drawn populations: false alarms by number of clips, and at rest.

    python -m benchmarks.calibration

Each metric is drawn from a log-normal whose median and 99 % quantile are those of the clean takes
of `benchmarks/pocket_sweep.py`, for whose family the limits are, and once more with a long tail (a
tenth of the clips drawn twice as wide). The `rest` column is a studio that calibrates after each of
15 nights of 100 clips and learns only from what its own limits approved. Drawn numbers, no renders:
it shows the arithmetic, not the metrics.
"""

from __future__ import annotations

import json
import math
import platform
import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

from manifests.files import write_atomic
from qc.calibration import learn
from qc.thresholds import Limit, load_thresholds

RESULTS = Path(__file__).with_name("results") / "calibration.json"
CLIPS = (50, 75, 100, 200, 300, 400, 1000, 4000)
REPEATS, FRESH = 40, 4000
NIGHTS, A_NIGHT = 15, 100
Draw = Callable[[random.Random], float]

METRICS = (
    *("flicker", "flicker_local", "boiling", "wobble"),
    *("colour_drift", "identity_drift", "collapse", "blur"),
)
SWEEP = RESULTS.with_name("pocket_sweep.json")
FAMILY = "pocket"
Clean = dict[str, dict[str, float]]
"""Metric -> quantile (`p50`, `p99`) -> value, of clean takes."""


def population(clean: Clean, metric: str, *, tail: bool) -> Draw:
    """Draws of a metric as clean takes have it."""
    middle, far = clean[metric]["p50"], clean[metric]["p99"]
    spread = math.log(far / middle) / 2.326

    def draw(rng: random.Random) -> float:
        wide = 2.0 if tail and rng.random() < 0.1 else 1.0
        return math.exp(rng.gauss(math.log(middle), wide * spread))

    return draw


def failing(limit: Limit, draw: Draw, *, seed: int) -> float:
    """Share of fresh clips beyond the limit's fail."""
    rng = random.Random(seed)
    return fmean(limit.beyond(draw(rng), limit.fail) for _ in range(FRESH))


def by_clips(default: Limit, draw: Draw) -> list[dict[str, float]]:
    """Limit and false alarms after so many clips, the mean over repeats, and the worst repeat."""
    rows = []
    for clips in CLIPS:
        limits, alarms = [], []
        for seed in range(REPEATS):
            rng = random.Random(seed)
            found = learn([draw(rng) for _ in range(clips)], limit=default)
            limits.append(found.fail or math.nan)
            alarms.append(failing(found, draw, seed=1000 + seed))
        rows.append(
            {
                "clips": clips,
                "fail": round(fmean(limits), 6),
                "false_alarms": round(fmean(alarms), 5),
                "worst": round(max(alarms), 5),
            }
        )
    return rows


def at_rest(default: Limit, draw: Draw) -> float:
    """False alarms after nights that learned from their own approvals alone."""
    rng, current, approved = random.Random(7), default, []
    for _ in range(NIGHTS):
        night = [draw(rng) for _ in range(A_NIGHT)]
        approved += [value for value in night if not current.beyond(value, current.fail)]
        current = learn(approved, limit=default)
    return round(failing(current, draw, seed=8), 5)


def main() -> None:
    """Print a line for each population and write the results."""
    table = load_thresholds(FAMILY)
    sweep = json.loads(SWEEP.read_text(encoding="utf-8"))
    found: list[dict[str, object]] = []
    for metric in METRICS:
        for tail in (False, True):
            draw, default = population(sweep["summary"], metric, tail=tail), table[metric]
            rows, rest = by_clips(default, draw), at_rest(default, draw)
            before = round(failing(default, draw, seed=9), 5)
            entry: dict[str, object] = {"metric": metric, "long_tail": tail}
            entry |= {
                "default_fail": default.fail,
                "default_false_alarms": before,
                "by_clips": rows,
                "at_rest": rest,
            }
            found.append(entry)
            shown = " ".join(f"{row['clips']}:{row['false_alarms']:.2%}" for row in rows)
            name = f"{metric} (long tail)" if tail else metric
            print(f"{name}: default {before:.2%}, by clips {shown}, rest {rest:.2%}")
    facts = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "defaults": table.name,
        "clean_takes_by": {"thresholds": sweep["thresholds"], "versions": sweep["versions"]},
        "populations": found,
    }
    write_atomic(RESULTS, json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
