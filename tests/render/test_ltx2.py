"""LTX-2: one stage is the stock pipeline; picture and sound in one row; refusals by name."""

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
from diffusers import FlowMatchEulerDiscreteScheduler, LTX2ImageToVideoPipeline, LTX2Pipeline
from diffusers.pipelines.ltx2.utils import DISTILLED_SIGMA_VALUES
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file

from manifests.files import sha256_file
from manifests.preset import load_preset
from manifests.schedules import sigmas, stage_sigmas
from manifests.settings import load_studio
from manifests.source import open_source
from manifests.stage import Expert, Lora, Recipe, Sampler, Schedule, Stage, StageKind
from manifests.still import prepare_still
from render.clip import clip_info
from render.diffusers_backend import DiffusersBackend
from render.errors import ModelUnavailable
from render.families.base import Conditioning, LoadedModel, LoadRequest, Position
from render.families.ltx2_layout import Layout, TextLayout
from render.families.registry import load_model, measure_footprint
from render.families.unread import is_unread
from render.footprint import Footprint, FootprintOrder
from render.memory import module_bytes
from render.order import ModelRef, Receipt, RenderOrder
from render.parallel import why_not
from render.sampling import draw_noise, run_stage
from render.solvers import Euler

pytestmark = pytest.mark.usefixtures("one_thread")
Tiny = Callable[[str], Path]
SIZE = {"width": 96, "height": 64, "frames": 9}
PROMPT, NEGATIVE, SEED, FPS = "slow pan left", "blurry", 11, 25.0
LEVELS = sigmas(schedule=Schedule.SIMPLE, steps=4, shift=5.0)


def _recipe(**changes: Any) -> Recipe:
    renoise = StageKind.RENOISE
    values: dict[str, Any] = {
        "preset": "test/two-stage",
        "family": "ltx2",
        "model": "tiny",
        "model_id": "tiny",
        "prompt": PROMPT,
        "negative": NEGATIVE,
        **SIZE,
        "fps": FPS,
        "seed": SEED,
        "stages": (
            Stage(kind=renoise, steps=3, cfg=3.0, shift=5.0),
            Stage(kind=renoise, steps=2, cfg=2.0, shift=5.0, denoise=0.5, seed_offset=1),
        ),
    }
    return Recipe(**{**values, **changes})


def _load(folder: Path, **changes: Any) -> LoadedModel:
    request = LoadRequest(
        model=ModelRef(name="tiny", family="ltx2", location=str(folder)),
        precision="float32",
        vae_precision="float32",
        device="cpu",
        image_to_video=False,
        boundary=None,
    )
    return load_model(replace(request, **changes))


@pytest.fixture(scope="module")
def loaded(tiny_ltx2: Tiny) -> LoadedModel:
    """A tiny model that no test changes."""
    return _load(tiny_ltx2("ltx-2.3"))


@pytest.fixture
def fitted(still: Path) -> Image.Image:
    """The still, of the clip's size."""
    return prepare_still(open_source(still), width=SIZE["width"], height=SIZE["height"])


# ---------------------------------------------------------------------------- the layout


@given(sizes=st.tuples(*[st.integers(1, 4)] * 4), sound=st.tuples(*[st.integers(1, 4)] * 3))
def test_a_row_holds_picture_and_sound(
    sizes: tuple[int, int, int, int], sound: tuple[int, int, int]
) -> None:
    """What is joined into a row is split out of it again, value by value."""
    layout = Layout(picture=(1, *sizes), sound=(1, *sound))
    row = torch.arange(layout.row[1], dtype=torch.float32).unsqueeze(0)
    picture, heard = layout.split(row)
    assert (tuple(picture.shape), tuple(heard.shape)) == (layout.picture, layout.sound)
    assert torch.equal(layout.join(picture, heard), row)


