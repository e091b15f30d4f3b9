"""Strips of the latents: they look like the decode, and never spoil a take."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan
from PIL import Image

from manifests.files import sha256_file
from manifests.source import open_source
from manifests.stage import Stage, StageKind
from manifests.still import prepare_still
from render.backend import Progress
from render.clip import read_clip
from render.diffusers_backend import DiffusersBackend
from render.first_frames import FIRST_FRAMES
from render.order import ModelRef, RenderOrder, StageReceipt
from render.pocket.paths import MODEL_DIR
from render.preview_factors import PreviewFactors, factors_for, known_factors
from render.stage_previews import StagePreviews, preview_path

pytestmark = pytest.mark.usefixtures("one_thread")
OrderFor = Callable[..., RenderOrder]
STILLS = sorted((Path(__file__).parents[2] / "manifests/examples/demo/stills").glob("*.jpg"))


@pytest.fixture(scope="module")
def vae() -> AutoencoderKLWan:
    """The pocket model's autoencoder."""
    return AutoencoderKLWan.from_pretrained(MODEL_DIR / "vae", local_files_only=True).eval()


def _receipt(index: int) -> StageReceipt:
    return StageReceipt(
        index=index,
        start_sigma=1.0,
        steps=1,
        seed=1,
        seconds=1.0,
        resumed=False,
        latents=Path("latents"),
        latents_sha256="",
        latents_std=1.0,
    )


@pytest.mark.slow
@torch.inference_mode()
@pytest.mark.parametrize("still", STILLS[:2], ids=lambda path: path.stem)
def test_a_preview_looks_like_the_decoded_frame(still: Path, vae: AutoencoderKLWan) -> None:
    """On a real picture the preview of the pocket model correlates over 0.85 with its decode."""
    picture = prepare_still(open_source(still), width=128, height=128)
    pixels = torch.from_numpy(np.asarray(picture, np.float32) / 127.5 - 1).permute(2, 0, 1)
    z = vae.encode(pixels[None, :, None]).latent_dist.mode()
    decoded = (vae.decode(z).sample[0, :, 0] / 2 + 0.5).clamp(0, 1)
    small = torch.nn.functional.avg_pool2d(decoded[None], 8)[0].permute(1, 2, 0).numpy()
    mean = torch.tensor(vae.config.latents_mean).view(1, -1, 1, 1, 1)
    std = torch.tensor(vae.config.latents_std).view(1, -1, 1, 1, 1)
    factors = factors_for(vae.config.latents_mean)
    assert factors is not None
    shown = factors.colours(((z - mean) / std).numpy())[0]
    assert shown.shape == small.shape == (16, 16, 3)
    for channel in range(3):
        assert np.corrcoef(shown[..., channel].ravel(), small[..., channel].ravel())[0, 1] > 0.85
    assert np.abs(shown - small).mean() < 0.08


def test_the_vae_is_known_by_its_latents() -> None:
    """The public Wan VAEs and the pocket one are found; one of as many channels is not."""
    parameters = inspect.signature(AutoencoderKLWan.__init__).parameters
    means = parameters["latents_mean"].default
    known = known_factors("wan-2.1")
    assert len(known.factors) == known.channels == 16
    assert known_factors("wan-2.2-5b").channels == 48
    assert known_factors("sd-1.5").channels == 4
    assert factors_for([0.0] * 16) is None
    assert factors_for(None) is None
    assert len(means) == 16
    assert factors_for(means) is known


def test_factors_refuse_other_latents() -> None:
    """Latents of another number of channels are named, not shown."""
    factors = PreviewFactors(name="two", factors=((1, 0, 0), (0, 1, 0)), bias=(0, 0, 0))
    with pytest.raises(ValueError, match=r"\(1, 2, T, h, w\)"):
        factors.colours(np.zeros((1, 3, 1, 2, 2), np.float32))
    one = factors.colours(np.array([1.0, -1.0], np.float32).reshape(1, 2, 1, 1, 1))
    np.testing.assert_allclose(one, [[[[1.0, 0.0, 0.5]]]])


def test_strips_are_made_beside_the_take(order_for: OrderFor) -> None:
    """Each stage has a strip of at most five pictures; it is told of, and the receipt names it."""
    order, told, notes = order_for(), [], []
    order.folder.mkdir()
    previews = StagePreviews(order, told.append, notes)
    factors = known_factors("wan-2.1")
    previews.add(0, torch.zeros(1, 16, 21, 6, 8), factors)
    previews.add(1, torch.zeros(1, 16, 2, 6, 8), factors)
    first, second, third = previews.finish([_receipt(0), _receipt(1), _receipt(2)])
    assert (first.preview, second.preview, third.preview) == (
        order.folder / "stage-1.jpg",
        order.folder / "stage-2.jpg",
        None,
    )
    sizes = [Image.open(preview_path(order.folder, k)).size for k in range(2)]
    assert sizes == [(5 * 128 + 4 * 2, 96), (2 * 128 + 2, 96)]
    assert {(p.phase, p.stage, p.stages, p.preview) for p in told} == {
        ("stage", 1, 2, first.preview),
        ("stage", 2, 2, second.preview),
    }
    assert notes == []


