"""AnimateDiff at check time: motion adapters, noise levels, frames, and what a sheet may ask."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from manifests.errors import BadInput
from manifests.load import load_manifest
from manifests.models import Model, ModelSpec, check_model
from manifests.noise import share_of_noise
from manifests.preset import list_presets, load_preset
from manifests.refusal import Refusal
from manifests.schedules import start_sigma
from manifests.settings import load_studio
from manifests.stage import Noise, StageKind

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
}
Write = Callable[..., Path]


@pytest.fixture
def image_model(tmp_path: Path, tensors: Write) -> Write:
    """Writes the folder of a Stable Diffusion 1.5 model, or of a whole AnimateDiff one."""

    def write(name: str = "sd15", *, whole: bool = False, **scheduler: Any) -> Path:
        folder = tmp_path / "models" / name
        parts = ["unet", "vae", "text_encoder"] + (["motion_adapter"] if whole else [])
        for part in parts:
            tensors(folder / part / "model.safetensors")
        network = {"block_out_channels": [8, 16], "layers_per_block": 1}
        (folder / "unet" / "config.json").write_text(json.dumps(network))
        (folder / "scheduler").mkdir()
        (folder / "scheduler" / "scheduler_config.json").write_text(
            json.dumps({**SCHEDULER, **scheduler})
        )
        index = {part: ["diffusers", "X"] for part in [*parts, "scheduler", "safety_checker"]}
        index["_class_name"] = "AnimateDiffPipeline" if whole else "StableDiffusionPipeline"
        (folder / "model_index.json").write_text(json.dumps(index))
        if whole:
            config = {"_class_name": "MotionAdapter", "motion_max_seq_length": 24}
            (folder / "motion_adapter" / "config.json").write_text(json.dumps(config))
        return folder

    return write


@pytest.fixture
def adapter(tmp_path: Path, tensors: Write) -> Write:
    """Writes the folder of a motion adapter."""

    def write(name: str = "motion", **config: Any) -> Path:
        folder = tmp_path / "models" / name
        tensors(folder / "diffusion_pytorch_model.safetensors")
        told = {
            "_class_name": "MotionAdapter",
            "motion_max_seq_length": 32,
            "block_out_channels": [8, 16],
            "motion_layers_per_block": 1,
            **config,
        }
        (folder / "config.json").write_text(json.dumps(told))
        return folder

    return write


def check(folder: Path, **more: Any) -> Model:
    given = {key: str(value) for key, value in more.items()}
    return check_model("x", ModelSpec(family="animatediff", location=str(folder), **given))


def test_an_image_model_and_a_motion_adapter_are_one_model(
    image_model: Write, adapter: Write
) -> None:
    """Levels are those of the motion modules; the id changes with either folder."""
    motion = adapter()
    model = check(image_model(), motion_adapter=motion)
    assert (model.task, model.precision, model.noise) == ("t2v", "float16", Noise.EPS_LINEAR)
    assert model.family.max_frames == 32
    assert model.motion_adapter == str(motion)
    other = adapter("other", motion_max_seq_length=24)
    assert check(Path(model.location), motion_adapter=other).model_id != model.model_id
    assert check(Path(model.location), motion_adapter=other).family.max_frames == 24


def test_a_whole_folder_says_its_own_levels(image_model: Write) -> None:
    """A saved AnimateDiff pipeline is taken at its scheduler's word; the studio's wins."""
    assert check(image_model("a", whole=True)).noise is Noise.EPS
    whole = image_model("b", whole=True, beta_schedule="linear")
    assert check(whole).noise is Noise.EPS_LINEAR
    assert check(whole, betas="scaled_linear").noise is Noise.EPS
    assert check(whole).family.max_frames == 24


def test_an_adapter_on_the_hub_is_pinned(image_model: Write) -> None:
    """`owner/name@commit`; anything else is a folder, which is not there."""
    hub = f"guoyww/animatediff-motion-adapter-v1-5-3@{COMMIT}"
    assert check(image_model(), motion_adapter=hub).model_id.endswith(f"+{hub}")
    with pytest.raises(Refusal, match="is not there; correct motion_adapter:, a folder or owner"):
        check(image_model("b"), motion_adapter="guoyww/animatediff-motion-adapter-v1-5-3")


def test_what_cannot_film_is_refused(
    image_model: Write, adapter: Write, model_folder: Write, tmp_path: Path
) -> None:
    """No motion modules, too many, the wrong folder, foreign noise: each with what to do."""
    folder, motion = image_model(), adapter()
    refused: list[tuple[str, Callable[[], Any]]] = [
        ("has no motion adapter beside it; add motion_adapter:", lambda: check(folder)),
        (
            "holds its motion modules itself; drop motion_adapter:",
            lambda: check(image_model("whole", whole=True), motion_adapter=motion),
        ),
        (
            "holds a UNet2DConditionModel and no MotionAdapter",
            lambda: check(folder, motion_adapter=adapter("u", _class_name="UNet2DConditionModel")),
        ),
        (
            r"was made for block_out_channels \[8, 16, 32\], and this model has \[8, 16\]; use a",
            lambda: check(folder, motion_adapter=adapter("xl", block_out_channels=[8, 16, 32])),
        ),
        (r"\(PIA\)", lambda: check(folder, motion_adapter=adapter("pia", conv_in_channels=9))),
        (
            "predicts 'v_prediction'",
            lambda: check(image_model("v", prediction_type="v_prediction"), motion_adapter=motion),
        ),
        (
            r"betas 0.0001..0.02 over 1000 levels; use a model with 0.00085..0.012",
            lambda: check(image_model("b", beta_start=1e-4, beta_end=0.02), motion_adapter=motion),
        ),
        (
            "betas are 'squaredcos_cap_v2'; add betas: linear or scaled_linear",
            lambda: check(image_model("c", whole=True, beta_schedule="squaredcos_cap_v2")),
        ),
        (
            "renders from text alone; drop task:",
            lambda: check(folder, motion_adapter=motion, task="i2v"),
        ),
        (
            "a model of Wan has no motion_adapter; drop motion_adapter:",
            lambda: check_model(
                "x", ModelSpec(family="wan", location=str(model_folder()), motion_adapter="m")
            ),
        ),
    ]
    for words, asked in refused:
        with pytest.raises(Refusal, match=words):
            asked()
    (motion / "diffusion_pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(Refusal, match="can run code"):
        check(folder, motion_adapter=motion)


def test_presets_of_the_family_restart_at_levels_that_refine(tmp_path: Path) -> None:
    """Every later stage restarts from a share of noise that refines and keeps what was made."""
    presets = [p for p in list_presets(load_studio(tmp_path)) if p.family == "animatediff"]
    later = [stage for preset in presets for stage in preset.stages[1:]]
    assert len(later) >= 3
    for stage in later:
        assert stage.kind is StageKind.RENOISE
        assert 0.3 < share_of_noise(start_sigma(stage), Noise.EPS_LINEAR) < 0.95


def test_the_anime_clip_is_as_published(tmp_path: Path) -> None:
    """20 steps, CFG 7.5, denoise 1, 16 frames at 8 fps."""
    preset = load_preset("animatediff", "anime-clip", load_studio(tmp_path))
    (stage,) = preset.stages
    assert (stage.steps, stage.cfg, stage.denoise, stage.shift) == (20, 7.5, 1.0, 1.0)
    assert (preset.frames, preset.fps, preset.width, preset.height) == (16, 8, 512, 512)


def test_a_shift_in_a_preset_of_this_family_is_refused(tmp_path: Path) -> None:
    """Its noise levels are fixed; on a flow model a missing shift is refused."""
    folder = tmp_path / "presets"
    for family, shift in (("animatediff", ", shift: 3"), ("pocket", "")):
        (folder / family).mkdir(parents=True)
        (folder / family / "mine.yaml").write_text(
            f"title: Mine\nfamily: {family}\nwidth: 256\nheight: 256\nframes: 17\nfps: 8\n"
            f"stages:\n  - {{kind: renoise, steps: 12, cfg: 3{shift}}}\nranges:\n  cfg: [2, 4]\n"
        )
    studio = load_studio(tmp_path, presets_dir=folder)
    with pytest.raises(BadInput, match=r"AnimateDiff has no shift.*remove 'shift'"):
        load_preset("animatediff", "mine", studio)
    with pytest.raises(BadInput, match="'shift' is missing; add it"):
        load_preset("pocket", "mine", studio)


def test_a_sheet_names_the_family(
    image_model: Write, adapter: Write, still: Write, tmp_path: Path
) -> None:
    """A row is resolved with the model's levels; a still and too many frames are refused."""
    studio = load_studio(
        tmp_path / "root",
        models={
            "toon": {
                "family": "animatediff",
                "location": str(image_model()),
                "motion_adapter": str(adapter(motion_max_seq_length=24)),
            }
        },
    )
    sheet = tmp_path / "root" / "shots.csv"
    still(sheet.parent / "fox.png")
    sheet.write_text(
        "shot,prompt,source,model,preset,frames\n"
        "010,a fox runs,,toon,anime-clip,\n"
        "020,a fox runs,fox.png,toon,two-stage,\n"
        "030,a fox runs,,toon,two-stage,32\n"
        "040,a fox runs,,toon,animatediff/two-stage,13\n"
    )
    manifest = load_manifest(sheet, studio=studio)
    said = {fault.row: f"{fault.problem}; {fault.remedy}" for fault in manifest.faults}
    assert set(said) == {3, 4}
    assert "renders from text alone; clear the cell" in said[3]
    assert "32 frames are not in 8..24" in said[4]
    first, last = manifest.shots
    assert (first.recipe.frames, last.recipe.frames) == (16, 13)
    assert {stage.noise for stage in last.recipe.stages} == {Noise.EPS_LINEAR}
    assert not last.snaps