@given(frames=st.integers(1, 3), side=st.integers(1, 3), moments=st.integers(2, 9))
def test_the_noise_of_a_seed_is_drawn_as_the_stock_pipeline_draws_it(
    frames: int, side: int, moments: int
) -> None:
    """At the published widths one draw for the row is a draw for the picture, then the sound."""
    layout = Layout(picture=(1, 128, frames, side, side), sound=(1, 8, moments, 16))
    picture, sound = layout.split(draw_noise(layout.row, seed=3))
    generator = torch.Generator().manual_seed(3)
    assert torch.equal(picture, torch.randn(layout.picture, generator=generator))
    assert torch.equal(sound, torch.randn(layout.sound, generator=generator))


def test_text_for_both_lies_side_by_side() -> None:
    """Embeddings for picture and sound and their mask come apart as they were put together."""
    picture, sound = torch.randn(1, 5, 4), torch.randn(1, 5, 3)
    mask = torch.tensor([[0, 0, 1, 1, 1]])
    layout = TextLayout(picture=4, sound=3)
    found = layout.split(layout.join(picture, sound, mask))
    assert torch.equal(found[0], picture)
    assert torch.equal(found[1], sound)
    assert torch.equal(found[2].long(), mask)


def test_the_distilled_preset_runs_the_distilled_levels(tmp_path: Path) -> None:
    """The fixed levels of the distilled models are `linear_quadratic` in eight steps."""
    [stage] = load_preset("ltx2", "distilled", load_studio(tmp_path)).stages
    assert stage_sigmas(stage) == pytest.approx([*DISTILLED_SIGMA_VALUES, 0.0], abs=1e-12)
    assert stage.cfg == 1.0


def test_the_presets_stand_where_the_stock_scheduler_stands_at_4096_tokens(tmp_path: Path) -> None:
    """Its levels at mu 2.05; stretched to end at 0.1, as it has them, no level is 0.115 away."""
    stage = load_preset("ltx2", "single", load_studio(tmp_path)).stages[0]
    ours = stage_sigmas(stage)[:-1]
    for terminal, near in ((None, 4e-3), (0.1, 0.115)):
        stock = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift_terminal=terminal)
        uniform = np.linspace(1.0, 1 / stage.steps, stage.steps)
        stock.set_timesteps(sigmas=uniform, mu=2.05)
        assert ours == pytest.approx(stock.sigmas[:-1].tolist(), abs=near)


# ---------------------------------------------------------------------------- parity


class _VelocityAsIs:
    """The stock pipeline without its detour from velocity to picture and back, which is exact
    on paper and costs the last bits."""

    def convert_velocity_to_x0(self, _sample: Any, velocity: Any, *_: Any) -> Any:
        return velocity

    def convert_x0_to_velocity(self, _sample: Any, velocity: Any, *_: Any) -> Any:
        return velocity


class _TextAsIs(_VelocityAsIs, LTX2Pipeline):
    pass


class _StillAsIs(_VelocityAsIs, LTX2ImageToVideoPipeline):
    pass