@pytest.mark.parametrize("broken", ["latents", "folder", "tell"])
def test_a_preview_that_fails_costs_a_note(broken: str, order_for: OrderFor) -> None:
    """Wrong latents, a path that cannot be written, a listener that fails: the take goes on."""
    order, notes = order_for(), []
    order.folder.mkdir()

    def tell(progress: Progress) -> None:
        if broken == "tell":
            raise ConnectionError("nobody there")

    if broken == "folder":
        preview_path(order.folder, 0).mkdir()
    previews = StagePreviews(order, tell, notes)
    channels = 3 if broken == "latents" else 16
    previews.add(0, torch.zeros(1, channels, 2, 6, 8), known_factors("wan-2.1"))
    (stage,) = previews.finish([_receipt(0)])
    assert (stage.preview is None) == (broken != "tell")
    assert len(notes) == 1
    assert notes[0].startswith("no preview of stage 1: ")


def test_a_strip_of_an_earlier_try_is_not_kept(order_for: OrderFor) -> None:
    """A stage without a preview of its own shows none, though an older file lay there."""
    order = order_for()
    order.folder.mkdir()
    preview_path(order.folder, 0).write_bytes(b"old")
    previews = StagePreviews(order, lambda _: None, [])
    previews.add(0, None, known_factors("wan-2.1"))
    (stage,) = previews.finish([_receipt(0)])
    assert stage.preview is None


def _pocket(order: RenderOrder, folder: Path, **changes: Any) -> RenderOrder:
    """The order for the pocket model and a real picture."""
    size = {"width": 96, "height": 96, "source_sha256": sha256_file(STILLS[1])}
    recipe = replace(order.recipe, family="pocket", **size, **changes)
    model = ModelRef(name="pocket-wan", family="pocket", location=str(MODEL_DIR))
    return replace(order, recipe=recipe, model=model, folder=folder, source=STILLS[1])


@pytest.mark.slow
def test_a_take_has_a_strip_of_each_stage(order_for: OrderFor, tmp_path: Path) -> None:
    """Two stages give two strips, named in the receipt, told of, and the last looks like the
    clip; a take that goes on from a checkpoint makes what is missing."""
    order = _pocket(order_for(), tmp_path / "take")
    told: list[Progress] = []
    receipt = DiffusersBackend().render(order, tell=told.append)
    paths = [preview_path(order.folder, k) for k in range(2)]
    assert [stage.preview for stage in receipt.stages] == paths
    shown = {p.preview for p in told if p.preview is not None}
    assert shown == {*paths, order.folder / FIRST_FRAMES}
    frame = np.asarray(next(read_clip(receipt.clip)))
    strip = Image.open(paths[1]).crop((0, 0, 96, 96))
    sketch, small = (
        np.asarray(picture.resize((12, 12), Image.Resampling.BOX), np.float32).ravel()
        for picture in (strip, Image.fromarray(np.uint8(frame * 255)))
    )
    assert np.corrcoef(sketch, small)[0, 1] > 0.8
    # Killed after its stages, before its decode: the strips of both are still named.
    (order.folder / "receipt.json").unlink()
    paths[1].unlink()
    again = DiffusersBackend().render(order, tell=told.append)
    assert [stage.preview for stage in again.stages] == paths
    assert all(stage.resumed for stage in again.stages)


@pytest.mark.slow
def test_a_stage_that_leaves_noise_shows_what_the_model_saw(
    order_for: OrderFor, tmp_path: Path
) -> None:
    """The strip of a split is of the clean picture under the noise: near the picture that a
    whole run ends with, and no picture of noise."""
    common: dict[str, Any] = {"kind": StageKind.SPLIT, "steps": 8, "cfg": 1.0, "shift": 5.0}
    parts = (
        Stage(end_step=4, leftover_noise=True, **common),
        Stage(start_step=4, add_noise=False, seed_offset=1, **common),
    )
    order = _pocket(order_for(), tmp_path / "take", stages=parts)
    receipt = DiffusersBackend().render(order, tell=lambda _: None)
    strips = []
    for stage in receipt.stages:
        assert stage.preview is not None
        strips.append(np.asarray(Image.open(stage.preview).crop((0, 0, 96, 96)), np.float32))
    assert np.corrcoef(strips[0].ravel(), strips[1].ravel())[0, 1] > 0.8


@pytest.mark.slow
def test_a_model_without_factors_has_no_strips(order_for: OrderFor) -> None:
    """An unknown VAE is not shown in another one's colours; the take lacks nothing else."""
    receipt = DiffusersBackend().render(order_for("t2v-2.1"), tell=lambda _: None)
    assert [stage.preview for stage in receipt.stages] == [None, None]
    assert receipt.notes == ()
