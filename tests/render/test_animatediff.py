"""AnimateDiff: whole or refused, what it is told, LoRAs, whole takes, and their memory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from plain_render import latents_of, render
from safetensors.torch import load_file, save_file
from tiny_animatediff import (
    COUNT,
    FRAMES,
    HEIGHT,
    PROMPT,
    TEXT,
    TOKENS,
    WIDTH,
    load_tiny,
    recipe_tiny,
    ref_tiny,
)

from manifests.files import sha256_file
from manifests.noise import table_of
from manifests.schedules import start_sigma
from manifests.stage import (
    Expert,
    Lora,
    Noise,
    Sampler,
    StageKind,
)
from render.clip import clip_info
from render.diffusers_backend import DiffusersBackend
from render.errors import ModelUnavailable
from render.families.base import Position
from render.families.registry import measure_footprint
from render.footprint import Footprint, FootprintOrder
from render.memory import module_bytes
from render.order import ModelRef, RenderOrder
from render.sampling import draw_noise

pytestmark = pytest.mark.usefixtures("one_thread")
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def order_for(tiny_animatediff: Path, tmp_path: Path) -> Callable[..., RenderOrder]:
    """An order of two stages; keywords change its recipe."""

    def make(*, kind: str = "image", folder: Path | None = None, **changes: Any) -> RenderOrder:
        return RenderOrder(
            take_id="sheet/001/t1",
            shot="001",
            take=1,
            recipe=recipe_tiny(**changes),
            model=ref_tiny(tiny_animatediff, kind),
            source=None,
            folder=folder or tmp_path / "take",
        )

    return make


# ---------------------------------------------------------------------- what it is told


@pytest.mark.slow
def test_a_short_text_is_encoded_as_the_stock_pipeline_does(tiny_animatediff: Path) -> None:
    """What fits into one piece of CLIP gives the same embeddings, bit for bit."""
    model = load_tiny(ref_tiny(tiny_animatediff))
    for text in ("", "fox", "a fox runs slow pan left"):
        expected, _ = model._pipe.encode_prompt(text, model.device, 1, False)
        assert torch.equal(model.encode_text(text), expected)


@pytest.mark.slow
def test_a_long_text_is_read_to_its_end(tiny_animatediff: Path) -> None:
    """Behind the first piece comes another: the words there change the clip, none is cut off."""
    model = load_tiny(ref_tiny(tiny_animatediff))
    first = "a fox runs slow pan left"
    encoded = model.encode_text(f"{first} blurry fox")
    assert encoded.shape == (1, 2 * TOKENS, TEXT)
    assert torch.equal(encoded[:, :TOKENS], model.encode_text(first))
    assert torch.equal(encoded[:, TOKENS:], model.encode_text("blurry fox"))


# ---------------------------------------------------------------------- whole or refused


@pytest.mark.slow
def test_image_and_motion_are_the_whole(tiny_animatediff: Path) -> None:
    """An image model with an adapter and the folder saved of both are one model."""
    apart, whole = (
        load_tiny(ref_tiny(tiny_animatediff)),
        load_tiny(ref_tiny(tiny_animatediff, "whole")),
    )
    for name in ("unet", "vae", "text_encoder"):
        ours, theirs = apart.components[name].state_dict(), whole.components[name].state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert set(apart.components) == {"unet", "vae", "text_encoder"}


@pytest.fixture
def spoiled(tiny_animatediff: Path, tmp_path: Path) -> Path:
    """A copy of the folders that a test may spoil."""
    return Path(shutil.copytree(tiny_animatediff, tmp_path / "spoiled"))


def _without(path: Path, start: str) -> None:
    weights = load_file(path)
    kept = {key: weight for key, weight in weights.items() if not key.startswith(start)}
    assert len(kept) < len(weights)
    save_file(kept, path, metadata={"format": "pt"})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "start"),
    [
        (f"image/unet/{WEIGHTS}", "conv_out."),
        (f"image/vae/{WEIGHTS}", "decoder.conv_out."),
        ("image/text_encoder/model.safetensors", "final_layer_norm."),
        (f"motion/{WEIGHTS}", "down_blocks.0.motion_modules.0.proj_out"),
    ],
)
def test_a_missing_weight_is_refused(spoiled: Path, file: str, start: str) -> None:
    """Diffusers and transformers would fill it with random numbers."""
    _without(spoiled / file, start)
    with pytest.raises(ModelUnavailable, match=r"lacks .* weights|cannot be loaded"):
        load_tiny(ref_tiny(spoiled))


@pytest.mark.slow
def test_a_vae_of_2022_is_read(spoiled: Path) -> None:
    """Attention under its old names is the same attention."""
    path = spoiled / "image" / "vae" / WEIGHTS
    weights = load_file(path)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for new, name in old.items():
        for key in [key for key in weights if f".{new}." in key]:
            weights[key.replace(f".{new}.", f".{name}.")] = weights.pop(key)
    save_file(weights, path, metadata={"format": "pt"})
    expected = load_tiny(ref_tiny(spoiled, "whole")).components["vae"].state_dict()
    found = load_tiny(ref_tiny(spoiled)).components["vae"].state_dict()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.slow
def test_parts_that_are_not_used_need_not_be_there(spoiled: Path) -> None:
    """A safety checker that the index names and nobody downloaded is no fault."""
    path = spoiled / "image" / "model_index.json"
    index = json.loads(path.read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    path.write_text(json.dumps(index))
    load_tiny(ref_tiny(spoiled))


def test_what_cannot_be_rendered_is_refused(tiny_animatediff: Path) -> None:
    """A still, experts, a flow's levels, too many frames, no adapter: each is named."""
    bare, ref = replace(ref_tiny(tiny_animatediff), motion_adapter=None), ref_tiny(tiny_animatediff)
    for words, asked in (
        ("no motion adapter; add motion_adapter:", lambda: load_tiny(bare)),
        ("renders from text alone", lambda: load_tiny(ref, image_to_video=True)),
        ("has one network; take `boundary` out", lambda: load_tiny(ref, boundary=0.9)),
        (
            "no folder",
            lambda: load_tiny(replace(ref, motion_adapter=str(tiny_animatediff / "absent"))),
        ),
        ("is not here", lambda: load_tiny(replace(ref, motion_adapter="nobody/none@" + "0" * 40))),
        (
            "cannot be loaded",
            lambda: load_tiny(replace(ref, motion_adapter=str(tiny_animatediff / "image"))),
        ),
    ):
        with pytest.raises(ModelUnavailable, match=words):
            asked()
    model, stage = load_tiny(ref), recipe_tiny().stages[0]
    for words, changes in (
        ("hold at most 12 frames together", {"frames": FRAMES + 1}),
        ("sizes go in multiples of 8", {"width": 44}),
        ("high-noise expert", {"stages": (replace(stage, expert=Expert.HIGH),)}),
        ("levels of a flow model", {"stages": (replace(stage, noise=Noise.FLOW),)}),
    ):
        with pytest.raises(ModelUnavailable, match=words):
            model.check(recipe_tiny(**changes))


