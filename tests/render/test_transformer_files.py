"""A transformer in one file is the folder's own: bit for bit, or near it where it is packed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from diffusers import WanTransformer3DModel
from packed_wan import PARTS, WEIGHTS, bare, original, pack, widen
from plain_render import latents_of, load_plain, render
from safetensors.torch import load_file, save_file
from torch import Tensor

from manifests.files import sha256_file
from manifests.stage import Lora, Stage, StageKind
from manifests.wan_names import PREFIX, original_name, wan_shapes
from render.diffusers_backend import DiffusersBackend
from render.errors import ModelUnavailable
from render.families.registry import measure_footprint
from render.footprint import FootprintOrder
from render.memory import module_bytes
from render.order import ModelRef, Receipt, RenderOrder

pytestmark = pytest.mark.usefixtures("one_thread")
OrderFor = Callable[..., RenderOrder]


def _from(order: RenderOrder, base: Path, **files: Path) -> RenderOrder:
    named = {part: str(file) for part, file in files.items()}
    return replace(order, model=replace(order.model, location=str(base), **named))


@pytest.fixture
def one_stage(order_for: OrderFor, tmp_path: Path) -> OrderFor:
    """An order of one stage of two steps, each in a folder of its own."""
    count = iter(range(99))

    def make(kind: str, **changes: Any) -> RenderOrder:
        stage = Stage(kind=StageKind.RENOISE, steps=2, cfg=2.0, shift=5.0)
        folder = tmp_path / f"take-{next(count)}"
        return order_for(kind, folder=folder, **{"stages": (stage,), **changes})

    return make


def _file(folder: Path, naming: str, file: Path, part: str = "transformer") -> Path:
    match naming:
        case "makers":
            save_file(original(folder, part), file)
        case "comfyui":
            save_file(original(folder, part, prefix=PREFIX), file)
        case "diffusers":
            shutil.copy(folder / part / WEIGHTS, file)
    return file


def _loaded(location: Path, precision: str, **files: Path) -> Any:
    named = {part: str(file) for part, file in files.items()}
    ref = ModelRef(name="tiny", family="wan", location=str(location), **named)
    return load_plain(ref, precision=precision).components["transformer"]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("naming", ["makers", "comfyui", "diffusers"])
def test_weights_of_a_file_are_its_folders(
    naming: str, precision: str, tiny_wan: Callable[[str], Path], tmp_path: Path
) -> None:
    """Bit for bit and each in its precision: norms, times and modulation stay in float32."""
    folder = tiny_wan("t2v-2.1")
    file = _file(folder, naming, tmp_path / "one.safetensors")
    own = _loaded(folder, precision).state_dict()
    found = _loaded(bare(folder, tmp_path / "base"), precision, transformer=file).state_dict()
    assert {name: weight.dtype for name, weight in found.items()} == {
        name: weight.dtype for name, weight in own.items()
    }
    assert all(torch.equal(found[name], own[name]) for name in own)


def test_a_file_in_8_bits_without_scales_is_widened(
    tiny_wan: Callable[[str], Path], tmp_path: Path
) -> None:
    """Its values are the weights, each widened to the precision that computes."""
    folder = tiny_wan("t2v-2.1")
    narrow = {name: w.to(torch.float8_e4m3fn) for name, w in original(folder).items()}
    save_file(narrow, tmp_path / "narrow.safetensors")
    found = _loaded(folder, "bfloat16", transformer=tmp_path / "narrow.safetensors").state_dict()
    own = _loaded(folder, "bfloat16").state_dict()
    assert {name: w.dtype for name, w in found.items()} == {n: w.dtype for n, w in own.items()}
    for name, weight in found.items():
        assert torch.equal(weight.float(), narrow[original_name(name)].float())


@pytest.mark.parametrize("naming", ["makers", pytest.param("diffusers", marks=pytest.mark.slow)])
def test_a_take_from_a_file_is_its_folders(
    naming: str, one_stage: OrderFor, tiny_wan: Callable[[str], Path], tmp_path: Path
) -> None:
    """The same latents; bit for bit where weights lie in the file in the same order.

    NOTE: on a CPU a matrix that begins at another place in memory is summed otherwise.
    """
    folder = tiny_wan("t2v-2.1")
    file = _file(folder, naming, tmp_path / "one.safetensors")
    base = bare(folder, tmp_path / "base")
    found = render(_from(one_stage("t2v-2.1"), base, transformer=file))
    own = render(one_stage("t2v-2.1"))
    torch.testing.assert_close(_latents(found), _latents(own), rtol=0, atol=1e-5)
    assert naming != "diffusers" or latents_of(found) == latents_of(own)


@pytest.mark.slow
def test_a_file_in_the_same_place_in_memory_computes_the_same_bits(
    tiny_wan: Callable[[str], Path], tmp_path: Path
) -> None:
    """Which is the only difference that other names in a file make."""
    folder = tiny_wan("t2v-2.1")
    file = _file(folder, "makers", tmp_path / "one.safetensors")
    # Copies are aligned, what is mapped from a file is not.
    own, found = (
        deepcopy(net).eval()
        for net in (_loaded(folder, "float32"), _loaded(folder, "float32", transformer=file))
    )
    told = {
        "hidden_states": torch.randn(1, 4, 2, 4, 4),
        "timestep": torch.tensor([500.0]),
        "encoder_hidden_states": torch.randn(1, 6, 16),
    }
    with torch.inference_mode():
        assert torch.equal(own(**told).sample, found(**told).sample)


@pytest.mark.slow
def test_two_files_are_two_experts(
    one_stage: OrderFor, tiny_wan: Callable[[str], Path], tmp_path: Path
) -> None:
    """Each expert from its own file; exchanged, they are another take."""
    folder = tiny_wan("i2v-2.2")
    files = {
        part: _file(folder, "diffusers", tmp_path / f"{part}.safetensors", part) for part in PARTS
    }
    base = bare(folder, tmp_path / "base")
    own = latents_of(render(one_stage("i2v-2.2", boundary=0.8)))
    assert latents_of(render(_from(one_stage("i2v-2.2", boundary=0.8), base, **files))) == own
    swapped = dict(zip(PARTS, reversed(files.values()), strict=True))
    assert latents_of(render(_from(one_stage("i2v-2.2", boundary=0.8), base, **swapped))) != own


@pytest.mark.slow
def test_one_expert_may_come_from_a_file(
    one_stage: OrderFor, tiny_wan: Callable[[str], Path], tmp_path: Path
) -> None:
    """The other stays the folder's."""
    folder = tiny_wan("i2v-2.2")
    file = _file(folder, "diffusers", tmp_path / "low.safetensors", "transformer_2")
    order = one_stage("i2v-2.2", boundary=0.8)
    found = render(_from(order, folder, transformer_2=file))
    assert latents_of(found) == latents_of(render(one_stage("i2v-2.2", boundary=0.8)))


