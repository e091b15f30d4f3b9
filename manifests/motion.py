"""What makes an image model film: the motion adapter beside it, and the noise levels they share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from manifests.families import Family
from manifests.model_folder import check_safe, check_weights, folder_id, read_json
from manifests.refusal import Refusal
from manifests.stage import BETAS, Noise

HUB_ADAPTER = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+@[0-9a-f]{40}")
"""A motion adapter on the hub: `owner/name@commit`."""

_NOISES = {"linear": Noise.EPS_LINEAR, "scaled_linear": Noise.EPS}
_LEVELS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """What the motion modules of a model add to what is known of it."""

    family: Family
    """With the frames that its motion modules can hold together."""
    noise: Noise
    adapter_id: str | None
    """Hub id or hash of an adapter that lies beside the model; None where there is none."""


def check_motion(
    family: Family,
    *,
    index: Mapping[str, Any],
    folder: Path | None,
    adapter: str | None,
    betas: str | None,
) -> Motion:
    """Look at the motion adapter and the scheduler of a model. Raises Refusal.

    Args:
        family: of the model.
        index: its `model_index.json`; empty for a model on the hub, which is not asked here.
        folder: where it lies; None on the hub.
        adapter: folder of its motion adapter or `owner/name@commit`, as the studio says.
        betas: `linear` or `scaled_linear`, as the studio says.
    """
    if not family.bare_pipelines:
        for key, value in (("motion_adapter", adapter), ("betas", betas)):
            if value is not None:
                raise Refusal(f"a model of {family.title} has no {key}", f"drop {key}:")
        return Motion(family=family, noise=family.noise, adapter_id=None)
    bare = index.get("_class_name") in family.bare_pipelines or (not index and adapter is not None)
    if bare and adapter is None:
        raise Refusal(
            "it is an image model and has no motion adapter beside it",
            "add motion_adapter: with the folder of one for Stable Diffusion 1.5",
        )
    if adapter is not None and not bare:
        raise Refusal("it holds its motion modules itself", "drop motion_adapter:")
    noise = _noise(folder, betas=betas, bare=bare, family=family)
    if adapter is not None:
        frames, adapter_id = _adapter(adapter, image=folder)
    else:
        whole = None if folder is None else _config(folder / "motion_adapter")
        frames, adapter_id = None if whole is None else _frames(whole), None
    return Motion(family=_holding(family, frames), noise=noise, adapter_id=adapter_id)


def _adapter(adapter: str, *, image: Path | None) -> tuple[int | None, str]:
    """Frames it can hold together (None: not known here) and its id; it must fit the `image`
    model where that lies here."""
    if HUB_ADAPTER.fullmatch(adapter):
        return None, adapter
    folder = Path(adapter)
    if not folder.is_dir():
        raise Refusal(
            f"its motion adapter {adapter!r} is not there",
            "correct motion_adapter:, a folder or owner/name@commit",
        )
    config = _config(folder)
    check_safe(folder)
    check_weights(folder)
    if image is not None:
        _check_fit(config, read_json(image / "unet" / "config.json"), folder)
    return _frames(config), folder_id(folder)


def _check_fit(motion: Mapping[str, Any], image: Mapping[str, Any], folder: Path) -> None:
    """Raise Refusal where the modules were made for another network (Stable Diffusion XL, say)."""
    for theirs, ours in (
        ("block_out_channels", "block_out_channels"),
        ("motion_layers_per_block", "layers_per_block"),
    ):
        if motion.get(theirs) is not None and motion[theirs] != image.get(ours):
            raise Refusal(
                f"the motion adapter {folder} was made for {ours} {motion[theirs]}, "
                f"and this model has {image.get(ours)}",
                "use a motion adapter for Stable Diffusion 1.5",
            )


def _config(folder: Path) -> dict[str, Any]:
    config = read_json(folder / "config.json")
    if config.get("_class_name") != "MotionAdapter":
        raise Refusal(
            f"{folder} holds a {config.get('_class_name')} and no MotionAdapter",
            "name the folder of a motion adapter in the diffusers layout",
        )
    if config.get("conv_in_channels"):
        raise Refusal(
            f"{folder} is an adapter that also takes a picture (PIA)", "use one without conv_in"
        )
    return config


def _frames(config: Mapping[str, Any]) -> int | None:
    frames = config.get("motion_max_seq_length")
    return frames if isinstance(frames, int) else None


def _holding(family: Family, frames: int | None) -> Family:
    most = family.max_frames if frames is None else min(frames, family.max_frames)
    return replace(family, max_frames=most, min_frames=min(family.min_frames, most))


def _noise(folder: Path | None, *, betas: str | None, bare: bool, family: Family) -> Noise:
    """The kind of noise; what the folder's scheduler was trained with is held against it."""
    if folder is None:
        return family.noise if betas is None else _NOISES[betas]
    scheduler = read_json(folder / "scheduler" / "scheduler_config.json")
    predicts = scheduler.get("prediction_type", "epsilon")
    if predicts != "epsilon":
        raise Refusal(f"its scheduler predicts {predicts!r}", "use a model that predicts epsilon")
    trained = (scheduler.get("beta_start"), scheduler.get("beta_end"))
    levels = scheduler.get("num_train_timesteps", _LEVELS)
    if trained != BETAS or levels != _LEVELS or scheduler.get("trained_betas") is not None:
        raise Refusal(
            f"its scheduler has betas {trained[0]}..{trained[1]} over {levels} levels",
            f"use a model with {BETAS[0]}..{BETAS[1]} over {_LEVELS}, as Stable Diffusion 1.5",
        )
    if betas is not None:
        return _NOISES[betas]
    # NOTE: an image model's scheduler says scaled_linear; motion modules are trained on linear.
    named = "linear" if bare else scheduler.get("beta_schedule")
    if named not in _NOISES:
        raise Refusal(f"its scheduler's betas are {named!r}", "add betas: linear or scaled_linear")
    return _NOISES[named]
