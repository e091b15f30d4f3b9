"""LoRAs and models are held against each other before the night, by names and shapes."""

from __future__ import annotations

import pytest

from manifests.lora_file import LoraFit, check_fit, read_lora
from manifests.model_layers import ModelLayers
from manifests.refusal import Refusal

WAN = ModelLayers(
    model="wan-14b",
    family="wan",
    title="Wan",
    shapes={
        f"blocks.{block}.{layer}": shape
        for block in (0, 1)
        for layer, shape in {
            **{
                f"{attention}.{name}": (5120, 5120)
                for attention in ("attn1", "attn2")
                for name in ("to_q", "to_k", "to_v", "to_out.0")
            },
            "ffn.net.0.proj": (13824, 5120),
            "ffn.net.2": (5120, 13824),
        }.items()
    },
)
SD = ModelLayers(
    model="sd15",
    family="animatediff",
    title="AnimateDiff",
    shapes={
        "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q": (320, 320),
        "down_blocks.0.attentions.0.proj_in": (320, 320, 1, 1),
        "down_blocks.0.motion_modules.0.transformer_blocks.0.attn1.to_out.0": (320, 320),
    },
)
LTX = ModelLayers(
    model="ltx",
    family="ltx2",
    title="LTX-2",
    shapes={"proj_in": (64, 128), "transformer_blocks.0.attn1.to_q": (64, 64)},
)


@pytest.fixture
def wide(tmp_path, tensors):
    """Writes a LoRA of the given layers: name -> (outputs, inputs)."""

    def write(layers, *, ends=("lora_A", "lora_B"), rank=8, metadata=None, alpha=False, more=None):
        shapes = dict(more or {})
        for name, (outputs, inputs, *rest) in layers.items():
            sides = tuple(1 for _ in rest)
            shapes[f"{name}.{ends[0]}.weight"] = (rank, inputs, *sides)
            shapes[f"{name}.{ends[1]}.weight"] = (outputs, rank, *sides)
            if alpha:
                shapes[f"{name}.alpha"] = ()
        path = tmp_path / "look.safetensors"
        # One row stands for all: only shapes are read, and 14B would be large.
        return tensors(path, shapes=shapes, metadata=metadata)

    return write


Q = (5120, 5120)


@pytest.mark.parametrize(
    ("layer", "ends"),
    [
        ("transformer.blocks.1.attn1.to_q", ("lora_A", "lora_B")),
        ("diffusion_model.blocks.1.self_attn.q", ("lora_A", "lora_B")),
        ("diffusion_model.blocks.1.cross_attn.o", ("lora_down", "lora_up")),
    ],
)
def test_a_lora_in_any_naming_of_wan_fits(wide, layer, ends):
    """Diffusers' names and the makers', with either name for the matrices."""
    fit = check_fit(read_lora(wide({layer: Q}, ends=ends, rank=1)), WAN)
    assert fit == LoraFit(matched=1, layers=1)
    assert fit.words is None


def musubi(blocks=(0, 1)):
    letters = [f"{a}_attn_{x}" for a in ("self", "cross") for x in "qkvo"]
    layers = {f"lora_unet_blocks_{n}_{letter}": Q for n in blocks for letter in letters}
    layers |= {f"lora_unet_blocks_{n}_ffn_0": (13824, 5120) for n in blocks}
    return layers | {f"lora_unet_blocks_{n}_ffn_2": (5120, 13824) for n in blocks}


def test_a_lora_of_musubi_is_read_whole_or_not_at_all(wide):
    """Diffusers' reader asks for every layer of each block and its alpha."""
    ends = ("lora_down", "lora_up")
    whole = read_lora(wide(musubi(), ends=ends, rank=1, alpha=True))
    assert check_fit(whole, WAN).matched == 20
    some = dict(list(musubi().items())[:3])
    for layers, alpha in ((some, True), (musubi(), False), (musubi((1,)), True)):
        with pytest.raises(Refusal, match="only some layers in musubi's naming") as caught:
            check_fit(read_lora(wide(layers, ends=ends, rank=1, alpha=alpha)), WAN)
        assert "convert_lora.py" in caught.value.remedy


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (
            {"lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q": (320, 320)},
            "changes nothing in model 'wan-14b': it was made for Stable Diffusion, its weights",
        ),
        (
            {"transformer.double_blocks.0.img_attn.qkv": (64, 64)},
            "made for Flux or HunyuanVideo",
        ),
        ({"blocks.0.attn1.to_q": Q}, r"changes nothing.*named blocks.0.attn1.to_q"),
        ({"model.diffusion_model.blocks.0.self_attn.q": Q}, "changes nothing"),
        ({"diffusion_model.blocks.0.attn1.to_q": Q}, "changes nothing"),
        ({"transformer.blocks.0.self_attn.q": Q}, "changes nothing"),
        (
            {"diffusion_model.blocks.0.self_attn.q": (1536, 1536)},
            r"is 1536 x 1536 \(Wan 1.3B\), and the model's is 5120 x 5120 \(Wan 14B\)",
        ),
        ({"transformer.blocks.0.ffn.net.2": (5120, 8960)}, "5120 x 8960, and the model's is 5120"),
    ],
)
def test_a_lora_for_another_model_is_refused(wide, layers, words):
    """Another family, another size, or names that no reader knows: with what to use instead."""
    with pytest.raises(Refusal, match=words) as caught:
        check_fit(read_lora(wide(layers, rank=1)), WAN)
    assert caught.value.remedy.startswith("use ")


