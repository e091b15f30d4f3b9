"""AnimateDiff: whole or refused, the stock pipelines step for step, LoRAs, and whole takes."""

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
from diffusers import (
    AnimateDiffPipeline,
    AnimateDiffVideoToVideoPipeline,
    EulerDiscreteScheduler,
    MotionAdapter,
)
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteSchedulerOutput
from safetensors.torch import load_file, save_file
from tiny_animatediff import FRAMES, TEXT, TOKENS, build_tiny_animatediff

from manifests.files import sha256_file
from manifests.noise import table_of, timestep_of
from manifests.schedules import sigmas, start_sigma
from manifests.stage import (
    BETAS,
    Expert,
    Lora,
    Noise,
    Recipe,
    Sampler,
    Schedule,
    Stage,
    StageKind,
)
from render.clip import clip_info
from render.diffusers_backend import DiffusersBackend
from render.errors import ModelUnavailable
from render.families.animatediff import AnimateDiffModel
from render.families.base import Conditioning, LoadRequest, Position
from render.families.registry import load_model, measure_footprint
from render.footprint import Footprint, FootprintOrder
from render.memory import module_bytes
from render.order import ModelRef, Receipt, RenderOrder
from render.sampling import Latents, draw_noise, enter_stage, run_stage
from render.solver import SolverSetup
from render.solvers import SOLVERS

