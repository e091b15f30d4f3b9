"""Names and shapes of the weights of a Wan transformer, as diffusers and as Wan's makers say them.

Files from the makers, from ComfyUI and from most trainers of LoRAs use the makers' names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from manifests.refusal import Refusal

_IN_BLOCK = {
    **{
        f"{theirs}.{letter}": f"{ours}.{name}"
        for theirs, ours in (("self_attn", "attn1"), ("cross_attn", "attn2"))
        for letter, name in (
            ("q", "to_q"),
            ("k", "to_k"),
            ("v", "to_v"),
            ("o", "to_out.0"),
            ("norm_q", "norm_q"),
            ("norm_k", "norm_k"),
        )
    },
    "cross_attn.k_img": "attn2.add_k_proj",
    "cross_attn.v_img": "attn2.add_v_proj",
    "cross_attn.norm_k_img": "attn2.norm_added_k",
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
    "norm3": "norm2",
    "modulation": "scale_shift_table",
}
_OUTSIDE = {
    "patch_embedding": "patch_embedding",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "img_emb.proj.0": "condition_embedder.image_embedder.norm1",
    "img_emb.proj.1": "condition_embedder.image_embedder.ff.net.0.proj",
    "img_emb.proj.3": "condition_embedder.image_embedder.ff.net.2",
    "img_emb.proj.4": "condition_embedder.image_embedder.norm2",
    "head.head": "proj_out",
    "head.modulation": "scale_shift_table",
}
PREFIX = "model.diffusion_model."
"""Before every name in some of ComfyUI's files."""
_BACK_IN_BLOCK = {ours: theirs for theirs, ours in _IN_BLOCK.items()}
_BACK_OUTSIDE = {ours: theirs for theirs, ours in _OUTSIDE.items()}


def diffusers_name(name: str) -> str:
    """A weight or layer by diffusers' name; one that is no name of the makers stays as it is."""
    return _renamed(name.removeprefix(PREFIX), _IN_BLOCK, _OUTSIDE)


def original_name(name: str) -> str:
    """A weight or layer by the makers' name, from diffusers' name."""
    return _renamed(name, _BACK_IN_BLOCK, _BACK_OUTSIDE)


def _renamed(name: str, inside: Mapping[str, str], outside: Mapping[str, str]) -> str:
    parts = name.split(".")
    block = parts[0] == "blocks" and len(parts) > 2
    head, names = (parts[:2], inside) if block else ([], outside)
    rest = parts[len(head) :]
    for cut in range(len(rest), 0, -1):
        found = names.get(".".join(rest[:cut]))
        if found is not None:
            return ".".join([*head, found, *rest[cut:]])
    return name


def wan_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Every weight of the transformer that `config` (its `config.json`) describes, by diffusers'
    name. Raises Refusal where a setting is missing or no number."""
    try:
        return dict(_shapes(config))
    except (KeyError, TypeError, ValueError) as error:
        raise Refusal(
            f"the base model's transformer/config.json is not one of Wan's ({error!r})",
            "name a base folder in the diffusers layout",
        ) from None


def _shapes(config: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    inner = int(config["num_attention_heads"]) * int(config["attention_head_dim"])
    patch = tuple(int(side) for side in config["patch_size"])
    volume = patch[0] * patch[1] * patch[2]
    yield "scale_shift_table", (1, 2, inner)
    yield "patch_embedding.weight", (inner, int(config["in_channels"]), *patch)
    yield "patch_embedding.bias", (inner,)
    yield from _linear("proj_out", inner, int(config["out_channels"]) * volume)
    told = "condition_embedder"
    yield from _linear(f"{told}.time_embedder.linear_1", int(config["freq_dim"]), inner)
    yield from _linear(f"{told}.time_embedder.linear_2", inner, inner)
    yield from _linear(f"{told}.time_proj", inner, 6 * inner)
    yield from _linear(f"{told}.text_embedder.linear_1", int(config["text_dim"]), inner)
    yield from _linear(f"{told}.text_embedder.linear_2", inner, inner)
    if config.get("image_dim") is not None:
        image = int(config["image_dim"])
        yield from _norm(f"{told}.image_embedder.norm1", image)
        yield from _linear(f"{told}.image_embedder.ff.net.0.proj", image, image)
        yield from _linear(f"{told}.image_embedder.ff.net.2", image, inner)
        yield from _norm(f"{told}.image_embedder.norm2", inner)
    for number in range(int(config["num_layers"])):
        yield from _block(f"blocks.{number}", config, inner)


def _block(block: str, config: Mapping[str, Any], inner: int) -> Iterator[tuple[str, Any]]:
    yield f"{block}.scale_shift_table", (1, 6, inner)
    for attention in ("attn1", "attn2"):
        for layer in ("to_q", "to_k", "to_v", "to_out.0"):
            yield from _linear(f"{block}.{attention}.{layer}", inner, inner)
        for norm in ("norm_q", "norm_k"):
            yield f"{block}.{attention}.{norm}.weight", (inner,)
    if config.get("added_kv_proj_dim") is not None:
        added = int(config["added_kv_proj_dim"])
        for layer in ("add_k_proj", "add_v_proj"):
            yield from _linear(f"{block}.attn2.{layer}", added, inner)
        yield f"{block}.attn2.norm_added_k.weight", (inner,)
    if config.get("cross_attn_norm", True):
        yield from _norm(f"{block}.norm2", inner)
    ffn = int(config["ffn_dim"])
    yield from _linear(f"{block}.ffn.net.0.proj", inner, ffn)
    yield from _linear(f"{block}.ffn.net.2", ffn, inner)


def _linear(name: str, into: int, out: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (out, into)
    yield f"{name}.bias", (out,)


def _norm(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)
