"""Latents kept at the end of every stage, so that no crash and no decode costs them.

A checkpoint is a safetensors file `stage-<n>.safetensors` in the take's folder, written whole or
not at all, before anything is decoded. Its metadata says which plan it belongs to: only a stage
of the very same plan, on the same kind of device with the same libraries, goes on from it. The
plan of stage k knows nothing of stages after k, so a retake that changes only stage 2 can start
from stage 1's latents.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from manifests.files import write_atomic
from manifests.stage import Recipe
from render.errors import StaleCheckpoint
from render.order import StageReceipt
from render.sampling import Latents

FORMAT = 1
"""Raised when the file's layout, or the arithmetic of sampling, changes."""

_NOT_PIXELS = ("preset", "model", "fps", "stages", "concessions")
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What decides pixels beside the recipe."""

    source_sha256: str | None
    """Of the still that is really rendered."""
    device: str
    """Kind of device: `cpu`, or the card's name."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """torch and diffusers."""


def prefix_fingerprint(recipe: Recipe, k: int) -> str:
    """SHA-256 over what decides the latents at the end of stage `k` (0-based), hex.

    Left out, because no pixel depends on it: later stages, the names of preset and model
    (`model_id` says what they are), the frame rate, and where a LoRA's file lies.

    Raises IndexError when there is no stage `k`.
    """
    if not 0 <= k < len(recipe.stages):
        raise IndexError(f"stage {k} of a recipe with {len(recipe.stages)} stages")
    plain = recipe.to_dict()
    stages = [dict(stage) for stage in plain["stages"][: k + 1]]
    for stage in stages:
        stage["loras"] = [
            {"sha256": lora["sha256"], "strength": lora["strength"]} for lora in stage["loras"]
        ]
    kept = {key: value for key, value in plain.items() if key not in _NOT_PIXELS}
    return _sha256_json({**kept, "stages": stages})


def plan_hash(recipe: Recipe, k: int, surroundings: Surroundings) -> str:
    """What a checkpoint of stage `k` must carry to be used: recipe, still, device, libraries."""
    return _sha256_json(
        {
            "format": FORMAT,
            "prefix": prefix_fingerprint(recipe, k),
            "source": surroundings.source_sha256,
            "device": surroundings.device,
            "versions": dict(surroundings.versions),
        }
    )


def checkpoint_path(folder: Path, k: int) -> Path:
    """Where the checkpoint of stage `k` (0-based) lies; people count from 1."""
    return folder / f"stage-{k + 1}.safetensors"


def save_checkpoint(
    folder: Path, latents: Latents, receipts: Sequence[StageReceipt], *, plan: str
) -> None:
    """Write the end of the stage of the last receipt, durably. Raises OSError."""
    tensors = {"latents": latents.x.detach().cpu().contiguous()}
    for name, kept in latents.history.items():
        tensors[_HISTORY + name] = kept.detach().cpu().contiguous()
    told = {
        "plan": plan,
        "sigma": latents.sigma,
        "sha256": _content_sha256(tensors),
        "stages": [_receipt_to_dict(receipt) for receipt in receipts],
    }
    path = checkpoint_path(folder, len(receipts) - 1)
    write_atomic(path, save(tensors, metadata={"rushes": json.dumps(told)}))


def load_checkpoint(path: Path, *, plan: str) -> Checkpoint:
    """Read a checkpoint of `plan`.

    Raises:
        StaleCheckpoint: the file is damaged or belongs to another plan; the message names it.
    """
    try:
        with safe_open(path, framework="pt") as handle:
            told: dict[str, Any] = json.loads(handle.metadata()["rushes"])
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
        sha256, stages, sigma = told["sha256"], told["stages"], float(told["sigma"])
        receipts = tuple(_receipt_from_dict(stage, path.parent) for stage in stages)
        x = tensors.pop("latents")
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise StaleCheckpoint(f"{path.name} is damaged ({error}): ignored") from error
    if told.get("plan") != plan:
        raise StaleCheckpoint(f"{path.name} belongs to another recipe or machine: ignored")
    if _content_sha256({"latents": x, **tensors}) != sha256:
        raise StaleCheckpoint(f"{path.name} is damaged (its hash differs): ignored")
    history = {name.removeprefix(_HISTORY): kept for name, kept in tensors.items()}
    return Checkpoint(latents=Latents(x=x, sigma=sigma, history=history), receipts=receipts)


def resume(folder: Path, plans: Sequence[str]) -> Resumed:
    """The furthest checkpoint in `folder` that holds; `plans[k]` is the plan of stage k.

    Checkpoints that do not hold are named in the notes, never an error.
    """
    notes: list[str] = []
    for k in reversed(range(len(plans))):
        path = checkpoint_path(folder, k)
        if not path.exists():
            continue
        try:
            return Resumed(checkpoint=load_checkpoint(path, plan=plans[k]), notes=tuple(notes))
        except StaleCheckpoint as error:
            notes.append(str(error))
    return Resumed(checkpoint=None, notes=tuple(notes))


def tensor_sha256(x: Tensor) -> str:
    """SHA-256 over a tensor's values (little-endian, row by row), hex."""
    data = x.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
    return hashlib.sha256(data).hexdigest()


def _content_sha256(tensors: Mapping[str, Tensor]) -> str:
    shapes = {name: [list(tensor.shape), str(tensor.dtype)] for name, tensor in tensors.items()}
    hashes = {name: tensor_sha256(tensor.reshape(-1)) for name, tensor in tensors.items()}
    return _sha256_json({"shapes": shapes, "hashes": hashes})


def _sha256_json(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


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