pytestmark = pytest.mark.usefixtures("one_thread")
PROMPT, NEGATIVE, SEED = "a fox runs", "blurry", 11
WIDTH, HEIGHT, COUNT = 48, 32, 5
WEIGHTS = "diffusion_pytorch_model.safetensors"
RENOISE = StageKind.RENOISE


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with `image`, `motion` and `whole`."""
    return build_tiny_animatediff(tmp_path_factory.mktemp("animatediff"))


def _ref(tiny: Path, kind: str = "image") -> ModelRef:
    return ModelRef(
        name="tiny",
        family="animatediff",
        location=str(tiny / kind),
        motion_adapter=str(tiny / "motion") if kind == "image" else None,
    )


def _load(ref: ModelRef, **changes: Any) -> AnimateDiffModel:
    values: dict[str, Any] = {
        "precision": "float32",
        "vae_precision": "float32",
        "device": "cpu",
        "image_to_video": False,
        "boundary": None,
        **changes,
    }
    model = load_model(LoadRequest(model=ref, **values))
    assert isinstance(model, AnimateDiffModel)
    return model


def _recipe(**changes: Any) -> Recipe:
    stage = Stage(
        kind=RENOISE,
        steps=3,
        cfg=3.0,
        shift=1.0,
        sampler=Sampler.DPMPP_2M,
        schedule=Schedule.KARRAS,
        noise=Noise.EPS_LINEAR,
    )
    values: dict[str, Any] = {
        "preset": "animatediff/two-stage",
        "family": "animatediff",
        "model": "tiny",
        "model_id": "tiny",
        "prompt": PROMPT,
        "negative": NEGATIVE,
        "width": WIDTH,
        "height": HEIGHT,
        "frames": COUNT,
        "fps": 8.0,
        "seed": SEED,
        "stages": (stage, replace(stage, steps=2, cfg=2.0, denoise=0.45, seed_offset=1)),
    }
    return Recipe(**{**values, **changes})


@pytest.fixture
def order_for(tiny: Path, tmp_path: Path) -> Callable[..., RenderOrder]:
    """An order of two stages; keywords change its recipe."""

    def make(*, kind: str = "image", folder: Path | None = None, **changes: Any) -> RenderOrder:
        return RenderOrder(
            take_id="sheet/001/t1",
            shot="001",
            take=1,
            recipe=_recipe(**changes),
            model=_ref(tiny, kind),
            source=None,
            folder=folder or tmp_path / "take",
        )

    return make


def _render(order: RenderOrder, backend: DiffusersBackend | None = None) -> Receipt:
    return (backend or DiffusersBackend()).render(order, tell=lambda progress: None)


# ---------------------------------------------------------------------- parity with diffusers


class OurLevels(EulerDiscreteScheduler):
    """The stock Euler scheduler on the noise levels of a stage."""

    levels: list[float]

    def set_timesteps(self, *args: Any, **kwargs: Any) -> None:
        super().set_timesteps(sigmas=self.levels, device=kwargs.get("device"))


class StraightEuler(OurLevels):
    """Goes straight along the predicted noise, where the stock one finds it again from x0."""

    def set_timesteps(self, *args: Any, **kwargs: Any) -> None:
        super().set_timesteps(*args, **kwargs)
        told = [timestep_of(float(sigma), Noise.EPS_LINEAR) for sigma in self.sigmas[:-1]]
        self.timesteps = torch.tensor(told, dtype=torch.float32)

    def step(self, model_output: Any, timestep: Any, sample: Any, **kwargs: Any) -> Any:
        if self.step_index is None:
            self._init_step_index(timestep)
        sigma, sigma_next = self.sigmas[self._step_index], self.sigmas[self._step_index + 1]
        self._step_index += 1
        prev_sample = sample + (sigma_next - sigma) * model_output
        return EulerDiscreteSchedulerOutput(prev_sample=prev_sample)


def _stock(tiny: Path, kind: Any, levels: list[float], scheduler: type[OurLevels]) -> Any:
    pipe = kind.from_pretrained(
        tiny / "image", motion_adapter=MotionAdapter.from_pretrained(tiny / "motion")
    )
    first, last = BETAS
    pipe.scheduler = scheduler(
        beta_start=first, beta_end=last, beta_schedule="linear", timestep_spacing="leading"
    )
    pipe.scheduler.levels = levels
    pipe.set_progress_bar_config(disable=True)
    # NOTE: a convolution whose weights could be trained takes another path, with other last bits.
    for part in (pipe.unet, pipe.text_encoder, pipe.vae):
        part.requires_grad_(False)
    return pipe


def _told(cfg: float, **more: Any) -> dict[str, Any]:
    return {
        "prompt": PROMPT,
        "negative_prompt": NEGATIVE,
        "height": HEIGHT,
        "width": WIDTH,
        "guidance_scale": cfg,
        "generator": torch.Generator().manual_seed(SEED),
        "output_type": "latent",
        **more,
    }


def _ours(model: AnimateDiffModel, x: torch.Tensor, levels: list[float], cfg: float) -> Any:
    told = Conditioning(prompt=model.encode_text(PROMPT), negative=model.encode_text(NEGATIVE))
    return run_stage(
        x,
        sigmas=levels,
        cfg=cfg,
        solver=SOLVERS[Sampler.EULER](SolverSetup(noise=Noise.EPS_LINEAR)),
        noise=Noise.EPS_LINEAR,
        model=model,
        conditioning=told,
    )


def _from_noise(model: AnimateDiffModel, levels: list[float]) -> torch.Tensor:
    shape = model.latent_shape(width=WIDTH, height=HEIGHT, frames=COUNT)
    noise = draw_noise(shape, seed=SEED)
    return enter_stage(None, noise=noise, sigma=levels[0], shape=shape, kind=Noise.EPS_LINEAR)


@pytest.mark.slow
@pytest.mark.parametrize("schedule", [Schedule.NORMAL, Schedule.KARRAS])
def test_one_stage_is_the_stock_pipeline_bit_for_bit(tiny: Path, schedule: Schedule) -> None:
    """Without guidance, and with a scheduler that goes straight, the latents are the same bits."""
    levels = sigmas(schedule=schedule, steps=5, shift=1.0, noise=Noise.EPS_LINEAR)
    stock = _stock(tiny, AnimateDiffPipeline, levels, StraightEuler)
    expected = stock(**_told(1.0, num_frames=COUNT)).frames
    model = _load(_ref(tiny))
    with torch.inference_mode():
        x = _ours(model, _from_noise(model, levels), levels, 1.0)
    assert torch.equal(x, expected)


@pytest.mark.slow
@pytest.mark.parametrize("schedule", [Schedule.NORMAL, Schedule.KARRAS])
def test_guided_frames_are_the_stock_pipelines(tiny: Path, schedule: Schedule) -> None:
    """With guidance and the stock scheduler latents and frames agree to 1e-5 of their range.

    The stock pipeline asks for both predictions in one batch, and its scheduler takes the
    predicted noise away and finds it again: both round otherwise.
    """
    levels = sigmas(schedule=schedule, steps=5, shift=1.0, noise=Noise.EPS_LINEAR)
    stock = _stock(tiny, AnimateDiffPipeline, levels, OurLevels)
    expected = stock(**_told(7.5, num_frames=COUNT)).frames
    pictures = stock.video_processor.postprocess_video(
        video=stock.decode_latents(expected), output_type="np"
    )[0]
    model = _load(_ref(tiny))
    with torch.inference_mode():
        x = _ours(model, _from_noise(model, levels), levels, 7.5)
        chunks = list(model.decode(x))
    assert float((x - expected).abs().max()) < 1e-5 * float(expected.abs().max())
    assert [len(chunk) for chunk in chunks] == [4, 1]
    assert np.abs(np.concatenate(chunks) - pictures).max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("denoise", [0.45, 0.7])
def test_a_second_stage_is_the_stock_video_to_video(tiny: Path, denoise: float) -> None:
    """Noise added up to `denoise`, then as many steps as asked: enforce_inference_steps."""
    steps, before = 4, draw_noise((1, 4, COUNT, HEIGHT // 8, WIDTH // 8), seed=3)
    whole = sigmas(
        schedule=Schedule.KARRAS, steps=int(steps / denoise), shift=1.0, noise=Noise.EPS_LINEAR
    )
    stock = _stock(tiny, AnimateDiffVideoToVideoPipeline, whole, StraightEuler)
    expected = stock(
        **_told(
            1.0,
            latents=before.clone(),
            strength=denoise,
            num_inference_steps=steps,
            enforce_inference_steps=True,
        )
    ).frames
    levels = sigmas(
        schedule=Schedule.KARRAS,
        steps=steps,
        denoise=denoise,
        shift=1.0,
        noise=Noise.EPS_LINEAR,
    )
    model = _load(_ref(tiny))
    noise = draw_noise(before.shape, seed=SEED)
    start = enter_stage(
        Latents(x=before, sigma=0.0),
        noise=noise,
        sigma=levels[0],
        shape=before.shape,
        kind=Noise.EPS_LINEAR,
    )
    with torch.inference_mode():
        x = _ours(model, start, levels, 1.0)
    assert len(levels) == steps + 1
    assert torch.equal(x, expected)


# ---------------------------------------------------------------------- what it is told


def test_a_short_text_is_encoded_as_the_stock_pipeline_does(tiny: Path) -> None:
    """What fits into one piece of CLIP gives the same embeddings, bit for bit."""
    model = _load(_ref(tiny))
    for text in ("", "fox", "a fox runs slow pan left"):
        expected, _ = model._pipe.encode_prompt(text, model.device, 1, False)
        assert torch.equal(model.encode_text(text), expected)


def test_a_long_text_is_read_to_its_end(tiny: Path) -> None:
    """Behind the first piece comes another: the words there change the clip, none is cut off."""
    model = _load(_ref(tiny))
    first = "a fox runs slow pan left"
    encoded = model.encode_text(f"{first} blurry fox")
    assert encoded.shape == (1, 2 * TOKENS, TEXT)
    assert torch.equal(encoded[:, :TOKENS], model.encode_text(first))
    assert torch.equal(encoded[:, TOKENS:], model.encode_text("blurry fox"))


# ---------------------------------------------------------------------- whole or refused


@pytest.mark.slow
def test_image_and_motion_are_the_whole(tiny: Path) -> None:
    """An image model with an adapter and the folder saved of both are one model."""
    apart, whole = _load(_ref(tiny)), _load(_ref(tiny, "whole"))
    for name in ("unet", "vae", "text_encoder"):
        ours, theirs = apart.components[name].state_dict(), whole.components[name].state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert set(apart.components) == {"unet", "vae", "text_encoder"}


@pytest.fixture
def spoiled(tiny: Path, tmp_path: Path) -> Path:
    """A copy of the folders that a test may spoil."""
    return Path(shutil.copytree(tiny, tmp_path / "spoiled"))


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
        _load(_ref(spoiled))


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
    expected = _load(_ref(spoiled, "whole")).components["vae"].state_dict()
    found = _load(_ref(spoiled)).components["vae"].state_dict()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.slow
def test_parts_that_are_not_used_need_not_be_there(spoiled: Path) -> None:
    """A safety checker that the index names and nobody downloaded is no fault."""
    path = spoiled / "image" / "model_index.json"
    index = json.loads(path.read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    path.write_text(json.dumps(index))
    _load(_ref(spoiled))


def test_what_cannot_be_rendered_is_refused(tiny: Path) -> None:
    """A still, experts, a flow's levels, too many frames, no adapter: each is named."""
    bare, ref = replace(_ref(tiny), motion_adapter=None), _ref(tiny)
    for words, asked in (
        ("no motion adapter; add motion_adapter:", lambda: _load(bare)),
        ("renders from text alone", lambda: _load(ref, image_to_video=True)),
        ("has one network; take `boundary` out", lambda: _load(ref, boundary=0.9)),
        ("no folder", lambda: _load(replace(ref, motion_adapter=str(tiny / "absent")))),
        ("is not here", lambda: _load(replace(ref, motion_adapter="nobody/none@" + "0" * 40))),
        ("cannot be loaded", lambda: _load(replace(ref, motion_adapter=str(tiny / "image")))),
    ):
        with pytest.raises(ModelUnavailable, match=words):
            asked()
    model, stage = _load(ref), _recipe().stages[0]
    for words, changes in (
        ("hold at most 12 frames together", {"frames": FRAMES + 1}),
        ("sizes go in multiples of 8", {"width": 44}),
        ("high-noise expert", {"stages": (replace(stage, expert=Expert.HIGH),)}),
        ("levels of a flow model", {"stages": (replace(stage, noise=Noise.FLOW),)}),
    ):
        with pytest.raises(ModelUnavailable, match=words):
            model.check(_recipe(**changes))


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


