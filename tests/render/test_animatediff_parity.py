"""AnimateDiff is the stock pipelines: step for step, a stage that adds noise, and its frames."""

from __future__ import annotations

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
from tiny_animatediff import (
    COUNT,
    HEIGHT,
    NEGATIVE,
    PROMPT,
    SEED,
    WIDTH,
    load_tiny,
    ref_tiny,
)

from manifests.noise import timestep_of
from manifests.schedules import sigmas
from manifests.stage import (
    BETAS,
    Noise,
    Sampler,
    Schedule,
)
from render.families.animatediff import AnimateDiffModel
from render.families.base import Conditioning
from render.sampling import Latents, draw_noise, enter_stage, run_stage
from render.solver import SolverSetup
from render.solvers import SOLVERS

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


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


def _stock(
    tiny_animatediff: Path, kind: Any, levels: list[float], scheduler: type[OurLevels]
) -> Any:
    pipe = kind.from_pretrained(
        tiny_animatediff / "image",
        motion_adapter=MotionAdapter.from_pretrained(tiny_animatediff / "motion"),
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


@pytest.mark.parametrize("schedule", [Schedule.NORMAL, Schedule.KARRAS])
def test_one_stage_is_the_stock_pipeline_bit_for_bit(
    tiny_animatediff: Path, schedule: Schedule
) -> None:
    """Without guidance, and with a scheduler that goes straight, the latents are the same bits."""
    levels = sigmas(schedule=schedule, steps=5, shift=1.0, noise=Noise.EPS_LINEAR)
    stock = _stock(tiny_animatediff, AnimateDiffPipeline, levels, StraightEuler)
    expected = stock(**_told(1.0, num_frames=COUNT)).frames
    model = load_tiny(ref_tiny(tiny_animatediff))
    with torch.inference_mode():
        x = _ours(model, _from_noise(model, levels), levels, 1.0)
    assert torch.equal(x, expected)


@pytest.mark.parametrize("schedule", [Schedule.NORMAL, Schedule.KARRAS])
def test_guided_frames_are_the_stock_pipelines(tiny_animatediff: Path, schedule: Schedule) -> None:
    """With guidance and the stock scheduler latents and frames agree to 1e-5 of their range.

    The stock pipeline asks for both predictions in one batch, and its scheduler takes the
    predicted noise away and finds it again: both round otherwise.
    """
    levels = sigmas(schedule=schedule, steps=5, shift=1.0, noise=Noise.EPS_LINEAR)
    stock = _stock(tiny_animatediff, AnimateDiffPipeline, levels, OurLevels)
    expected = stock(**_told(7.5, num_frames=COUNT)).frames
    pictures = stock.video_processor.postprocess_video(
        video=stock.decode_latents(expected), output_type="np"
    )[0]
    model = load_tiny(ref_tiny(tiny_animatediff))
    with torch.inference_mode():
        x = _ours(model, _from_noise(model, levels), levels, 7.5)
        chunks = list(model.decode(x))
    assert float((x - expected).abs().max()) < 1e-5 * float(expected.abs().max())
    assert [len(chunk) for chunk in chunks] == [4, 1]
    assert np.abs(np.concatenate(chunks) - pictures).max() < 1e-5


@pytest.mark.parametrize("denoise", [0.45, 0.7])
def test_a_second_stage_is_the_stock_video_to_video(tiny_animatediff: Path, denoise: float) -> None:
    """Noise added up to `denoise`, then as many steps as asked: enforce_inference_steps."""
    steps, before = 4, draw_noise((1, 4, COUNT, HEIGHT // 8, WIDTH // 8), seed=3)
    whole = sigmas(
        schedule=Schedule.KARRAS, steps=int(steps / denoise), shift=1.0, noise=Noise.EPS_LINEAR
    )
    stock = _stock(tiny_animatediff, AnimateDiffVideoToVideoPipeline, whole, StraightEuler)
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
    model = load_tiny(ref_tiny(tiny_animatediff))
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