# ---------------------------------------------------------------------- LoRAs


def _lora(path: Path, weights: dict[str, torch.Tensor], *, strength: float = 1.0) -> Lora:
    save_file(weights, path)
    return Lora(path=str(path), sha256=sha256_file(path), strength=strength)


def _style_lora(path: Path, *, text: bool = False) -> Lora:
    """In kohya naming, on a layer of the image model."""
    layer = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    weights = {
        f"{layer}.lora_down.weight": torch.full((2, 8), 0.5),
        f"{layer}.lora_up.weight": torch.full((8, 2), 0.5),
        f"{layer}.alpha": torch.tensor(2.0),
    }
    if text:
        layer = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"
        weights[f"{layer}.lora_down.weight"] = torch.ones(2, TEXT)
        weights[f"{layer}.lora_up.weight"] = torch.ones(TEXT, 2)
        weights[f"{layer}.alpha"] = torch.tensor(2.0)
    return _lora(path, weights)


def _motion_lora(path: Path) -> Lora:
    """In the naming of the published camera moves, on a motion module."""
    layer = "unet.down_blocks.0.motion_modules.0.transformer_blocks.0.attn1.processor.to_q_lora"
    return _lora(
        path,
        {f"{layer}.down.weight": torch.full((2, 8), 0.5), f"{layer}.up.weight": torch.ones(8, 2)},
    )


@pytest.mark.slow
def test_loras_change_the_stages_that_name_them(
    order_for: Callable[..., RenderOrder], tmp_path: Path
) -> None:
    """A style LoRA in stage 1, a motion LoRA in stage 2; afterwards the model is bare again."""
    first, second = recipe_tiny().stages
    style, motion = (
        _style_lora(tmp_path / "s.safetensors"),
        _motion_lora(tmp_path / "m.safetensors"),
    )
    backend = DiffusersBackend()
    bare = latents_of(render(order_for(folder=tmp_path / "a"), backend))
    moved = render(
        order_for(folder=tmp_path / "b", stages=(first, replace(second, loras=(motion,)))), backend
    )
    both = render(
        order_for(
            folder=tmp_path / "c",
            stages=(replace(first, loras=(style,)), replace(second, loras=(style, motion))),
        ),
        backend,
    )
    again = latents_of(render(order_for(folder=tmp_path / "d"), backend))
    assert again == bare
    assert latents_of(moved)[0] == bare[0]
    assert latents_of(moved)[1] != bare[1]
    assert latents_of(both)[0] != bare[0]


@pytest.mark.slow
def test_what_a_lora_holds_for_the_text_is_said_to_be_left_out(
    order_for: Callable[..., RenderOrder], tmp_path: Path
) -> None:
    """The text is encoded once for all stages: the receipt says so; text alone is refused."""
    stage = recipe_tiny().stages[0]
    mixed = _style_lora(tmp_path / "mixed.safetensors", text=True)
    receipt = render(order_for(stages=(replace(stage, loras=(mixed,)),)))
    assert any("mixed.safetensors: its weights for the text encoder" in n for n in receipt.notes)
    only = _lora(tmp_path / "only.safetensors", {"lora_te_x.lora_down.weight": torch.ones(1, 1)})
    with pytest.raises(ModelUnavailable, match="for the text encoder alone"):
        render(order_for(folder=tmp_path / "b", stages=(replace(stage, loras=(only,)),)))