def _hashes(receipt: Receipt) -> list[str]:
    return [stage.latents_sha256 for stage in receipt.stages]


@pytest.mark.slow
def test_loras_change_the_stages_that_name_them(
    order_for: Callable[..., RenderOrder], tmp_path: Path
) -> None:
    """A style LoRA in stage 1, a motion LoRA in stage 2; afterwards the model is bare again."""
    first, second = _recipe().stages
    style, motion = (
        _style_lora(tmp_path / "s.safetensors"),
        _motion_lora(tmp_path / "m.safetensors"),
    )
    backend = DiffusersBackend()
    bare = _hashes(_render(order_for(folder=tmp_path / "a"), backend))
    moved = _render(
        order_for(folder=tmp_path / "b", stages=(first, replace(second, loras=(motion,)))), backend
    )
    both = _render(
        order_for(
            folder=tmp_path / "c",
            stages=(replace(first, loras=(style,)), replace(second, loras=(style, motion))),
        ),
        backend,
    )
    again = _hashes(_render(order_for(folder=tmp_path / "d"), backend))
    assert again == bare
    assert _hashes(moved)[0] == bare[0]
    assert _hashes(moved)[1] != bare[1]
    assert _hashes(both)[0] != bare[0]


@pytest.mark.slow
def test_what_a_lora_holds_for_the_text_is_said_to_be_left_out(
    order_for: Callable[..., RenderOrder], tmp_path: Path
) -> None:
    """The text is encoded once for all stages: the receipt says so; text alone is refused."""
    stage = _recipe().stages[0]
    mixed = _style_lora(tmp_path / "mixed.safetensors", text=True)
    receipt = _render(order_for(stages=(replace(stage, loras=(mixed,)),)))
    assert any("mixed.safetensors: its weights for the text encoder" in n for n in receipt.notes)
    only = _lora(tmp_path / "only.safetensors", {"lora_te_x.lora_down.weight": torch.ones(1, 1)})
    with pytest.raises(ModelUnavailable, match="for the text encoder alone"):
        _render(order_for(folder=tmp_path / "b", stages=(replace(stage, loras=(only,)),)))