def _stock(
    pipeline: Any, folder: Path, image: Image.Image | None, *, cfg: float, newer: bool
) -> tuple[torch.Tensor, Any]:
    """Latents (1, C, T, h, w) after the last step and frames, by guidance on the text alone."""
    pipe = pipeline.from_pretrained(folder)
    pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)  # levels as they are given
    pipe.set_progress_bar_config(disable=True)
    latents: list[torch.Tensor] = []

    def keep(_pipe: Any, _step: int, _t: Any, kept: dict[str, Any]) -> dict[str, Any]:
        latents.append(kept["latents"])
        return kept

    frames = pipe(
        prompt=PROMPT,
        negative_prompt=NEGATIVE,
        height=SIZE["height"],
        width=SIZE["width"],
        num_frames=SIZE["frames"],
        frame_rate=FPS,
        num_inference_steps=len(LEVELS) - 1,
        sigmas=LEVELS[:-1],
        guidance_scale=cfg,
        audio_guidance_scale=cfg,
        stg_scale=0.0,
        audio_stg_scale=0.0,
        modality_scale=1.0,
        audio_modality_scale=1.0,
        guidance_rescale=0.0,
        audio_guidance_rescale=0.0,
        use_cross_timestep=newer,
        generator=torch.Generator().manual_seed(SEED),
        callback_on_step_end=keep,
        output_type="np",
        **({} if image is None else {"image": image}),
    ).frames[0]
    shape = (2, SIZE["height"] // 32, SIZE["width"] // 32)
    return pipe._unpack_latents(latents[-1], *shape), frames


def _ours(folder: Path, image: Image.Image | None, *, cfg: float) -> tuple[torch.Tensor, Any]:
    model = _load(folder, image_to_video=image is not None)
    model.check(_recipe())
    with torch.inference_mode():
        conditioning = Conditioning(
            prompt=model.encode_text(PROMPT),
            negative=model.encode_text(NEGATIVE),
            image=None if image is None else model.encode_still(image, frames=SIZE["frames"]),
        )
        x = run_stage(
            draw_noise(model.latent_shape(**SIZE), seed=SEED),
            sigmas=LEVELS,
            cfg=cfg,
            solver=Euler(),
            model=model,
            conditioning=conditioning,
        )
        picture = model.finish_latents(x, conditioning.image)
        return picture, np.concatenate(list(model.decode(picture)))


@pytest.mark.slow
@pytest.mark.parametrize("task", ["text", "still"])
@pytest.mark.parametrize("kind", ["ltx-2.0", "ltx-2.3"])
def test_one_stage_is_the_stock_pipeline(
    kind: str, task: str, tiny_ltx2: Tiny, fitted: Image.Image
) -> None:
    """Without guidance every bit of latents and frames, once the stock pipeline leaves out its
    detour over the picture; with it and with guidance (which it batches) a few last bits."""
    folder, newer = tiny_ltx2(kind), kind == "ltx-2.3"
    image = fitted if task == "still" else None
    as_is, whole = (
        (_TextAsIs, LTX2Pipeline)
        if image is None
        else (
            _StillAsIs,
            LTX2ImageToVideoPipeline,
        )
    )
    latents, frames = _ours(folder, image, cfg=1.0)
    expected = _stock(as_is, folder, image, cfg=1.0, newer=newer)
    assert torch.equal(latents, expected[0])
    assert np.array_equal(frames, expected[1])

    latents, frames = _ours(folder, image, cfg=3.0)
    expected = _stock(whole, folder, image, cfg=3.0, newer=newer)
    # Latents up to about 5: three roundings of float32 for each of four steps.
    torch.testing.assert_close(latents, expected[0], atol=1e-5, rtol=0)
    np.testing.assert_allclose(frames, expected[1], atol=1e-5)


# ---------------------------------------------------------------------------- what it is told


def test_the_model_is_told_the_frame_rate(loaded: LoadedModel) -> None:
    """The same latents at another rate move otherwise, and a slower clip has more sound."""
    text = loaded.encode_text(PROMPT)
    at = Position(sigma=torch.tensor(0.7), expert=Expert.AUTO, step=0, steps=4)
    found = {}
    for fps in (24.0, 12.0):
        loaded.check(_recipe(fps=fps))
        (_, size) = shape = loaded.latent_shape(**SIZE)
        with torch.inference_mode():
            v = loaded.velocity(draw_noise(shape, seed=1), at, text, image=None, branch="cond")
        found[fps] = size, loaded.finish_latents(v, None)
    sound = 2 * 2  # channels times bands of the tiny model
    assert found[12.0][0] - found[24.0][0] == sound * (round(9 / 12 * 25) - round(9 / 24 * 25))
    assert not torch.equal(found[24.0][1], found[12.0][1])


@pytest.mark.slow
def test_the_still_stays_where_it_was_given(tiny_ltx2: Tiny, fitted: Image.Image) -> None:
    """The first latent frame is the still before, while and after the model samples."""
    model = _load(tiny_ltx2("ltx-2.0"), image_to_video=True)
    model.check(_recipe())
    with torch.inference_mode():
        image = model.encode_still(fitted, frames=9)
        x = run_stage(
            draw_noise(model.latent_shape(**SIZE), seed=1),
            sigmas=[1.0, 0.6, 0.0],
            cfg=1.0,
            solver=Euler(),
            model=model,
            conditioning=Conditioning(prompt=model.encode_text(PROMPT), image=image),
        )
    sampled = model.finish_latents(x, None)
    given = image.latents[:, :, :1]
    torch.testing.assert_close(sampled[:, :, :1], given, atol=1e-5, rtol=0)
    assert torch.equal(model.finish_latents(x, image)[:, :, :1], given)
    assert not torch.equal(sampled[:, :, 1:], torch.zeros_like(sampled[:, :, 1:]))


# ---------------------------------------------------------------------------- a take


@pytest.fixture
def order_for(tiny_ltx2: Tiny, still: Path, tmp_path: Path) -> Callable[..., RenderOrder]:
    """An order of two re-noise stages, 9 frames of 96 x 64, with a still unless it says None."""

    def make(
        kind: str = "ltx-2.3",
        *,
        source: Path | None = still,
        folder: str = "take",
        model: Path | None = None,
        **changes: Any,
    ) -> RenderOrder:
        told = sha256_file(source) if source else None
        return RenderOrder(
            take_id="sheet/001/t1",
            shot="001",
            take=1,
            recipe=_recipe(source_sha256=told, **changes),
            model=ModelRef(name="tiny", family="ltx2", location=str(model or tiny_ltx2(kind))),
            source=source,
            folder=tmp_path / folder,
        )

    return make


OrderFor = Callable[..., RenderOrder]


def _render(order: RenderOrder, backend: DiffusersBackend | None = None) -> Receipt:
    return (backend or DiffusersBackend()).render(order, tell=lambda progress: None)


def _hashes(receipt: Receipt) -> list[str]:
    return [*(stage.latents_sha256 for stage in receipt.stages), receipt.clip_sha256]


def test_a_take_is_rendered(order_for: OrderFor) -> None:
    """Two stages with a still, from the sheet's recipe to a silent clip of its size and rate."""
    receipt = _render(order_for())
    info = clip_info(receipt.clip)
    assert (info.frames, info.width, info.height, info.fps) == (9, 96, 64, FPS)
    assert [stage.steps for stage in receipt.stages] == [3, 2]
    assert receipt.stages[0].latents_sha256 != receipt.stages[1].latents_sha256
    assert receipt.notes == ()


@pytest.mark.slow
def test_both_tasks_share_one_warm_model(order_for: OrderFor) -> None:
    """Text, a still, another rate: one backend renders them as cold ones do, bit for bit."""
    backend = DiffusersBackend()
    for index, changes in enumerate(({}, {"source": None}, {"fps": 12.0})):
        warm = _render(order_for(folder=f"warm{index}", **changes), backend)
        cold = _render(order_for(folder=f"cold{index}", **changes))
        assert _hashes(warm) == _hashes(cold)
    backend.close()


@pytest.mark.slow
def test_a_schedule_in_parts_is_the_schedule_in_one(order_for: OrderFor) -> None:
    """Split stages hand on picture and sound, noise, history and all: nothing shows the cut."""
    whole = Stage(kind=StageKind.SPLIT, steps=4, cfg=2.0, shift=5.0, sampler=Sampler.DPMPP_2M)
    first = replace(whole, end_step=2, leftover_noise=True)
    rest = replace(whole, start_step=2, add_noise=False, seed_offset=1)
    one = _render(order_for(stages=(whole,), folder="one"))
    two = _render(order_for(stages=(first, rest), folder="two"))
    assert _hashes(one)[-2:] == _hashes(two)[-2:]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"fps": 96.0}, "96 frames a second are more than the 60 that LTX-2 .*; write 60 or less"),
        ({"frames": 481, "fps": 12.0}, "481 frames at 12 a second last 40.00 seconds"),
        ({"width": 80}, "sizes go in multiples of 32, frames in 8n\\+1"),
        ({"frames": 13}, "13 frames; sizes go in multiples of 32"),
        (
            {
                "stages": (
                    Stage(kind=StageKind.RENOISE, steps=2, cfg=1, shift=5, expert=Expert.LOW),
                )
            },
            "stage 1 asks for the low-noise expert",
        ),
    ],
)
def test_what_it_cannot_make_is_refused(
    changes: dict[str, Any], said: str, loaded: LoadedModel
) -> None:
    """Rates, sizes, lengths and experts it does not have are refused before the first step."""
    with pytest.raises(ModelUnavailable, match=said):
        loaded.check(_recipe(**changes))


