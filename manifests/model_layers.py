"""The layers of a model that a LoRA can change: names and shapes from the headers of its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from manifests.hub import hub_folder
from manifests.model_folder import check_weights
from manifests.models import Model
from manifests.motion import HUB_ADAPTER
from manifests.wan_names import diffusers_name, original_name
from manifests.weight_file import WeightFile, read_weight_file

_FLAT = "lora_unet_"
_WAN = ("wan", "pocket")


@dataclass(frozen=True)
class ModelLayers:
    """Layers by name, and how the files of LoRAs may name them."""

    model: str
    """Name of the model in the studio's list."""
    family: str
    title: str
    """Of the family, for people."""
    shapes: Mapping[str, tuple[int, ...]]
    """(outputs, inputs, ...) of every layer with a matrix, by diffusers' name."""

    @property
    def is_wan(self) -> bool:
        """LoRAs for it come in the names of Wan's makers too."""
        return self.family in _WAN

    @property
    def namings(self) -> str:
        """What its names may look like, for people."""
        if self.is_wan:
            return "named transformer.blocks..., diffusion_model.blocks... or lora_unet_blocks_..."
        return "in the naming of diffusers, of kohya or of the model's makers"

    def find(self, name: str) -> str | None:
        """The layer that a LoRA's file calls `name`; None where there is none."""
        if name.startswith(_FLAT):
            return self._flat.get(name.removeprefix(_FLAT))
        for prefix, to_ours in self._prefixes.items():
            if name.startswith(prefix):
                ours = to_ours(name.removeprefix(prefix))
                return ours if ours in self.shapes else None
        return None

    @property
    def _prefixes(self) -> Mapping[str, Callable[[str], str]]:
        match self.family:
            case "animatediff":
                return {"unet.": _unprocessed}
            case "ltx2":
                return {"transformer.": str, "diffusion_model.": _ltx2_name}
        return {"transformer.": str, "diffusion_model.": _from_makers}

    @cached_property
    def _flat(self) -> dict[str, str]:
        """Layers by the name that kohya's tools make of them: `_` in place of every dot."""
        name = original_name if self.is_wan else str
        return {name(layer).replace(".", "_"): layer for layer in self.shapes}


def layers_of(model: Model) -> ModelLayers:
    """The layers of a model's first network, its motion modules included. Raises Refusal."""
    shapes: dict[str, tuple[int, ...]] = {}
    for file in _files(model):
        for weight, info in file.tensors.items():
            name = diffusers_name(weight) if model.family.name in _WAN else weight
            if name.endswith(".weight") and len(info.shape) > 1:
                shapes[name.removesuffix(".weight")] = info.shape
    return ModelLayers(
        model=model.name, family=model.family.name, title=model.family.title, shapes=shapes
    )


def _files(model: Model) -> tuple[WeightFile, ...]:
    if model.transformer is not None:
        return (read_weight_file(model.transformer),)
    if not model.family.bare_pipelines:
        return check_weights(model.folder / "transformer")
    motion = model.folder / "motion_adapter"
    if model.motion_adapter is not None:
        place, _, commit = model.motion_adapter.partition("@")
        on_hub = HUB_ADAPTER.fullmatch(model.motion_adapter)
        motion = hub_folder(place, revision=commit) if on_hub else Path(model.motion_adapter)
    return (*check_weights(model.folder / "unet"), *check_weights(motion))


def _from_makers(name: str) -> str:
    """Diffusers' name of a layer of Wan; empty for one that is in diffusers' naming already,
    which is not read under this prefix."""
    ours = diffusers_name(name)
    return "" if ours == name and original_name(name) != name else ours


def _unprocessed(name: str) -> str:
    """Of old files, which named attention by its processor: `attn1.processor.to_q`."""
    head, processor, tail = name.partition(".processor.")
    if not processor:
        return name
    return f"{head}.{'to_out.0' if tail == 'to_out' else tail}"


_LTX2 = {
    "patchify_proj": "proj_in",
    "audio_patchify_proj": "audio_proj_in",
    "adaln_single": "time_embed",
    "audio_adaln_single": "audio_time_embed",
    "av_ca_video_scale_shift_adaln_single": "av_cross_attn_video_scale_shift",
    "av_ca_audio_scale_shift_adaln_single": "av_cross_attn_audio_scale_shift",
    "av_ca_a2v_gate_adaln_single": "av_cross_attn_video_a2v_gate",
    "av_ca_v2a_gate_adaln_single": "av_cross_attn_audio_v2a_gate",
    "prompt_adaln_single": "prompt_adaln",
    "audio_prompt_adaln_single": "audio_prompt_adaln",
}
"""Layers outside the blocks, as LTX-2's makers call them."""


def _ltx2_name(name: str) -> str:
    head, dot, tail = name.partition(".")
    return _LTX2.get(head, head) + dot + tail
