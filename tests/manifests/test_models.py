"""Models: a folder is looked through before the night, a hub model is pinned to a commit."""

from __future__ import annotations

import pytest

from manifests.models import ModelSpec, check_model
from manifests.refusal import Refusal

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def wan(folder, **more):
    return ModelSpec(family="wan", location=str(folder), **more)


def test_a_folder_is_known_by_what_it_holds(model_folder):
    """One changed weight changes the id; a README does not."""
    folder = model_folder()
    before = check_model("x", wan(folder))
    (folder / "README.md").write_text("hello")
    assert check_model("x", wan(folder)) == before
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert check_model("x", wan(folder)).model_id != before.model_id


def test_task_and_boundary_come_from_the_model(model_folder):
    """The pipeline class says the task; the boundary is the model's own, else its task's."""
    one = check_model("x", wan(model_folder("one")))
    two = check_model("x", wan(model_folder("two", experts=2)))
    own = check_model("x", wan(model_folder("own", experts=2, boundary_ratio=0.85)))
    text = check_model("x", wan(model_folder("text", experts=2, pipeline="WanPipeline")))
    both = check_model("x", wan(model_folder("both", expand_timesteps=True)))
    assert (one.task, one.boundary, one.precision) == ("i2v", None, "bfloat16")
    assert (two.boundary, own.boundary) == (0.900, 0.85)
    assert (text.task, text.boundary) == ("t2v", 0.875)
    assert both.task == "ti2v"


@pytest.fixture
def hub(tmp_path, monkeypatch, model_folder):
    """The hub's cache with one model in it; returns its folder."""
    cache = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    snapshot = cache / "models--Wan-AI--Wan2.2-I2V" / "snapshots" / COMMIT
    snapshot.parent.mkdir(parents=True)
    return model_folder("hub", experts=2).rename(snapshot)