# ---------------------------------------------------------------------- whole takes


def test_a_take_is_rendered_to_a_clip(order_for: Callable[..., RenderOrder]) -> None:
    """Two stages at the levels the plan shows, one frame of the clip for each latent."""
    order = order_for()
    receipt = _render(order)
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
    whole = replace(_recipe().stages[0], kind=StageKind.SPLIT, steps=4, sampler=sampler)
    first = replace(whole, end_step=2, leftover_noise=True)
    rest = replace(whole, start_step=2, add_noise=False)
    one = _hashes(_render(order_for(folder=tmp_path / "one", stages=(whole,))))
    parts = _hashes(_render(order_for(folder=tmp_path / "parts", stages=(first, rest))))
    assert parts[-1] == one[-1]


@pytest.mark.slow
def test_the_betas_decide_the_levels_and_the_picture(
    order_for: Callable[..., RenderOrder], tmp_path: Path
) -> None:
    """Stable Diffusion's own betas are other levels than the motion modules'."""
    stages = tuple(replace(stage, noise=Noise.EPS) for stage in _recipe().stages)
    own = _render(order_for(folder=tmp_path / "a", stages=stages))
    assert own.stages[0].start_sigma == pytest.approx(14.6146, abs=1e-3)
    assert _hashes(own) != _hashes(_render(order_for(folder=tmp_path / "b")))


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
def test_its_memory_is_told_from_settings_alone(tiny: Path, tmp_path: Path, kind: str) -> None:
    """Weights to the byte without opening one; more frames, more room to sample."""
    bare = tmp_path / "settings"
    shutil.copytree(tiny, bare, ignore=shutil.ignore_patterns("*.safetensors"))
    found = _footprint(_ref(bare, kind))
    for name, module in _load(_ref(tiny, kind)).components.items():
        tensors = len([*module.parameters(), *module.buffers()])
        assert 0 <= found.parts[name].whole - module_bytes(module) < 512 * tensors, name
    rooms = {work.name: work.room for work in found.works}
    longer = {work.name: work.room for work in _footprint(_ref(bare, kind), frames=12).works}
    assert longer["sampling"] > rooms["sampling"]
    assert longer["decode"] == rooms["decode"]


@pytest.mark.slow
def test_memory_levers_leave_the_model_usable(tiny: Path) -> None:
    """In tiles all frames come, and whole ones again after; in 8 bits nearly the same noise."""
    model = _load(_ref(tiny))
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
