"""LTX-2: one stage is the stock pipeline, and the still stays where it was given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, LTX2ImageToVideoPipeline, LTX2Pipeline
from PIL import Image
from plain_render import load_plain
from stock_run import run_stock
from tiny_ltx2 import FPS, NEGATIVE, PROMPT, SEED, SIZE, Tiny, recipe_tiny, ref_tiny

from manifests.schedules import sigmas
from manifests.source import open_source
from manifests.stage import Schedule
from manifests.still import prepare_still
from render.families.base import Conditioning
from render.sampling import draw_noise, run_stage
from render.solvers import Euler

pytestmark = pytest.mark.usefixtures("one_thread")
LEVELS = sigmas(schedule=Schedule.SIMPLE, steps=4, shift=5.0)


@pytest.fixture
def fitted(still: Path) -> Image.Image:
    """The still, of the clip's size."""
    return prepare_still(open_source(still), width=SIZE["width"], height=SIZE["height"])


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
    latents, frames = run_stock(
        pipe,
        FlowMatchEulerDiscreteScheduler(shift=1.0),  # levels as they are given
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
        output_type="np",
        **({} if image is None else {"image": image}),
    )
    shape = (2, SIZE["height"] // 32, SIZE["width"] // 32)
    return pipe._unpack_latents(latents, *shape), frames


def _ours(folder: Path, image: Image.Image | None, *, cfg: float) -> tuple[torch.Tensor, Any]:
    model = load_plain(ref_tiny(folder), image_to_video=image is not None)
    model.check(recipe_tiny())
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


@pytest.mark.slow
def test_the_still_stays_where_it_was_given(tiny_ltx2: Tiny, fitted: Image.Image) -> None:
    """The first latent frame is the still before, while and after the model samples."""
    model = load_plain(ref_tiny(tiny_ltx2("ltx-2.0")), image_to_video=True)
    model.check(recipe_tiny())
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