def test_it_stays_on_one_card(loaded: LoadedModel) -> None:
    """The plan that its class has for several cards leaves out the sound: it is not used."""
    loaded.check(_recipe())
    said = why_not(loaded, _recipe(), size=2)
    assert said == "LTX2VideoTransformer3DModel cannot be spread over cards"


def test_a_boundary_is_refused(tiny_ltx2: Tiny) -> None:
    """A recipe that changes experts is not loaded for a model with one transformer."""
    with pytest.raises(ModelUnavailable, match=r"changes experts at 0\.9; take"):
        _load(tiny_ltx2("ltx-2.3"), boundary=0.9)


def _rename(path: Path, key: str, value: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))


def _drop(path: Path, weight: str) -> None:
    weights = load_file(path)
    del weights[weight]
    save_file(weights, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("file", "spoil", "said"),
    [
        (
            "model_index.json",
            lambda path: _rename(path, "_class_name", "WanPipeline"),
            "WanPipeline, not an LTX-2 model",
        ),
        (
            "model_index.json",
            lambda path: _rename(path, "text_encoder", ["evil", "Thing"]),
            "names Thing of evil as its text encoder",
        ),
        (
            "text_encoder/model.safetensors",
            lambda path: _drop(path, "language_model.model.norm.weight"),
            r"lacks 1 weights \(.*norm.weight",
        ),
        (
            "connectors/diffusion_pytorch_model.safetensors",
            lambda path: _drop(path, "video_connector.learnable_registers"),
            r"lacks 1 weights \(video_connector.learnable_registers",
        ),
        (
            "transformer/diffusion_pytorch_model.safetensors",
            lambda path: _drop(path, "proj_out.weight"),
            r"lacks 1 weights \(proj_out.weight",
        ),
        ("transformer/diffusion_pytorch_model.safetensors", Path.unlink, "cannot be loaded"),
        ("text_encoder/model.safetensors", Path.unlink, "cannot be loaded"),
    ],
)
def test_a_spoilt_folder_is_refused_by_name(
    file: str, spoil: Callable[[Path], Any], said: str, tiny_ltx2: Tiny, tmp_path: Path
) -> None:
    """Missing weights of every part are refused: neither library may fill them at random."""
    damaged = Path(shutil.copytree(tiny_ltx2("ltx-2.3"), tmp_path / "damaged"))
    spoil(damaged / file)
    with pytest.raises(ModelUnavailable, match=said) as refusal:
        _load(damaged).encode_text(PROMPT)  # which reads the text encoder
    assert str(damaged) in str(refusal.value)


