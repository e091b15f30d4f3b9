"""The stage loop repeats runs recorded from a real ComfyUI, step by step."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKLWan,
    FlowMatchEulerDiscreteScheduler,
    WanImageToVideoPipeline,
    WanPipeline,
    WanTransformer3DModel,
)
from plain_order import plain_recipe
from plain_render import plain_request
from safetensors.torch import load_file
from torch import Tensor

from manifests.schedules import stage_sigmas
from manifests.stage import Expert, Recipe, Sampler, Schedule, Stage, StageKind
from render.families.base import Conditioning, ImageCondition, Position
from render.families.wan import WanModel
from render.order import ModelRef
from render.sampling import Latents, draw_noise, run_chain_stage

pytestmark = pytest.mark.usefixtures("one_thread")

TOLERANCE = 1e-4
"""Latents reach 15; the two differ by the order of float32 sums (5e-5 measured)."""

RENOISE, SPLIT = StageKind.RENOISE, StageKind.SPLIT
COMMON: dict[str, Any] = {"cfg": 3.5, "shift": 8.0}
SECOND: dict[str, Any] = {"kind": RENOISE, "steps": 10, "denoise": 0.45, "seed_offset": 1}
RUNS: dict[str, tuple[Stage, ...]] = {
    "ref_t2v_euler_simple_1st": (Stage(kind=RENOISE, steps=8, expert=Expert.HIGH, **COMMON),),
    "ref_t2v_euler_simple_2st_ks": (
        Stage(kind=RENOISE, steps=8, expert=Expert.HIGH, **COMMON),
        Stage(**SECOND, expert=Expert.LOW, **COMMON),
    ),
    "ref_i2v_dpmpp_2m_simple_2st_ks": (
        Stage(kind=RENOISE, steps=8, expert=Expert.HIGH, sampler=Sampler.DPMPP_2M, **COMMON),
        Stage(**SECOND, expert=Expert.LOW, sampler=Sampler.DPMPP_2M, **COMMON),
    ),
    "ref_i2v_euler_beta_2st_moe": (
        Stage(
            kind=SPLIT,
            steps=10,
            end_step=5,
            leftover_noise=True,
            schedule=Schedule.BETA,
            expert=Expert.HIGH,
            **COMMON,
        ),
        Stage(
            kind=SPLIT,
            steps=10,
            start_step=5,
            add_noise=False,
            schedule=Schedule.BETA,
            expert=Expert.LOW,
            **COMMON,
        ),
    ),
}
QUICK = {"ref_i2v_euler_beta_2st_moe"}
"""Two experts, a still and a split: what goes wrong first."""


@dataclass
class Seen:
    """What the model was asked, and what clean picture it had in mind."""

    sigma: list[float] = field(default_factory=list)
    x: list[Tensor] = field(default_factory=list)
    x0: list[Tensor] = field(default_factory=list)


class RecordingWan(WanModel):
    """A Wan model that keeps what passes through it, per branch."""

    def start(self) -> None:
        self.seen = {"cond": Seen(), "uncond": Seen()}

    def velocity(
        self, x: Tensor, at: Position, text: Tensor, *, image: ImageCondition | None, branch: str
    ) -> Tensor:
        v = super().velocity(x, at, text, image=image, branch=branch)
        self.seen[branch].sigma.append(float(at.sigma))
        self.seen[branch].x.append(x)
        self.seen[branch].x0.append(x - at.sigma * v)
        return v


def _model(comfyui: Path, kind: str) -> RecordingWan:
    def part(name: str) -> Any:
        return WanTransformer3DModel.from_pretrained(comfyui / "tiny" / f"tinywan_{kind}_{name}")

    pipeline = WanImageToVideoPipeline if kind == "i2v" else WanPipeline
    pipe = pipeline(
        tokenizer=None,
        text_encoder=None,
        vae=AutoencoderKLWan.from_pretrained(comfyui / "tiny" / "vae"),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        transformer=part("high"),
        transformer_2=part("low"),
    )
    ref = ModelRef(name="tiny", family="wan", location="unused")
    request = plain_request(ref, image_to_video=kind == "i2v")
    return RecordingWan(pipe, request, boundary=None)


def _padded(text: Tensor) -> Tensor:
    return torch.cat([text, text.new_zeros(1, 512 - text.shape[1], text.shape[2])], dim=1)


def _recipe(stages: tuple[Stage, ...]) -> Recipe:
    return plain_recipe(width=64, height=48, frames=9, fps=16.0, seed=123, stages=stages)


def _close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=TOLERANCE, rtol=0)


def test_every_recorded_run_is_repeated(comfyui: Path) -> None:
    """No run lies in the folder unread; both tasks, both kinds of stage and both solvers occur."""
    assert {path.stem for path in (comfyui / "packs").glob("*.safetensors")} == set(RUNS)
    stages = [stage for run in RUNS.values() for stage in run]
    assert {stage.kind for stage in stages} == set(StageKind)
    assert {stage.sampler for stage in stages} == {Sampler.EULER, Sampler.DPMPP_2M}
    assert {stage.expert for stage in stages} == {Expert.HIGH, Expert.LOW}
    assert {run.split("_")[1] for run in RUNS} == {"t2v", "i2v"}


@pytest.mark.parametrize(
    "run", [run if run in QUICK else pytest.param(run, marks=pytest.mark.slow) for run in RUNS]
)
def test_a_recorded_run_is_repeated(run: str, comfyui: Path) -> None:
    """Noise, levels, each step's latents and clean picture, each stage's end, and the frames."""
    pack = load_file(comfyui / "packs" / f"{run}.safetensors")
    model = _model(comfyui, run.split("_")[1])
    still = pack.get("c_concat")
    conditioning = Conditioning(
        prompt=_padded(pack["pos"]),
        negative=_padded(pack["neg"]),
        image=None if still is None else ImageCondition(latents=still),
    )
    std = torch.tensor(model._pipe.vae.config.latents_std).view(1, 16, 1, 1, 1)
    mean = torch.tensor(model._pipe.vae.config.latents_mean).view(1, 16, 1, 1, 1)
    recipe = _recipe(RUNS[run])
    latents: Latents | None = None
    with torch.inference_mode():
        for k, stage in enumerate(recipe.stages):
            model.start()
            latents = run_chain_stage(recipe, k, latents, model=model, conditioning=conditioning)
            part = f"s{k + 1}"
            assert stage_sigmas(stage) == pytest.approx(
                pack[f"{part}.sample_sigmas"].tolist(), abs=1e-6, rel=0
            )
            for branch in ("cond", "uncond"):
                assert model.seen[branch].sigma == pytest.approx(
                    pack[f"{part}.sigma"].tolist(), abs=1e-6, rel=0
                )
                _close(torch.cat(model.seen[branch].x), pack[f"{part}.x"])
                _close(torch.cat(model.seen[branch].x0), pack[f"{part}.denoised_{branch}"])
            noise = pack.get(f"noise{k + 1}")
            if noise is not None:
                assert torch.equal(draw_noise(noise.shape, seed=123 + stage.seed_offset), noise)
            expected = pack["final_latent" if k + 1 == len(recipe.stages) else "stage1_latent"]
            _close(latents.x / (1.0 - latents.sigma) * std + mean, expected)
        assert latents is not None
        frames = torch.cat([torch.from_numpy(chunk) for chunk in model.decode(latents.x)])
    _close(frames, pack["image"])
