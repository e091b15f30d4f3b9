"""Latents kept at the end of every stage, so that no crash and no decode costs them.

A checkpoint is a safetensors file `stage-<n>.safetensors` in the take's folder, written whole or
not at all, before anything is decoded. It says which plan it belongs to (`render.keys`): only a
stage of the very same plan, on the same kind of device with the same libraries, goes on from it.
The plan of stage k knows nothing of stages after k, so a retake that changes only stage 2 starts
from stage 1's latents, which it finds in the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from render.errors import StaleCheckpoint, TensorFileDamaged
from render.order import StageReceipt
from render.sampling import Latents
from render.tensor_file import read_tensors, write_tensors

_HISTORY = "history."


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A stage's end, read back."""

    latents: Latents
    receipts: tuple[StageReceipt, ...]
    """Of this stage and all before it, as they were written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """Where a take goes on."""

    checkpoint: Checkpoint | None
    """The furthest one that holds; None: from the start."""
    notes: tuple[str, ...] = ()
    """Checkpoints that were found and not used, each with the reason."""


def checkpoint_path(folder: Path, k: int) -> Path:
    """Where the checkpoint of stage `k` (0-based) lies; people count from 1."""
    return folder / f"stage-{k + 1}.safetensors"


def save_checkpoint(
    folder: Path, latents: Latents, receipts: Sequence[StageReceipt], *, plan: str
) -> Path:
    """Write the end of the stage of the last receipt, durably. Raises OSError."""
    history = {_HISTORY + name: kept for name, kept in latents.history.items()}
    path = checkpoint_path(folder, len(receipts) - 1)
    write_tensors(
        path,
        {"latents": latents.x, **history},
        {
            "plan": plan,
            "sigma": latents.sigma,
            "stages": [_receipt_to_dict(receipt) for receipt in receipts],
        },
    )
    return path


def load_checkpoint(path: Path, *, plan: str, folder: Path | None = None) -> Checkpoint:
    """Read a checkpoint of `plan`; its receipts name files in `folder` (None: where it lies).

    Raises:
        FileNotFoundError: there is none.
        StaleCheckpoint: the file is damaged or belongs to another plan; the message names it.
    """
    try:
        found = read_tensors(path)
        told, tensors = found.told, found.tensors
        stages, sigma, belongs_to = told["stages"], float(told["sigma"]), told["plan"]
        receipts = tuple(_receipt_from_dict(stage, folder or path.parent) for stage in stages)
        x = tensors.pop("latents")
    except TensorFileDamaged as error:
        raise StaleCheckpoint(str(error)) from error
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StaleCheckpoint(f"{path.name} cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, KeyError) as error:
        raise StaleCheckpoint(f"{path.name} is no checkpoint ({error!r})") from error
    if belongs_to != plan:
        raise StaleCheckpoint(f"{path.name} belongs to another recipe or machine")
    history = {name.removeprefix(_HISTORY): kept for name, kept in tensors.items()}
    return Checkpoint(latents=Latents(x=x, sigma=sigma, history=history), receipts=receipts)


def resume(folder: Path, plans: Sequence[str]) -> Resumed:
    """The furthest checkpoint in `folder` that holds; `plans[k]` is the plan of stage k.

    Checkpoints that do not hold are named in the notes, never an error.
    """
    notes: list[str] = []
    for k in reversed(range(len(plans))):
        path = checkpoint_path(folder, k)
        try:
            return Resumed(checkpoint=load_checkpoint(path, plan=plans[k]), notes=tuple(notes))
        except FileNotFoundError:
            continue
        except StaleCheckpoint as error:
            notes.append(f"{error}: ignored")
    return Resumed(checkpoint=None, notes=tuple(notes))


def _receipt_to_dict(receipt: StageReceipt) -> dict[str, Any]:
    return {
        "index": receipt.index,
        "start_sigma": receipt.start_sigma,
        "steps": receipt.steps,
        "seed": receipt.seed,
        "latents_sha256": receipt.latents_sha256,
        "latents_std": receipt.latents_std,
    }


def _receipt_from_dict(data: dict[str, Any], folder: Path) -> StageReceipt:
    """A receipt of a stage that needs not run again."""
    return StageReceipt(
        **data, seconds=0.0, resumed=True, latents=checkpoint_path(folder, int(data["index"]))
    )