# ---------------------------------------------------------------------- whole takes


@pytest.mark.slow
def test_a_take_is_rendered_to_a_clip(order_for: Callable[..., RenderOrder]) -> None:
    """Two stages at the levels the plan shows, one frame of the clip for each latent."""
    order = order_for()
    receipt = render(order)
    assert [stage.start_sigma for stage in receipt.stages] == [
        start_sigma(stage) for stage in order.recipe.stages
    ]
    assert receipt.stages[0].start_sigma == pytest.approx(
        float(table_of(Noise.EPS_LINEAR, shift=1.0).levels[-1])
    )
    assert (receipt.frames, receipt.width, receipt.height) == (COUNT, WIDTH, HEIGHT)
    assert sha256_file(receipt.clip) == receipt.clip_sha256
    assert clip_info(receipt.clip).frames == COUNT


@pytest.mark.slow
@pytest.mark.parametrize("sampler", list(Sampler))
def test_a_schedule_in_parts_is_the_schedule_in_one(
    sampler: Sampler, order_for: Callable[..., RenderOrder], tmp_path: Path
) -> None:
    """Noise that the first part leaves goes on raw, and so does what the solver remembers."""
    whole = replace(recipe_tiny().stages[0], kind=StageKind.SPLIT, steps=4, sampler=sampler)
    first = replace(whole, end_step=2, leftover_noise=True)
    rest = replace(whole, start_step=2, add_noise=False)
    one = latents_of(render(order_for(folder=tmp_path / "one", stages=(whole,))))
    parts = latents_of(render(order_for(folder=tmp_path / "parts", stages=(first, rest))))
    assert parts[-1] == one[-1]


@pytest.mark.slow
def test_the_betas_decide_the_levels_and_the_picture(
    order_for: Callable[..., RenderOrder], tmp_path: Path
) -> None:
    """Stable Diffusion's own betas are other levels than the motion modules'."""
    stages = tuple(replace(stage, noise=Noise.EPS) for stage in recipe_tiny().stages)
    own = render(order_for(folder=tmp_path / "a", stages=stages))
    assert own.stages[0].start_sigma == pytest.approx(14.6146, abs=1e-3)
    assert latents_of(own) != latents_of(render(order_for(folder=tmp_path / "b")))


# ---------------------------------------------------------------------- memory


def _footprint(ref: ModelRef, **changes: Any) -> Footprint:
    values: dict[str, Any] = {
        "precision": "float32",
        "vae_precision": "float32",
        "width": WIDTH,
        "height": HEIGHT,
        "frames": COUNT,
        "image_to_video": False,
        **changes,
    }
    found = measure_footprint(FootprintOrder(model=ref, **values))
    assert found is not None
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["image", "whole"])
def test_its_memory_is_told_from_settings_alone(
    tiny_animatediff: Path, tmp_path: Path, kind: str
) -> None:
    """Weights to the byte without opening one; more frames, more room to sample."""
    bare = tmp_path / "settings"
    shutil.copytree(tiny_animatediff, bare, ignore=shutil.ignore_patterns("*.safetensors"))
    found = _footprint(ref_tiny(bare, kind))
    for name, module in load_tiny(ref_tiny(tiny_animatediff, kind)).components.items():
        tensors = len([*module.parameters(), *module.buffers()])
        assert 0 <= found.parts[name].whole - module_bytes(module) < 512 * tensors, name
    rooms = {work.name: work.room for work in found.works}
    longer = {work.name: work.room for work in _footprint(ref_tiny(bare, kind), frames=12).works}
    assert longer["sampling"] > rooms["sampling"]
    assert longer["decode"] == rooms["decode"]


@pytest.mark.slow
def test_memory_levers_leave_the_model_usable(tiny_animatediff: Path) -> None:
    """In tiles all frames come, and whole ones again after; in 8 bits nearly the same noise."""
    model = load_tiny(ref_tiny(tiny_animatediff))
    latents = draw_noise((1, 4, 2, 4, 6), seed=1)
    with torch.inference_mode():
        whole = np.concatenate(list(model.decode(latents)))
        model.tile_decode(on=True)
        tiled = np.concatenate(list(model.decode(latents)))
        model.tile_decode(on=False)
        assert np.array_equal(np.concatenate(list(model.decode(latents))), whole)
        text = model.encode_text(PROMPT)
        at = Position(sigma=torch.tensor(1.5), expert=Expert.AUTO, step=0, steps=1)
        exact = model.velocity(latents, at, text, image=None, branch="cond")
        model.store_in_8_bits()
        narrow = model.velocity(latents, at, text, image=None, branch="cond")
    assert tiled.shape == whole.shape
    assert not np.array_equal(tiled, whole)
    assert torch.isfinite(narrow).all()
    assert 0.0 < float((narrow - exact).abs().max()) < 0.5 * float(exact.abs().max())
