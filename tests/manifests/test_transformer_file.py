"""A transformer in a file of its own: held against its base before the night, by headers alone."""

from __future__ import annotations

import json

import gguf
import numpy as np
import pytest

from manifests.models import ModelSpec, check_model
from manifests.refusal import Refusal
from manifests.settings import load_studio
from manifests.wan_names import diffusers_name, original_name, wan_shapes

CONFIG = {
    "num_attention_heads": 2,
    "attention_head_dim": 4,
    "patch_size": [1, 2, 2],
    "in_channels": 4,
    "out_channels": 4,
    "freq_dim": 4,
    "text_dim": 4,
    "ffn_dim": 32,
    "num_layers": 1,
}
SHAPES = wan_shapes(CONFIG)


@pytest.fixture
def base(model_folder):
    """A base folder with two experts whose transformers have settings and no weights."""
    folder = model_folder("base", experts=2)
    for part in ("transformer", "transformer_2"):
        (folder / part / "config.json").write_text(json.dumps(CONFIG))
        (folder / part / "diffusion_pytorch_model.safetensors").unlink()
    return folder


@pytest.fixture
def file(tmp_path, tensors):
    """Writes a transformer in one file, in the makers' names."""

    def write(name="one.safetensors", *, prefix="", shapes=SHAPES, **more):
        named = {prefix + original_name(weight): shape for weight, shape in shapes.items()}
        return tensors(tmp_path / "files" / name, shapes=named, **more)

    return write


def write_gguf(path, shapes=SHAPES):
    """A GGUF file of zeros; matrices whose rows allow it are packed in 8 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, "wan")
    for name, shape in shapes.items():
        zeros = np.zeros(shape, np.float32)
        if len(shape) == 2 and shape[1] % 32 == 0:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quants.quantize(zeros, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, zeros)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def check(base, **files):
    named = {part: str(path) for part, path in files.items()}
    return check_model("x", ModelSpec(family="wan", location=str(base), **named))


def test_names_go_both_ways():
    """Every weight has one name of the makers', and comes back from it."""
    assert len({original_name(name) for name in SHAPES}) == len(SHAPES)
    assert all(diffusers_name(original_name(name)) == name for name in SHAPES)
    assert all(diffusers_name(name) == name for name in SHAPES)


def test_two_files_stand_for_two_experts(base, file):
    """The base gives the rest; the id names both files, and one changed byte changes it."""
    high, low = file("high.safetensors"), file("low.safetensors", prefix="model.diffusion_model.")
    model = check(base, transformer=high, transformer_2=low)
    assert (model.transformer, model.transformer_2, model.boundary) == (high, low, 0.9)
    assert model.model_id.count("+") == 2
    assert "+transformer_2:sha256:" in model.model_id
    file("low.safetensors", prefix="model.diffusion_model.", seed=1)
    changed = check(base, transformer=high, transformer_2=low).model_id
    assert changed.split("+")[:2] == model.model_id.split("+")[:2]
    assert changed != model.model_id


def test_a_gguf_file_is_a_transformer_too(base, file, tmp_path):
    """Packed weights have the shapes of what they pack."""
    packed = write_gguf(tmp_path / "q8.gguf")
    model = check(base, transformer=packed, transformer_2=file())
    assert model.transformer == packed


def test_weights_that_a_file_replaces_do_not_count(base, file, tensors):
    """Whether the base still has weights of its own for that part changes nothing."""
    one = file()
    before = check(base, transformer=one, transformer_2=one)
    tensors(base / "transformer" / "diffusion_pytorch_model.safetensors", seed=7)
    assert check(base, transformer=one, transformer_2=one) == before
    with pytest.raises(Refusal, match=r"transformer_2 holds no .safetensors weights"):
        check(base, transformer=one)


def without(name):
    return {weight: shape for weight, shape in SHAPES.items() if weight != name}


@pytest.mark.parametrize(
    ("shapes", "problem", "remedy"),
    [
        (without("proj_out.weight"), r"lacks 1 weights \(proj_out.weight", "download it again"),
        (
            wan_shapes({**CONFIG, "attention_head_dim": 8}),
            "scale_shift_table is 1 x 2 x 16, and the base says 1 x 2 x 8",
            "base folder of the same size",
        ),
        (
            wan_shapes({**CONFIG, "in_channels": 9}),
            "patch_embedding.weight is 8 x 9 x 1 x 2 x 2",
            "t2v or i2v",
        ),
        ({**SHAPES, "vae.conv1.weight": (1,)}, "holds 1 weights that the base", "alone"),
        ({"down_blocks.0.conv.weight": (1,)}, "holds no Wan transformer", "alone"),
        (
            {**SHAPES, "blocks.0.attn1.to_q.scale_weight": (1,)},
            "8-bit values with scales of their own",
            "bf16",
        ),
    ],
)
def test_a_file_that_does_not_fit_its_base_is_refused(base, file, shapes, problem, remedy):
    """What is missing, too much or of another size is named before the night."""
    with pytest.raises(Refusal, match=problem) as caught:
        check(base, transformer=file(shapes=shapes), transformer_2=file("2.safetensors"))
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.safetensors", b"PK\x03\x04" + bytes(64), "is a pickle, which can run code"),
        ("a.gguf", b"\x80\x04" + bytes(64), "is a pickle, which can run code"),
        ("a.ckpt", b"PK\x03\x04" + bytes(64), "is a pickle, which can run code"),
        ("a.pt", bytes(64), "is no file of weights"),
        ("a.SAFETENSORS", bytes(64), "is no file of weights"),
        ("a.gguf", b"GGUF" + bytes(20), "is no whole GGUF file"),
        ("a.gguf", b"", "is no whole GGUF file"),
    ],
)
def test_what_is_no_file_of_weights_is_refused_by_its_content(
    base, tmp_path, name, content, problem
):
    """A pickle under any name, another kind of file, a damaged one: never opened any further."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Refusal, match=problem):
        check(base, transformer=tmp_path / name)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_cut_gguf_file_is_refused(base, tmp_path, share):
    """Wherever it was cut."""
    path = write_gguf(tmp_path / "q8.gguf")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(Refusal, match="is no whole GGUF file"):
        check(base, transformer=path)


def test_a_part_that_the_base_does_not_have_is_refused(model_folder, file):
    """A second expert needs a base with two; other families take whole folders."""
    one = model_folder("one")
    with pytest.raises(Refusal, match="has none to replace"):
        check(one, transformer_2=file())
    with pytest.raises(Refusal, match="is not there"):
        check(one, transformer="/nowhere.gguf")
    ltx = model_folder("ltx", pipeline="LTX2Pipeline")
    spec = ModelSpec(family="ltx2", location=str(ltx), transformer=str(file()))
    with pytest.raises(Refusal, match="read for wan and pocket alone"):
        check_model("x", spec)


def test_files_are_found_from_the_studios_folder(tmp_path):
    """`transformer:` in studio.yaml is relative to it, like `location:`."""
    (tmp_path / "studio.yaml").write_text(
        "models:\n  wan: {family: wan, location: base, transformer: w/high.gguf, "
        "transformer_2: /w/low.gguf}\n"
    )
    spec = load_studio(tmp_path).models["wan"]
    assert spec.transformer == str(tmp_path / "w" / "high.gguf")
    assert spec.transformer_2 == "/w/low.gguf"