def test_a_hub_model_is_looked_through_where_it_lies_here(hub):
    """Its task and boundary are its own, its id is the commit, and a missing file is named."""
    spec = wan("Wan-AI/Wan2.2-I2V", revision=COMMIT)
    model = check_model("x", spec)
    assert model.model_id == f"Wan-AI/Wan2.2-I2V@{COMMIT}"
    assert (model.task, model.boundary, model.folder) == ("i2v", 0.9, hub)
    (hub / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(Refusal, match=r"vae holds no .safetensors weights"):
        check_model("x", spec)


def test_a_hub_model_that_is_not_here_is_refused_at_check_time(hub):
    """A night downloads nothing, so the sheet's check says what to run before it."""
    with pytest.raises(Refusal, match="is not on this machine") as caught:
        check_model("x", wan("Wan-AI/Other", revision=COMMIT))
    assert caught.value.remedy == f"run `hf download Wan-AI/Other --revision {COMMIT}`"


def test_a_hub_model_is_pinned_to_a_commit():
    """`owner/name` with 40 hex digits; branches and bare names are refused."""
    with pytest.raises(Refusal, match="is no commit"):
        check_model("x", wan("Wan-AI/Wan2.2-I2V", revision="main"))
    with pytest.raises(Refusal, match="is no hub id"):
        check_model("x", wan("/models/wan", revision=COMMIT))
    with pytest.raises(Refusal, match="add revision: and its commit"):
        check_model("x", wan("Wan-AI/Wan2.2-I2V"))


def test_weights_that_can_run_code_are_refused(model_folder):
    """A pickle beside or in place of safetensors: safetensors only."""
    folder = model_folder()
    (folder / "vae" / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(Refusal, match=r"vae/pytorch_model.bin can run code.*safetensors only"):
        check_model("x", wan(folder))


@pytest.mark.parametrize(
    ("breakage", "problem"),
    [
        (lambda f: (f / "model_index.json").unlink(), "holds no model_index.json"),
        (lambda f: (f / "model_index.json").write_text("{"), "cannot be read"),
        (lambda f: (f / "model_index.json").write_text("[]"), "cannot be read"),
        (
            lambda f: (f / "model_index.json").write_text('{"_class_name": "LTXPipeline"}'),
            "is not of the family wan",
        ),
        (
            lambda f: (f / "vae" / "diffusion_pytorch_model.safetensors").unlink(),
            "vae holds no .safetensors weights",
        ),
        (
            lambda f: (f / "vae" / "diffusion_pytorch_model.safetensors").rename(
                f / "vae" / "diffusion_pytorch_model.fp16.safetensors"
            ),
            "vae holds a variant of its weights alone",
        ),
        (
            lambda f: (f / "vae" / "m.safetensors.index.json").write_text(
                '{"weight_map": {"w": "m-00002-of-00002.safetensors"}}'
            ),
            "vae/m-00002-of-00002.safetensors is missing",
        ),
        (
            lambda f: (f / "vae" / "m.safetensors.index.json").write_text(
                '{"weight_map": {"w": "../../secret.safetensors"}}'
            ),
            "vae/../../secret.safetensors is missing",
        ),
        (lambda f: (f / "vae" / "diffusers.py").write_text("print(1)"), "brings code of its own"),
        (
            lambda f: (f / "vae" / "m.safetensors.index.json").write_text(
                '{"weight_map": {"other": "diffusion_pytorch_model.safetensors"}}'
            ),
            "does not hold other, though m.safetensors.index.json says so",
        ),
        (
            lambda f: (f / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(
                b"PK\x03\x04" + bytes(100)
            ),
            "is a pickle, which can run code",
        ),
        (
            lambda f: (f / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(
                (f / "vae" / "diffusion_pytorch_model.safetensors").read_bytes()[:-1]
            ),
            "is no whole safetensors file",
        ),
    ],
)
def test_a_folder_that_is_no_whole_model_is_refused(model_folder, breakage, problem):
    """What is missing is named at check time, with a remedy."""
    folder = model_folder()
    breakage(folder)
    with pytest.raises(Refusal, match=problem) as caught:
        check_model("x", wan(folder))
    assert caught.value.remedy


def test_what_a_location_is_instead_of_a_model_is_told(tmp_path):
    """A single file, a folder of them, one folder too high, a hub id that lacks its commit."""
    files = tmp_path / "diffusion_models"
    files.mkdir()
    (files / "wan_high.gguf").write_bytes(b"")
    (tmp_path / "above" / "wan22").mkdir(parents=True)
    (tmp_path / "above" / "wan22" / "model_index.json").write_text("{}")
    (tmp_path / "bare").mkdir()
    base = "name a folder in that layout in location:, and the file in transformer:"
    there = "correct location: in studio.yaml"
    hub = f"{there}, or, if Wan-AI/Wan2.2 is meant on the hub, add revision: and its commit"
    for location, problem, remedy in (
        ("diffusion_models/wan_high.gguf", "is a file, and a model is a folder", base),
        ("diffusion_models", "but single files (wan_high.gguf)", base),
        ("above", "holds no model_index.json", "the model may be in wan22: correct location:"),
        ("bare", "holds no model_index.json", "download the model again"),
        ("Wan-AI/Wan2.2", "is not there", hub),
        ("bear", "is not there", there),
    ):
        with pytest.raises(Refusal) as caught:
            check_model("x", wan(tmp_path / location))
        assert problem in caught.value.problem, location
        assert caught.value.remedy.startswith(remedy), location
        assert ("hub" in remedy) == ("hub" in caught.value.remedy), location


def test_single_files_are_offered_only_to_families_that_read_them(tmp_path):
    """An LTX-2 checkpoint in one file has no `transformer:` to go to."""
    (tmp_path / "ltx2.safetensors").write_bytes(b"")
    spec = ModelSpec(family="ltx2", location=str(tmp_path / "ltx2.safetensors"))
    with pytest.raises(Refusal, match="of this family single files are not read"):
        check_model("x", spec)


def test_shots_and_models_must_fit(sheet, studio, model_folder):
    """Text models take no still, experts' presets need experts, presets need their family."""
    models = {
        **studio.models,
        "i2v": wan(model_folder("i2v")),
        "a14b": wan(model_folder("a14b", experts=2)),
        "t2v": wan(model_folder("t2v", pipeline="WanPipeline")),
        "gone": wan("/nowhere/at/all"),
    }
    manifest = sheet(
        "shot,source,prompt,model,preset\n"
        "a,a.png,x,t2v,single\n"
        "b,,x,t2v,single\n"
        "c,,x,i2v,single\n"
        "d,a.png,x,i2v,wan22-experts\n"
        "e,a.png,x,a14b,wan22-experts\n"
        "f,a.png,x,a14b,pocket/single\n"
        "g,a.png,x,gone,single\n"
        "h,a.png,x,,wan/single\n",
        studio=studio.model_copy(update={"models": models}),
    )
    assert [(f.row, f.column) for f in manifest.faults] == [
        (None, "models.gone"),
        (2, "source"),
        (4, "source"),
        (5, "preset"),
        (7, "preset"),
    ]
    assert [(shot.id, shot.recipe.model) for shot in manifest.shots] == [
        ("b", "t2v"),
        ("e", "a14b"),
        ("h", "i2v"),
    ]
    _, expert, _ = manifest.shots
    assert (expert.recipe.boundary, expert.recipe.precision) == (0.9, "bfloat16")
    assert (expert.recipe.width, expert.recipe.frames) == (640, 81)
