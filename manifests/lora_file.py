"""What a LoRA's file says of itself, and whether it fits a model: by names and shapes alone.

Diffusers leaves out weights whose names it does not know, and says so in a log at best; so a LoRA
for another model would render a night without it. Here it is refused when the sheet is checked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from manifests.model_layers import ModelLayers
from manifests.refusal import Refusal
from manifests.wan_names import diffusers_name
from manifests.weight_file import read_weight_file

OF_TEXT = ("text_encoder", "lora_te", "connectors.", "text_embedding_projection.")
"""How names of weights begin that are the text encoder's."""

_DOWN = (".lora_A.weight", ".lora_down.weight", ".lora.down.weight", "_lora.down.weight")
_UP = (".lora_B.weight", ".lora_up.weight", ".lora.up.weight", "_lora.up.weight")
_BESIDE = (".alpha", ".diff", ".diff_b", ".dora_scale", ".lora_B.bias", ".lora_A.bias")
_OTHER_KINDS = (".hada_w1_a", ".lokr_w1", ".lokr_w2", ".lokr_w1_a", ".oft_blocks")
_MADE_FOR = (
    (("down_blocks", "up_blocks", "mid_block", "input_blocks"), "Stable Diffusion"),
    (("double_blocks", "single_blocks", "single_transformer_blocks"), "Flux or HunyuanVideo"),
    (("joint_blocks",), "Stable Diffusion 3"),
    (("self_attn", "cross_attn"), "Wan"),
    (("transformer_blocks",), "LTX or another transformer"),
)
_WAN_SIZES = {1536: "Wan 1.3B", 3072: "Wan 5B", 5120: "Wan 14B"}
_TRIGGERS = ("modelspec.trigger_phrase", "trigger_words", "trigger_word", "instance_prompt")
_LICENCES = ("modelspec.license", "license", "licence")
_BASES = ("modelspec.architecture", "ss_base_model_version", "base_model", "ss_sd_model_name")