def test_the_text_encoder_is_read_when_it_is_asked(tiny_ltx2: Tiny) -> None:
    """Loading leaves its weights on disk, the largest part of a night that repeats its texts."""
    model = _load(tiny_ltx2("ltx-2.3"))
    encoder = model.components["text_encoder"]
    assert is_unread(encoder)
    with torch.inference_mode():
        told = model.encode_text(PROMPT)
    assert not is_unread(encoder)
    assert torch.isfinite(told).all()


def test_what_makes_sound_need_not_be_there(tiny_ltx2: Tiny, tmp_path: Path) -> None:
    """A folder without its vocoder is whole for silent clips."""
    silent = Path(shutil.copytree(tiny_ltx2("ltx-2.3"), tmp_path / "silent"))
    shutil.rmtree(silent / "vocoder")
    parts = _load(silent).components
    assert set(parts) == {"transformer", "connectors", "text_encoder", "vae", "audio_vae"}


# ---------------------------------------------------------------------------- memory


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ltx-2.0", "ltx-2.3"])
def test_its_memory_is_told_before_it_is_loaded(kind: str, tiny_ltx2: Tiny) -> None:
    """Weights to the byte (up to the allocator's grain), and more room for a larger clip."""
    order = FootprintOrder(
        model=ModelRef(name="tiny", family="ltx2", location=str(tiny_ltx2(kind))),
        precision="float32",
        vae_precision="float32",
        **SIZE,
        image_to_video=True,
    )
    found = measure_footprint(order)
    assert found is not None
    components = _load(tiny_ltx2(kind)).components
    assert set(found.parts) == set(components) - {"audio_vae"}  # never on the card
    for name, part in found.parts.items():
        module = components[name]
        tensors = len([*module.parameters(), *module.buffers()])
        assert 0 <= part.whole - module_bytes(module) < 512 * tensors, name
    assert {work.part for work in found.works} == set(found.parts)
    for larger in ({"width": 192}, {"frames": 17}):
        grown = measure_footprint(replace(order, **larger))
        assert grown is not None
        rooms = [(b.room, a.room) for b, a in zip(found.works, grown.works, strict=True)]
        assert all(before <= after for before, after in rooms)
        assert dict(_rooms(grown))["decode"] > dict(_rooms(found))["decode"]
        assert dict(_rooms(grown))["sampling"] > dict(_rooms(found))["sampling"]