# ---------------------------------------------------------------------------- GGUF


@pytest.fixture(scope="session")
def wide(tiny_wan: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny t2v model with a transformer wide enough to be packed, exact in float16."""
    return widen(tiny_wan("t2v-2.1"), tmp_path_factory.mktemp("wide") / "model")


def _latents(receipt: Receipt) -> Tensor:
    return load_file(receipt.stages[-1].latents)["latents"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "apart"),
    [
        (gguf.GGMLQuantizationType.F16, 1e-6),
        # 8 and 4 bits in blocks of 32 with a common scale: relative steps of 1/254 and 1/15.
        (gguf.GGMLQuantizationType.Q8_0, 0.02),
        (gguf.GGMLQuantizationType.Q4_0, 0.3),
    ],
)
def test_a_gguf_file_is_near_its_folder(
    kind: gguf.GGMLQuantizationType,
    apart: float,
    one_stage: OrderFor,
    wide: Path,
    tmp_path: Path,
) -> None:
    """Equal to the last bits where nothing is packed; in 8 bits within 2 % of the latents' spread,
    in 4 within 30 %."""
    order = one_stage("t2v-2.1")
    own = _latents(render(_from(order, wide)))
    file = pack(wide, tmp_path / "packed.gguf", kind)
    base = bare(wide, tmp_path / "base")
    found = _latents(render(_from(one_stage("t2v-2.1"), base, transformer=file)))
    distance = float((found - own).square().mean().sqrt() / own.std())
    assert apart / 300 * (apart > 1e-6) < distance < apart


@pytest.mark.slow
def test_a_lora_changes_a_packed_model_and_leaves_no_trace(
    one_stage: OrderFor, wide: Path, tmp_path: Path
) -> None:
    """On one warm backend: bare, with a LoRA, bare again."""
    file = pack(wide, tmp_path / "packed.gguf", gguf.GGMLQuantizationType.Q8_0)
    layer = "transformer.blocks.0.attn1.to_q"
    path = tmp_path / "motion.safetensors"
    save_file(
        {f"{layer}.lora_A.weight": torch.ones(4, 32), f"{layer}.lora_B.weight": torch.ones(32, 4)},
        path,
    )
    lora = Lora(path=str(path), sha256=sha256_file(path), strength=0.5)
    backend, takes = DiffusersBackend(), []
    for loras in ((), (lora,), ()):
        order = _from(one_stage("t2v-2.1"), wide, transformer=file)
        stages = tuple(replace(stage, loras=loras) for stage in order.recipe.stages)
        order = replace(order, recipe=replace(order.recipe, stages=stages))
        takes.append(latents_of(backend.render(order, tell=lambda progress: None)))
    assert takes[0] == takes[2] != takes[1]


@pytest.mark.slow
def test_the_memory_of_a_packed_model_is_that_of_its_file(wide: Path, tmp_path: Path) -> None:
    """To the byte what is loaded, and well below the unpacked one's."""
    file = pack(wide, tmp_path / "packed.gguf", gguf.GGMLQuantizationType.Q4_0)
    ref = ModelRef(name="tiny", family="wan", location=str(wide))
    order = FootprintOrder(
        model=replace(ref, transformer=str(file)),
        precision="float32",
        vae_precision="float32",
        width=32,
        height=32,
        frames=5,
        image_to_video=False,
    )
    packed, bare = measure_footprint(order), measure_footprint(replace(order, model=ref))
    assert packed is not None
    assert bare is not None
    loaded = module_bytes(_loaded(wide, "float32", transformer=file))
    assert packed.parts["transformer"].whole == loaded
    assert packed.parts["transformer"].whole < 0.5 * bare.parts["transformer"].whole
    assert packed.parts["transformer"].swapped < packed.parts["transformer"].whole
    assert packed.parts["vae"] == bare.parts["vae"]


def test_a_packed_model_is_not_stored_in_8_bits(wide: Path, tmp_path: Path) -> None:
    """That rung of the memory ladder leaves it as it is: it has fewer bits already."""
    file = pack(wide, tmp_path / "packed.gguf", gguf.GGMLQuantizationType.Q4_0)
    ref = ModelRef(name="tiny", family="wan", location=str(wide), transformer=str(file))
    model = load_plain(ref)
    before = {name: w.dtype for name, w in model.components["transformer"].state_dict().items()}
    model.store_in_8_bits()
    after = {name: w.dtype for name, w in model.components["transformer"].state_dict().items()}
    assert after == before


# ---------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("fault", ["dropped", "cut", "pickle", "gone", "other"])
def test_a_file_that_changed_since_the_check_is_refused_by_name(
    fault: str, one_stage: OrderFor, tiny_wan: Callable[[str], Path], tmp_path: Path
) -> None:
    """Never random weights in place of missing ones, never a pickle under another name."""
    folder, file = tiny_wan("t2v-2.1"), tmp_path / "one.safetensors"
    weights = original(folder)
    match fault:
        case "dropped":
            weights.pop("head.head.bias")
            save_file(weights, file)
        case "cut":
            save_file(weights, file)
            file.write_bytes(file.read_bytes()[:-8])
        case "pickle":
            torch.save(weights, file)
        case "other":
            save_file({**weights, "vae.decoder.conv1.weight": torch.zeros(1)}, file)
    words = {
        "dropped": "lacks 1 weights",
        "cut": "no whole safetensors",
        "pickle": "is a pickle",
        "gone": "is not there",
        "other": "has no place for",
    }
    with pytest.raises(ModelUnavailable, match=words[fault]):
        render(_from(one_stage("t2v-2.1"), folder, transformer=file))


@pytest.mark.parametrize("kind", ["t2v-2.1", "i2v-2.1", "ti2v-5b"])
def test_shapes_are_told_from_settings_alone(kind: str, tiny_wan: Callable[[str], Path]) -> None:
    """Every weight of the real class, by name and shape."""
    folder = tiny_wan(kind) / "transformer"
    stored = {name: tuple(weight.shape) for name, weight in load_file(folder / WEIGHTS).items()}
    assert wan_shapes(WanTransformer3DModel.load_config(folder)) == stored


def test_shapes_of_a_model_that_sees_a_picture_by_tokens() -> None:
    """Wan 2.1's image-to-video transformer has layers for CLIP's view of the still."""
    net: Any = WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=12,
        out_channels=4,
        text_dim=16,
        freq_dim=16,
        ffn_dim=32,
        num_layers=1,
        image_dim=8,
        added_kv_proj_dim=24,
    )
    stored = {name: tuple(weight.shape) for name, weight in net.state_dict().items()}
    assert wan_shapes(net.config) == stored


@pytest.mark.slow
def test_a_model_in_the_hubs_cache_renders_as_its_folder(
    one_stage: OrderFor,
    tiny_wan: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Found by its commit in a cache on this machine, with no network."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "hub" / "models--studio--tiny" / "snapshots" / commit
    shutil.copytree(tiny_wan("t2v-2.1"), snapshot)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    order = one_stage("t2v-2.1")
    hub = replace(order.model, location="studio/tiny", revision=commit)
    found = render(replace(order, model=hub))
    assert latents_of(found) == latents_of(render(one_stage("t2v-2.1")))
