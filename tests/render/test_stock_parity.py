"""One stage is the stock diffusers pipeline, bit for bit, in float32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
    WanImageToVideoPipeline,
    WanPipeline,
)
from PIL import Image
from plain_render import load_plain
from stock_run import run_stock

from manifests.schedules import sigmas
from manifests.source import open_source
from manifests.stage import Sampler, Schedule
from manifests.still import prepare_still
from render.families.base import Conditioning
from render.families.wan import WanModel, decode_stream
from render.order import ModelRef
from render.sampling import draw_noise, run_stage
from render.solver import SolverSetup
from render.solvers import SOLVERS

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

KINDS = ["t2v-2.1", "i2v-2.1", "t2v-2.2", "i2v-2.2", "ti2v-5b", "ti2v-5b with a still"]
PROMPT, NEGATIVE, SEED, STEPS = "slow pan left", "blurry", 11, 5


def _our_levels(sampler: Sampler) -> list[float]:
    return sigmas(schedule=Schedule.BETA, steps=STEPS, shift=8.0, sampler=sampler)


class OurLevels(FlowMatchEulerDiscreteScheduler):
    """The stock Euler scheduler on the noise levels of a stage."""

    def set_timesteps(self, *args: Any, **kwargs: Any) -> None:
        levels = _our_levels(Sampler.EULER)
        super().set_timesteps(sigmas=levels[:-1], device=kwargs.get("device"))


class FloatUniPC(UniPCMultistepScheduler):
    """The stock UniPC with the settings that Wan ships, told timesteps that are not cut to int."""

    def __init__(self, **changes: Any) -> None:
        super().__init__(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0, **changes
        )

    def set_timesteps(self, *args: Any, **kwargs: Any) -> None:
        super().set_timesteps(*args, **kwargs)
        self.timesteps = self.sigmas[:-1] * 1000
        self.set_begin_index(0)


class OurUniPC(FloatUniPC):
    """The stock UniPC on the noise levels of a stage, which start at 1."""

    def set_timesteps(self, *args: Any, **kwargs: Any) -> None:
        levels = _our_levels(Sampler.UNI_PC)
        self.register_to_config(flow_shift=1.0)
        super().set_timesteps(sigmas=np.array(levels[:-1]), device=kwargs.get("device"))


SCHEDULERS: dict[str, tuple[Sampler, Callable[[], Any]]] = {
    "euler": (Sampler.EULER, lambda: FlowMatchEulerDiscreteScheduler(shift=5.0)),
    "euler on our levels": (Sampler.EULER, OurLevels),
    "uni_pc": (Sampler.UNI_PC, FloatUniPC),
    "uni_pc on our levels": (Sampler.UNI_PC, OurUniPC),
}


def _load(folder: Path, *, image_to_video: bool) -> WanModel:
    ref = ModelRef(name="tiny", family="wan", location=str(folder))
    model = load_plain(ref, image_to_video=image_to_video)
    assert isinstance(model, WanModel)
    return model


def _stock(
    folder: Path, image: Image.Image | None, scheduler: Any, *, cfg: float
) -> tuple[torch.Tensor, Any]:
    """Latents after the last step, and the frames, of the stock pipeline."""
    pipeline = WanPipeline if image is None else WanImageToVideoPipeline
    return run_stock(
        pipeline.from_pretrained(folder),
        scheduler,
        prompt=PROMPT,
        negative_prompt=NEGATIVE,
        height=32,
        width=48,
        num_frames=9,
        num_inference_steps=STEPS,
        guidance_scale=cfg,
        generator=torch.Generator().manual_seed(SEED),
        **({} if image is None else {"image": image}),
    )


@pytest.mark.parametrize(
    ("stock", "cfg", "kind"),
    [
        *(("euler", 3.0, kind) for kind in KINDS),
        *(("euler on our levels", 1.0, kind) for kind in KINDS),
        *(("uni_pc", 3.0, kind) for kind in ("t2v-2.1", "i2v-2.2")),
        *(("uni_pc on our levels", 1.0, kind) for kind in ("i2v-2.2", "ti2v-5b")),
    ],
)
def test_one_stage_is_the_stock_pipeline(
    kind: str, stock: str, cfg: float, tiny_wan: Callable[[str], Path], still: Path
) -> None:
    """Latents and frames equal the stock pipeline's, on its own noise levels and on ours."""
    folder = tiny_wan(kind.split(" ")[0])
    image = None
    if "i2v-2" in kind or "still" in kind:
        image = prepare_still(open_source(still), width=48, height=32)
    sampler, make_scheduler = SCHEDULERS[stock]
    levels = _our_levels(sampler) if "our" in stock else None
    scheduler = make_scheduler()
    expected_latents, expected_frames = _stock(folder, image, scheduler, cfg=cfg)

    model = _load(folder, image_to_video=image is not None)
    with torch.inference_mode():
        conditioning = Conditioning(
            prompt=model.encode_text(PROMPT),
            negative=model.encode_text(NEGATIVE),
            image=None if image is None else model.encode_still(image, frames=9),
        )
        x = run_stage(
            draw_noise(model.latent_shape(width=48, height=32, frames=9), seed=SEED),
            sigmas=levels or [float(sigma) for sigma in scheduler.sigmas],
            cfg=cfg,
            solver=SOLVERS[sampler](SolverSetup()),
            model=model,
            conditioning=conditioning,
        )
        frames = np.concatenate(list(model.decode(model.finish_latents(x, conditioning.image))))
    assert torch.equal(x, expected_latents)
    assert np.array_equal(frames, expected_frames)


def test_both_experts_take_part(tiny_wan: Callable[[str], Path]) -> None:
    """The parity of two experts is tested on levels that need both."""
    levels = _our_levels(Sampler.EULER)
    assert levels[0] > 0.8 > levels[-2]
    assert _load(tiny_wan("t2v-2.2"), image_to_video=False)._boundary == 0.8


@pytest.mark.parametrize("kind", ["t2v-2.1", "i2v-2.1"])
def test_frames_come_as_they_are_decoded(kind: str, tiny_wan: Callable[[str], Path]) -> None:
    """Decoding one latent frame at a time is the VAE's whole decode, in several chunks."""
    model = _load(tiny_wan(kind), image_to_video=kind.startswith("i2v"))
    vae = model._pipe.vae
    z = draw_noise((1, 4, 3, 4, 4), seed=0)
    with torch.inference_mode():
        chunks = list(decode_stream(vae, z))
        assert [chunk.shape[2] for chunk in chunks] == [1, 4, 4]
        assert torch.equal(torch.cat(chunks, dim=2), vae.decode(z).sample)
        vae.enable_tiling()
        assert torch.equal(torch.cat(list(decode_stream(vae, z)), dim=2), vae.decode(z).sample)