def test_a_lora_that_fits_in_part_says_so(wide):
    """Layers that the model does not have change nothing, and a person is told."""
    layers = {"transformer.blocks.0.attn1.to_q": Q, "transformer.blocks.0.attn2.add_k_proj": Q}
    fit = check_fit(read_lora(wide(layers, rank=1)), WAN)
    assert fit.words == "1 of its 2 layers are not in the model and change nothing"


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q", (320, 320)),
        ("lora_unet_down_blocks_0_attentions_0_proj_in", (320, 320, 1, 1)),
        ("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q", (320, 320)),
        (
            "unet.down_blocks.0.motion_modules.0.transformer_blocks.0.attn1.processor.to_out_lora",
            (320, 320),
        ),
    ],
)
def test_image_and_motion_loras_fit_an_animatediff_model(wide, layer, shape):
    """Kohya's names, diffusers' and those of the old motion LoRAs."""
    ends = ("lora_down", "lora_up")
    if layer.endswith("_lora"):
        ends = ("down", "up")
    assert check_fit(read_lora(wide({layer: shape}, ends=ends)), SD).matched == 1
    with pytest.raises(Refusal, match="changes nothing in model 'wan-14b'"):
        check_fit(read_lora(wide({layer: shape}, ends=ends)), WAN)


def test_a_lora_of_ltx_2_may_use_its_makers_names(wide):
    """`patchify_proj` is `proj_in`; the blocks have one name."""
    layers = {
        "diffusion_model.patchify_proj": (64, 128),
        "diffusion_model.transformer_blocks.0.attn1.to_q": (64, 64),
    }
    assert check_fit(read_lora(wide(layers)), LTX) == LoraFit(matched=2, layers=2)


def test_a_file_tells_of_itself(wide):
    """Ranks, trigger words, licence and base, where its maker wrote them."""
    lora = read_lora(
        wide(
            {"transformer.blocks.0.attn1.to_q": (64, 64)},
            rank=16,
            metadata={
                "modelspec.trigger_phrase": '["rainy street", "neon"]',
                "modelspec.license": "cc-by-nc-4.0",
                "ss_base_model_version": "wan2.1",
            },
        )
    )
    assert lora.ranks == (16,)
    assert (lora.triggers, lora.licence, lora.base) == (
        "rainy street, neon",
        "cc-by-nc-4.0",
        "wan2.1",
    )


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"w": (4,)}, "holds no LoRA"),
        ({"text_encoder.layers.0.lora_A.weight": (4, 4)}, "for the text encoder alone"),
        ({"transformer.a.lora_A.weight": (4, 4)}, "lacks one of its two matrices"),
        (
            {"transformer.a.lora_A.weight": (4,), "transformer.a.lora_B.weight": (4, 4)},
            "lacks one of its two matrices",
        ),
        ({"lora_unet_blocks_0_q.hada_w1_a": (4, 4)}, "is a LyCORIS file"),
    ],
)
def test_what_is_no_plain_lora_is_refused(tmp_path, tensors, shapes, words):
    """A whole model, one for the text alone, half a LoRA, another kind."""
    with pytest.raises(Refusal, match=words):
        read_lora(tensors(tmp_path / "x.safetensors", shapes=shapes))


def test_a_sheet_with_a_lora_for_another_model_is_refused(sheet, lora, tmp_path):
    """At the cell that names it; a preset's own LoRA at the preset."""
    folder = tmp_path / "sheets"
    lora(folder / "fits.safetensors")
    lora(folder / "wide.safetensors", width=8)
    lora(folder / "sd.safetensors", layer="lora_unet_down_blocks_0_attn1_to_q")
    manifest = sheet(
        "shot,source,prompt,loras\na,a.png,x,fits.safetensors\n"
        "b,a.png,x,wide.safetensors\nc,a.png,x,sd.safetensors:0.5;fits.safetensors\n"
    )
    assert [shot.id for shot in manifest.shots] == ["a"]
    assert [(fault.row, fault.column) for fault in manifest.faults] == [(3, "loras"), (4, "loras")]
    assert "was made for another model than 'pocket-wan'" in manifest.faults[0].problem
    assert "made for Stable Diffusion" in manifest.faults[1].problem
