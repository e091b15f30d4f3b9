"""Finish an approved take and deliver it as the next version, which nothing ever overwrites."""

from __future__ import annotations

import json
import os
import platform
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from manifests.files import atomic_path, sha256_file, write_atomic
from render.order import Delivery, FinishOrder
from reports.records import TakeRecord
from reports.take import TakeStatus
from tasks.desk import Desk, Job, desk
from tasks.machine_task import machine_task
from tasks.naming import delivery_path, sidecar_path, take_folder

FINISH_BUDGET = 3600.0
"""Seconds after which finishing a take is taken for stuck."""


@machine_task("finish")
async def finish_shot(shot_id: int, number: int) -> str:
    """Finish and deliver take `number`; returns the path of the review file."""
    night = desk()
    return str(await finish_once(night, night.jobs[shot_id], number))


async def finish_once(night: Desk, job: Job, number: int) -> Path:
    """One try. A finish that was killed goes on behind the last step that is whole."""
    takes = night.ledger.takes_of(job.shot_id)
    take = takes[number - 1]
    assert take.receipt is not None, "only a rendered take is finished"
    assert take.status is TakeStatus.APPROVED, "only an approved take is finished"
    folder = take_folder(night.studio.takes_dir, take.take_id)
    delivery = _finished(folder)
    if delivery is None:
        final = folder / "final.mp4"
        # Left by a process that died before it could say what it had made.
        final.unlink(missing_ok=True)
        order = FinishOrder(
            take_id=take.take_id,
            shot=job.shot.id,
            clip=take.receipt.clip,
            finish=job.shot.finish,
            destination=final,
            device=night.torch_device,
        )
        delivery = await night.pool.finish(order, budget=FINISH_BUDGET)
        write_atomic(folder / "delivery.json", json.dumps(delivery.to_dict(), indent=1))
    version = night.ledger.next_version(job.manifest, job.shot.id)
    version, path = publish(night.studio.delivered_dir, job, delivery, first=version)
    sidecar = sidecar_path(path)
    write_atomic(sidecar, json.dumps(_sidecar(job, takes, take, delivery, version), indent=1))
    night.ledger.delivered(
        job.shot_id,
        take_id=take.take_id,
        delivery=replace(delivery, path=path),
        version=version,
        sidecar=sidecar,
        night=night.night_id,
    )
    return path


def publish(delivered_dir: Path, job: Job, delivery: Delivery, *, first: int) -> tuple[int, Path]:
    """Put the finished file at the first free version from `first` on: (version, path).

    A version that is already there with these very bytes is ours, from before a crash. The
    last step is a hard link from a temporary name: it fails where a file exists, so that two
    writers can never overwrite each other.
    """
    number = first
    while True:
        path = delivery_path(delivered_dir, job.manifest, job.shot.id, number)
        if path.exists():
            if sha256_file(path) == delivery.sha256:
                return number, path
            number += 1
            continue
        staged = path.with_name(f".{path.name}.staged")
        with atomic_path(staged) as temporary:
            shutil.copyfile(delivery.path, temporary)
            temporary.chmod(0o444)
        try:
            os.link(staged, path)
        except FileExistsError:
            continue
        finally:
            staged.unlink(missing_ok=True)
        return number, path


def _finished(folder: Path) -> Delivery | None:
    """What an earlier, killed try finished, if its file is still what it wrote."""
    try:
        delivery = Delivery.from_dict(json.loads((folder / "delivery.json").read_text()))
        whole = sha256_file(delivery.path) == delivery.sha256
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return delivery if whole else None


def _sidecar(
    job: Job, takes: list[TakeRecord], take: TakeRecord, delivery: Delivery, version: int
) -> dict[str, Any]:
    """Everything needed to know, years later, what this file is and why it was approved."""
    assert take.receipt is not None
    source = job.shot.source
    return {
        "shot": job.shot.id,
        "manifest": job.manifest,
        "version": version,
        "take": take.number,
        "file": {"name": f"{job.shot.id}_v{version:03d}.mp4", "sha256": delivery.sha256},
        "size": [delivery.width, delivery.height],
        "frames": delivery.frames,
        "fps": delivery.fps,
        "source": None
        if source is None
        else {"name": source.path.name, "sha256": source.sha256, "notes": list(source.notes)},
        "recipe": take.recipe.to_dict(),
        "recipe_fingerprint": take.recipe.fingerprint,
        "finish": {
            "upscaler": delivery.upscaler,
            "grade": delivery.grade,
            "checks": list(delivery.checks),
        },
        "takes": [_told(each) for each in takes],
        "software": {
            "python": platform.python_version(),
            **take.receipt.versions,
        },
    }


def _told(take: TakeRecord) -> dict[str, Any]:
    return {
        "take": take.number,
        "status": take.status.value,
        "seed": take.recipe.seed,
        "recipe_fingerprint": take.recipe.fingerprint,
        "remedy": take.remedy_words,
        "approved_by_hand": _by_hand(take),
        "receipt": None if take.receipt is None else take.receipt.to_dict(),
        "scores": None if take.scorecard is None else take.scorecard.to_dict(),
        "verdict": None if take.verdict is None else take.verdict.to_dict(),
    }


def _by_hand(take: TakeRecord) -> dict[str, str] | None:
    """That and when a person approved it against its verdict.

    A sidecar goes with the file to whoever gets it; the person's words stay in the house, in
    ledger and report.
    """
    return None if take.by_hand is None else {"at": take.transitions[-1].at.isoformat()}
