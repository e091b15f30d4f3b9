"""What the sheet's check says of a LoRA is what the real loader says, naming by naming."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from plain_render import load_plain
from safetensors.torch import save_file
from tiny_animatediff import build_tiny_animatediff

from manifests.files import sha256_file
from manifests.lora_file import check_fit, read_lora
from manifests.model_layers import ModelLayers, layers_of
from manifests.models import ModelSpec, check_model
from manifests.refusal import Refusal
from manifests.stage import Lora
from manifests.wan_names import original_name
from render.errors import ModelUnavailable
from render.families.base import LoadedModel
from render.order import ModelRef

pytestmark = pytest.mark.usefixtures("one_thread")
IN_BLOCK = ("attn1", "attn2", "ffn")


@pytest.fixture(scope="module")
def folder(tiny_wan: Callable[[str], Path]) -> Path:
    return tiny_wan("t2v-2.1")


@pytest.fixture(scope="module")
def model(folder: Path) -> LoadedModel:
    """The real tiny model, warm."""
    return load_plain(ModelRef(name="tiny", family="wan", location=str(folder)))


def _write(path: Path, folder: Path, naming: str) -> Path:
    """A LoRA on every layer of the blocks, or on one, in the names of a tool."""
    spec = ModelSpec(family="wan", location=str(folder))
    shapes = {
        name: shape
        for name, shape in layers_of(check_model("tiny", spec)).shapes.items()
        if any(part in name for part in IN_BLOCK)
    }
    if "one" in naming:
        shapes = dict(list(shapes.items())[:1])
    weights: dict[str, torch.Tensor] = {}
    for name, (outputs, inputs) in shapes.items():
        wide = 2 if "wide" in naming else 1
        match naming.split()[0]:
            case "diffusers":
                stem, ends = f"transformer.{name}", ("lora_A", "lora_B")
            case "makers":
                stem, ends = f"diffusion_model.{original_name(name)}", ("lora_A", "lora_B")
            case "comfyui":
                stem, ends = f"diffusion_model.{original_name(name)}", ("lora_down", "lora_up")
            case "musubi":
                flat = original_name(name).replace(".", "_")
                stem, ends = f"lora_unet_{flat}", ("lora_down", "lora_up")
            case _:
                stem, ends = f"{naming.split()[0]}.{name}", ("lora_A", "lora_B")
        weights[f"{stem}.{ends[0]}.weight"] = torch.ones(2, inputs * wide)
        weights[f"{stem}.{ends[1]}.weight"] = torch.ones(outputs * wide, 2)
        if ends[0] == "lora_down":
            weights[f"{stem}.alpha"] = torch.tensor(2.0)
    save_file(weights, path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("naming", "fits"),
    [
        ("diffusers", True),
        ("diffusers one", True),
        ("makers", True),
        ("makers one", True),
        ("comfyui", True),
        ("musubi", True),
        ("musubi one", False),
        ("diffusers wide", False),
        ("makers wide", False),
        ("unet", False),
        ("model.diffusion_model", False),
        ("lora_transformer", False),
    ],
)
def test_check_and_loader_agree(
    naming: str, fits: bool, folder: Path, model: LoadedModel, tmp_path: Path
) -> None:
    """What is refused at check time would fail at night, and what passes loads."""
    path = _write(tmp_path / "look.safetensors", folder, naming)
    layers = layers_of(check_model("tiny", ModelSpec(family="wan", location=str(folder))))
    _agree(path, layers, model, fits=fits)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layer", "ends"),
    [
        (
            "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q",
            (".lora_down", ".lora_up"),
        ),
        (
            "unet.down_blocks.0.motion_modules.0.transformer_blocks.0.attn1.processor.to_q_lora",
            (".down", ".up"),
        ),
        ("unet.up_blocks.0.attentions.0.transformer_blocks.0.attn2.to_v", (".lora_A", ".lora_B")),
        ("transformer.blocks.0.attn1.to_q", (".lora_A", ".lora_B")),
    ],
)
def test_check_and_loader_agree_on_animatediff(
    layer: str, ends: tuple[str, str], tmp_path: Path
) -> None:
    """Kohya's names, motion LoRAs' and diffusers' fit; Wan's change nothing in either."""
    root = build_tiny_animatediff(tmp_path / "models")
    image, motion = str(root / "image"), str(root / "motion")
    spec = ModelSpec(family="animatediff", location=image, motion_adapter=motion)
    layers = layers_of(check_model("tiny", spec))
    ours = layers.find(layer.removesuffix("_lora"))
    outputs, inputs = layers.shapes[ours][:2] if ours else (8, 8)
    path = tmp_path / "look.safetensors"
    save_file(
        {
            f"{layer}{ends[0]}.weight": torch.ones(2, inputs),
            f"{layer}{ends[1]}.weight": torch.ones(outputs, 2),
        },
        path,
    )
    ref = ModelRef(name="tiny", family="animatediff", location=image, motion_adapter=motion)
    _agree(path, layers, load_plain(ref), fits=ours is not None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layer", "fits"),
    [
        ("transformer.transformer_blocks.0.attn1.to_q", True),
        ("diffusion_model.transformer_blocks.0.attn1.to_q", True),
        ("diffusion_model.patchify_proj", True),
        ("lora_unet_down_blocks_0_attn1_to_q", False),
    ],
)
def test_check_and_loader_agree_on_ltx_2(
    layer: str, fits: bool, tiny_ltx2: Callable[[str], Path], tmp_path: Path
) -> None:
    """Diffusers' names and the makers' fit; Stable Diffusion's change nothing in either."""
    folder = tiny_ltx2("ltx-2.0")
    layers = layers_of(check_model("tiny", ModelSpec(family="ltx2", location=str(folder))))
    ours = layers.find(layer)
    outputs, inputs = layers.shapes[ours] if ours else (8, 8)
    path = tmp_path / "look.safetensors"
    save_file(
        {
            f"{layer}.lora_A.weight": torch.ones(2, inputs),
            f"{layer}.lora_B.weight": torch.ones(outputs, 2),
        },
        path,
    )
    model = load_plain(ModelRef(name="t", family="ltx2", location=str(folder)))
    _agree(path, layers, model, fits=fits)


def _agree(path: Path, layers: ModelLayers, model: LoadedModel, *, fits: bool) -> None:
    lora = Lora(path=str(path), sha256=sha256_file(path))
    if fits:
        fit = check_fit(read_lora(path), layers)
        assert fit.matched == fit.layers > 0
        model.load_loras([lora])
        return
    with pytest.raises(Refusal):
        check_fit(read_lora(path), layers)
    with pytest.raises(ModelUnavailable):
        model.load_loras([lora])