@dataclass(frozen=True, slots=True)
class LoraLayer:
    """The two matrices of one layer."""

    down: tuple[int, ...]
    """(rank, inputs), with more sides for a convolution."""
    up: tuple[int, ...]
    """(outputs, rank)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraFile:
    """A LoRA as its file describes it."""

    path: Path
    layers: Mapping[str, LoraLayer]
    """By name as the file has it, without the ends that say which matrix it is."""
    text: int
    """Weights for the text encoder, which are not used."""
    size: int
    """Bytes."""
    triggers: str | None
    """Words that call it, where its maker wrote them down."""
    licence: str | None
    base: str | None
    """What it was trained on, in its maker's words."""
    whole: bool
    """Every layer has its `.alpha` too."""

    @property
    def ranks(self) -> tuple[int, ...]:
        """Ranks that occur, ascending."""
        return tuple(sorted({layer.down[0] for layer in self.layers.values()}))

    @property
    def made_for(self) -> str | None:
        """What its names say it was made for; None: not known."""
        names = " ".join(self.layers)
        return next(
            (kind for words, kind in _MADE_FOR if any(word in names for word in words)), None
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraFit:
    """A LoRA that fits a model."""

    matched: int
    """Layers that it changes."""
    layers: int
    """Layers that it holds."""

    @property
    def words(self) -> str | None:
        """What a person should know; None where all of it is used."""
        if self.matched == self.layers:
            return None
        left = self.layers - self.matched
        return f"{left} of its {self.layers} layers are not in the model and change nothing"


def read_lora(path: Path) -> LoraFile:
    """The header of a LoRA. Raises Refusal where the file is damaged or holds none."""
    file = read_weight_file(path)
    downs: dict[str, tuple[int, ...]] = {}
    ups: dict[str, tuple[int, ...]] = {}
    alphas, text = set(), 0
    for name, info in file.tensors.items():
        if name.startswith(OF_TEXT):
            text += 1
        elif found := _stem(name, _DOWN):
            downs[found] = info.shape
        elif found := _stem(name, _UP):
            ups[found] = info.shape
        elif found := _stem(name, (".alpha",)):
            alphas.add(found)
        elif name.endswith(_OTHER_KINDS):
            raise Refusal(
                f"{path.name!r} is a LyCORIS file (LoHa, LoKr or OFT), which diffusers does not "
                "load into this model",
                "use a plain LoRA, or have it extracted as one",
            )
    _check_pairs(path, downs, ups, text=text)
    return LoraFile(
        path=path,
        layers={name: LoraLayer(downs[name], ups[name]) for name in downs},
        text=text,
        size=file.size,
        triggers=_told(file.metadata, _TRIGGERS),
        licence=_told(file.metadata, _LICENCES),
        base=_told(file.metadata, _BASES),
        whole=alphas >= set(downs),
    )


def check_fit(lora: LoraFile, model: ModelLayers) -> LoraFit:
    """How a LoRA fits a model. Raises Refusal where it changes nothing or was made for another."""
    named = {name: layer for name in lora.layers if (layer := model.find(name)) is not None}
    file = lora.path.name
    if not named:
        first = min(lora.layers)
        made_for = f"it was made for {lora.made_for}, " if lora.made_for else ""
        raise Refusal(
            f"LoRA {file!r} changes nothing in model {model.model!r}: {made_for}its weights are "
            f"named {first}...",
            f"use a LoRA for {model.title}, {model.namings}",
        )
    for name, layer in sorted(named.items()):
        outputs, inputs = model.shapes[layer][:2]
        own = lora.layers[name]
        if (own.up[0], own.down[1]) != (outputs, inputs) or own.up[1] != own.down[0]:
            raise Refusal(
                f"LoRA {file!r} was made for another model than {model.model!r}: its {layer} is "
                f"{own.up[0]} x {own.down[1]}{_size(own.down[1])}, and the model's is "
                f"{outputs} x {inputs}{_size(inputs)}",
                "use the LoRA for this size of the model",
            )
    if model.is_wan and min(lora.layers).startswith("lora_unet_"):
        _check_musubi(lora, named)
    return LoraFit(matched=len(named), layers=len(lora.layers))


def _check_musubi(lora: LoraFile, named: Mapping[str, str]) -> None:
    """Raise Refusal unless the file has what diffusers asks of this naming: each block whole."""
    wanted = ("self_attn", "cross_attn")
    layers = {f"{part}.{letter}" for part in wanted for letter in "qkvo"} | {"ffn.0", "ffn.2"}
    held = set(named.values())
    blocks = {layer.split(".")[1] for layer in held if layer.startswith("blocks.")}
    complete = all(
        diffusers_name(f"blocks.{number}.{layer}") in held
        for number in range(len(blocks))
        for layer in layers
    )
    if not complete or not lora.whole or len(held) < len(lora.layers):
        raise Refusal(
            f"LoRA {lora.path.name!r} has only some layers in musubi's naming, which diffusers "
            "reads whole or not at all",
            "convert it with musubi-tuner's convert_lora.py (--target other)",
        )


def _check_pairs(
    path: Path,
    downs: Mapping[str, tuple[int, ...]],
    ups: Mapping[str, tuple[int, ...]],
    *,
    text: int,
) -> None:
    if not downs and not ups:
        if text:
            raise Refusal(
                f"{path.name!r} holds weights for the text encoder alone, which stays bare",
                "use a LoRA that changes what samples",
            )
        raise Refusal(f"{path.name!r} holds no LoRA", "name a LoRA, not a whole model")
    odd = sorted(set(downs) ^ set(ups))
    flat = [name for name in downs if name in ups and min(len(downs[name]), len(ups[name])) < 2]
    if odd or flat:
        raise Refusal(
            f"{path.name!r} is damaged: {(odd or flat)[0]} lacks one of its two matrices",
            "download or export it again",
        )


def _stem(name: str, ends: tuple[str, ...]) -> str | None:
    return next((name.removesuffix(end) for end in ends if name.endswith(end)), None)


def _size(width: int) -> str:
    return f" ({_WAN_SIZES[width]})" if width in _WAN_SIZES else ""


def _told(metadata: Mapping[str, str], keys: tuple[str, ...]) -> str | None:
    for key in keys:
        said = metadata.get(key)
        if isinstance(said, str) and said.strip():
            return _plain(said.strip())
    return None


def _plain(said: str) -> str:
    """Some tools write a JSON list of words."""
    try:
        words = json.loads(said)
    except ValueError:
        return said
    return ", ".join(map(str, words)) if isinstance(words, list) else said
