"""How well the metrics and the shipped limits tell spoilt clips from clean ones.

    python -m benchmarks.qc_bench [--quick] [--clean 120] [--scenes 12] [--graded 8]
        [--half "held out"] [--size 832 480] [--reels FOLDER] [--film-only] [--no-lpips]
        [--json FILE]

Limits are chosen on the training half alone; the held-out half (other photographs, other seeds) is
what counts. LPIPS runs on the random backbone, or not at all: no limit of it fails a clip. The
results file is written anew behind every twenty clips. Photographs: photographs.py beside this.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import torch

from benchmarks.qc_bench.bench import Case, cases, summary
from benchmarks.qc_bench.photographs import missing
from benchmarks.qc_bench.reels import Plan, reels
from benchmarks.qc_bench.scenes import HALVES
from manifests.files import write_atomic
from qc.lpips import load_backbone
from qc.measure import versions_of
from qc.thresholds import load_thresholds

_KEEP_EVERY = 20


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short look, no figures")
    parser.add_argument("--clean", type=int, default=120, help="clean clips of each half")
    parser.add_argument("--scenes", type=int, default=12, help="scenes of each defect and half")
    parser.add_argument("--graded", type=int, default=8, help="of them in all three grades")
    parser.add_argument("--half", choices=HALVES, help="this half only")
    parser.add_argument(
        "--size", type=int, nargs=2, help="of all clips, in place of three small ones"
    )
    parser.add_argument("--reels", type=Path, help="keep the clips here, and take what is there")
    parser.add_argument("--film-only", action="store_true", help="film; measure nothing")
    parser.add_argument("--no-lpips", action="store_true", help="leave LPIPS out")
    parser.add_argument("--json", type=Path, help="write the results here")
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    size = tuple(asked.size) if asked.size else None
    plan = Plan(clean=asked.clean, scenes=asked.scenes, graded=asked.graded, size=size)
    if asked.quick:
        plan = Plan(clean=2, scenes=1, frames=17, size=size)
    halves = (asked.half,) if asked.half else HALVES
    if faults := [words for half in halves for words in missing(half)]:
        parser.exit(2, "\n".join(faults) + "\n")
    with tempfile.TemporaryDirectory() as own:
        folder = asked.reels or Path(own)
        folder.mkdir(parents=True, exist_ok=True)
        if asked.film_only:
            for half in halves:
                print(half, sum(1 for _ in reels(half, plan, folder=folder)), "clips")
            return
        found = run(plan, halves, folder=folder, lpips=not asked.no_lpips, kept=asked.json)
    print(table(found))


def run(
    plan: Plan, halves: tuple[str, ...], *, folder: Path, lpips: bool, kept: Path | None
) -> dict[str, Any]:
    """The results of a plan, as they are committed; of what was measured when it is interrupted.

    `kept`: where they are written, also while it runs.
    """
    began, cpu = time.perf_counter(), time.process_time()
    backbone = load_backbone(weights_dir=None) if lpips else None
    measured: dict[str, list[Case]] = {half: [] for half in halves}

    def results(*, whole: bool) -> dict[str, Any]:
        told = {
            "date": datetime.now(UTC).date().isoformat(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread, shared",
            "seconds": round(time.perf_counter() - began, 1),
            "cpu_seconds": round(time.process_time() - cpu, 1),
            "thresholds": load_thresholds("default").name,
            "backbone": backbone.name if backbone else "none",
            "versions": versions_of(lpips=lpips),
            "sizes": plan.sizes,
            "scenes_of_each_defect": {"middle": plan.scenes, "all_grades": plan.graded},
            "whole": whole,
            "halves": {half: summary(found, plan) for half, found in measured.items()},
        }
        if kept:
            write_atomic(kept, json.dumps(told, indent=1) + "\n")
        return told

    try:
        for half in halves:
            for case in cases(half, plan, lpips=backbone, folder=folder):
                measured[half].append(case)
                if len(measured[half]) % _KEEP_EVERY == 0:
                    results(whole=False)
    except KeyboardInterrupt:
        return results(whole=False)
    return results(whole=True)


def table(found: dict[str, Any]) -> str:
    """The results as Markdown: weak / middle / strong."""
    lines = []
    for half, result in found["halves"].items():
        share = result["false_alarm_share"]
        lines += [
            f"**{half}**: {result['false_alarms']} of {result['clean_clips']} clean clips failed"
            + (f" ({share:.1%})" if share is not None else ""),
            "",
            "| defect | clips | metric | AUC | sent back | by its class |",
            "|---|---|---|---|---|---|",
        ]
        for name, row in result["defects"].items():
            back, own = _grades(row["sent_back"]), _grades(row["by_its_class"])
            clips = " / ".join(map(str, row["clips"].values()))
            for at, (metric, aucs) in enumerate(row["auc"].items()):
                more = f"{back} | {own}" if at == 0 else "|"
                first = f"{name} | {clips}" if at == 0 else "|"
                lines.append(f"| {first} | `{metric}` | {_grades(aucs)} | {more} |")
        lines.append("")
    return "\n".join(lines)


def _grades(values: dict[str, float | None]) -> str:
    return " / ".join("-" if value is None else f"{value:.2f}" for value in values.values())


if __name__ == "__main__":
    main()
