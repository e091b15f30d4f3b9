"""LTX-2: whole takes, what the model is told, and its memory."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from plain_render import hashes, load_plain, render
from tiny_ltx2 import FPS, PROMPT, SIZE, Tiny, recipe_tiny, ref_tiny

from manifests.stage import Expert, Sampler, Stage, StageKind
from render.clip import clip_info
from render.diffusers_backend import DiffusersBackend
from render.families.base import LoadedModel, Position
from render.families.registry import measure_footprint
from render.families.unread import is_unread
from render.footprint import Footprint, FootprintOrder
from render.memory import module_bytes
from render.order import RenderOrder
from render.sampling import draw_noise

OrderFor = Callable[..., RenderOrder]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def loaded(tiny_ltx2: Tiny) -> LoadedModel:
    """A tiny model that no test changes."""
    return load_plain(ref_tiny(tiny_ltx2("ltx-2.3")))


def test_the_model_is_told_the_frame_rate(loaded: LoadedModel) -> None:
    """The same latents at another rate move otherwise, and a slower clip has more sound."""
    text = loaded.encode_text(PROMPT)
    at = Position(sigma=torch.tensor(0.7), expert=Expert.AUTO, step=0, steps=4)
    found = {}
    for fps in (24.0, 12.0):
        loaded.check(recipe_tiny(fps=fps))
        (_, size) = shape = loaded.latent_shape(**SIZE)
        with torch.inference_mode():
            v = loaded.velocity(draw_noise(shape, seed=1), at, text, image=None, branch="cond")
        found[fps] = size, loaded.finish_latents(v, None)
    sound = 2 * 2  # channels times bands of the tiny model
    assert found[12.0][0] - found[24.0][0] == sound * (round(9 / 12 * 25) - round(9 / 24 * 25))
    assert not torch.equal(found[24.0][1], found[12.0][1])


@pytest.mark.slow
def test_a_take_is_rendered(ltx2_order: OrderFor) -> None:
    """Two stages with a still, from the sheet's recipe to a silent clip of its size and rate."""
    receipt = render(ltx2_order())
    info = clip_info(receipt.clip)
    assert (info.frames, info.width, info.height, info.fps) == (9, 96, 64, FPS)
    assert [stage.steps for stage in receipt.stages] == [3, 2]
    assert receipt.stages[0].latents_sha256 != receipt.stages[1].latents_sha256
    assert receipt.notes == ()


@pytest.mark.slow
def test_both_tasks_share_one_warm_model(ltx2_order: OrderFor) -> None:
    """Text, a still, another rate: one backend renders them as cold ones do, bit for bit."""
    backend = DiffusersBackend()
    for index, changes in enumerate(({}, {"source": None}, {"fps": 12.0})):
        warm = render(ltx2_order(folder=f"warm{index}", **changes), backend)
        cold = render(ltx2_order(folder=f"cold{index}", **changes))
        assert hashes(warm) == hashes(cold)
    backend.close()


@pytest.mark.slow
def test_a_schedule_in_parts_is_the_schedule_in_one(ltx2_order: OrderFor) -> None:
    """Split stages hand on picture and sound, noise, history and all: nothing shows the cut."""
    whole = Stage(kind=StageKind.SPLIT, steps=4, cfg=2.0, shift=5.0, sampler=Sampler.DPMPP_2M)
    first = replace(whole, end_step=2, leftover_noise=True)
    rest = replace(whole, start_step=2, add_noise=False, seed_offset=1)
    one = render(ltx2_order(stages=(whole,), folder="one"))
    two = render(ltx2_order(stages=(first, rest), folder="two"))
    assert hashes(one)[-2:] == hashes(two)[-2:]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ltx-2.0", "ltx-2.3"])
def test_its_memory_is_told_before_it_is_loaded(kind: str, tiny_ltx2: Tiny) -> None:
    """Weights to the byte (up to the allocator's grain), and more room for a larger clip."""
    order = FootprintOrder(
        model=ref_tiny(tiny_ltx2(kind)),
        precision="float32",
        vae_precision="float32",
        **SIZE,
        image_to_video=True,
    )
    found = measure_footprint(order)
    assert found is not None
    components = load_plain(ref_tiny(tiny_ltx2(kind))).components
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


def test_the_text_encoder_is_read_when_it_is_asked(tiny_ltx2: Tiny) -> None:
    """Loading leaves its weights on disk, the largest part of a night that repeats its texts."""
    model = load_plain(ref_tiny(tiny_ltx2("ltx-2.3")))
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
    parts = load_plain(ref_tiny(silent)).components
    assert set(parts) == {"transformer", "connectors", "text_encoder", "vae", "audio_vae"}