def _rooms(footprint: Footprint) -> list[tuple[str, int]]:
    return [(work.name, work.room) for work in footprint.works]


# ---------------------------------------------------------------------------- LoRAs


def _lora(path: Path, layer: str, *, width: int) -> Lora:
    generator = torch.Generator().manual_seed(0)
    weights = {
        f"{layer}.lora_A.weight": torch.randn(4, width, generator=generator),
        f"{layer}.lora_B.weight": torch.randn(width, 4, generator=generator),
    }
    save_file(weights, path)
    return Lora(path=str(path), sha256=sha256_file(path), strength=0.8)


@pytest.mark.slow
def test_a_lora_changes_its_stage_and_leaves_no_trace(order_for: OrderFor, tmp_path: Path) -> None:
    """With a LoRA in stage 2 only stage 2 differs; without it all is as before."""
    backend, bare = DiffusersBackend(), order_for(folder="bare")
    lora = _lora(
        tmp_path / "motion.safetensors", "transformer.transformer_blocks.0.attn1.to_q", width=16
    )
    one, two = bare.recipe.stages
    before = _hashes(_render(bare, backend))
    styled = order_for(folder="styled", stages=(one, replace(two, loras=(lora,))))
    with_lora = _hashes(_render(styled, backend))
    assert with_lora[0] == before[0]
    assert with_lora[1] != before[1]
    assert _hashes(_render(order_for(folder="after"), backend)) == before


@pytest.mark.slow
def test_a_lora_on_how_text_is_read_is_left_out_and_said(
    order_for: OrderFor, tmp_path: Path
) -> None:
    """Text is read once for all stages, so a LoRA's part of the connectors has no stage to be
    in: the take is that of its other part alone, and the receipt says so."""
    layer = "transformer_blocks.0.attn1.to_q"
    drawn = _lora(tmp_path / "drawn.safetensors", f"transformer.{layer}", width=16)
    _lora(tmp_path / "read.safetensors", f"connectors.video_connector.{layer}", width=16)
    path = tmp_path / "both.safetensors"
    save_file({**load_file(drawn.path), **load_file(tmp_path / "read.safetensors")}, path)
    both = Lora(path=str(path), sha256=sha256_file(path), strength=drawn.strength)
    one, _ = order_for().recipe.stages
    plain = _render(order_for(stages=(replace(one, loras=(drawn,)),), folder="plain"))
    found = _render(order_for(stages=(replace(one, loras=(both,)),), folder="found"))
    assert _hashes(found) == _hashes(plain)
    [note] = found.notes
    assert note.startswith("LoRA both.safetensors: its weights for the text encoder are left out")
